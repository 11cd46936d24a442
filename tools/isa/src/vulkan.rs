//! Pipelines made by a Vulkan driver, with what it says of them (`VK_KHR_pipeline_executable_properties`).
#![expect(unsafe_code, reason = "it calls Vulkan")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use anyhow::{Context, Result, bail};
use ash::vk;

use crate::clock;
use crate::compile::{Abilities, Bound, Compiled};
use crate::statistics::Raw;

/// Which device to open, and what wgpu uses of it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its name, as wgpu gives it.
    pub name: String,
    /// Its vendor's number.
    pub vendor: u32,
    /// Its own number.
    pub device: u32,
    /// Operations of subgroups are used.
    pub subgroups: bool,
    /// 16-bit floats are used.
    pub f16: bool,
    /// Products of matrices are used.
    pub matrices: bool,
}

/// A device that makes pipelines and nothing else.
pub struct Device {
    // Libraries stay loaded as long as what comes from them.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    executables: Option<ash::khr::pipeline_executable_properties::Device>,
    abilities: Abilities,
}

/// A pipeline that was made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// Milliseconds of processor time that the driver took.
    pub ms: f64,
    /// What became of the kernel: one executable, if the driver says anything.
    pub executable: Option<Executable>,
}

/// What a driver says of machine code.
#[derive(Clone, Debug, Default)]
pub struct Executable {
    /// Lanes of a subgroup.
    pub subgroup: u32,
    /// Statistics, under the driver's names.
    pub raw: Raw,
    /// Texts that it made on the way, under its names; the last is the machine code.
    pub representations: Vec<(String, String)>,
}

impl Device {
    /// Opens the device of that name.
    ///
    /// # Errors
    ///
    /// If there is no Vulkan loader, no such device, or it is older than Vulkan 1.2.
    pub fn open(wanted: &Wanted) -> Result<Self> {
        // SAFETY: the loader is Vulkan's; every handle below comes from it, is used while what it comes from lives, and
        // every structure that a pointer leads to lives until its call is over.
        unsafe {
            let entry = ash::Entry::load().context("no Vulkan loader: is libvulkan.so.1 installed?")?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance =
                entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
            let opened = open(&instance, wanted);
            match opened {
                Ok((device, executables, abilities)) => {
                    Ok(Self { _entry: entry, instance, device, executables, abilities })
                }
                Err(error) => {
                    instance.destroy_instance(None);
                    Err(error)
                }
            }
        }
    }

    /// What decides how kernels are written for it.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Whether its driver says anything of the machine code.
    pub fn offers(&self) -> bool {
        self.executables.is_some()
    }

    /// Makes a pipeline. `texts` has the driver write down its machine code.
    ///
    /// # Errors
    ///
    /// If the driver refuses.
    pub fn make(&self, kernel: &Compiled, texts: bool) -> Result<Made> {
        // SAFETY: as in `open`. The SPIR-V is naga's, of WGSL that it found valid, so the driver may trust it; the layout
        // has every binding that it uses.
        unsafe {
            let module = vk::ShaderModuleCreateInfo::default().code(&kernel.words);
            let module = self.device.create_shader_module(&module, None)?;
            let sets = self.sets(&kernel.bindings)?;
            let range = vk::PushConstantRange::default()
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
                .size(kernel.immediate_bytes);
            let ranges = if kernel.immediate_bytes > 0 { &[range][..] } else { &[] };
            let layout =
                vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(ranges);
            let layout = self.device.create_pipeline_layout(&layout, None)?;
            let made = self.made(kernel, module, layout, texts);
            self.device.destroy_pipeline_layout(layout, None);
            sets.iter().for_each(|&set| self.device.destroy_descriptor_set_layout(set, None));
            self.device.destroy_shader_module(module, None);
            made
        }
    }

    unsafe fn sets(&self, bindings: &BTreeMap<(u32, u32), Bound>) -> Result<Vec<vk::DescriptorSetLayout>> {
        let groups = bindings.keys().last().map_or(0, |(group, _)| group + 1);
        let layout = |group: u32| {
            let of_group = bindings.iter().filter(|((g, _), _)| *g == group);
            let described: Vec<_> = of_group
                .map(|((_, number), bound)| {
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(*number)
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE)
                        .descriptor_type(match bound {
                            Bound::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                            Bound::Storage => vk::DescriptorType::STORAGE_BUFFER,
                            Bound::StorageImage => vk::DescriptorType::STORAGE_IMAGE,
                            Bound::SampledImage => vk::DescriptorType::SAMPLED_IMAGE,
                            Bound::Sampler => vk::DescriptorType::SAMPLER,
                        })
                })
                .collect();
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&described);
            // SAFETY: the device lives, and so does what `info` points to.
            Ok(unsafe { self.device.create_descriptor_set_layout(&info, None)? })
        };
        (0..groups).map(layout).collect()
    }

    unsafe fn made(
        &self,
        kernel: &Compiled,
        module: vk::ShaderModule,
        layout: vk::PipelineLayout,
        texts: bool,
    ) -> Result<Made> {
        let name = CString::new(kernel.entry.as_str())?;
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&name);
        if self.abilities.subgroups {
            stage = stage.flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE);
        }
        let mut flags = vk::PipelineCreateFlags::empty();
        if self.offers() {
            flags |= vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR;
            if texts {
                flags |= vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            }
        }
        let info = vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout);
        let began = clock::processor_ms();
        // SAFETY: as in `make`.
        let made = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None) };
        let ms = clock::processor_ms() - began;
        let pipeline = match made {
            Ok(pipelines) => *pipelines.first().context("the driver returned no pipeline")?,
            Err((_, error)) => bail!("the driver refused the pipeline: {error}"),
        };
        // SAFETY: as in `make`; the pipeline was made with statistics and, if asked for, texts.
        unsafe {
            let executable = match &self.executables {
                Some(api) => self.executable(api, pipeline, texts),
                None => Ok(None),
            };
            self.device.destroy_pipeline(pipeline, None);
            Ok(Made { ms, executable: executable? })
        }
    }

    unsafe fn executable(
        &self,
        api: &ash::khr::pipeline_executable_properties::Device,
        pipeline: vk::Pipeline,
        texts: bool,
    ) -> Result<Option<Executable>> {
        // SAFETY: as in `make`.
        unsafe {
            let of = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let executables = api.get_pipeline_executable_properties(&of)?;
            let Some(properties) = executables.first() else { return Ok(None) };
            let at = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = api.get_pipeline_executable_statistics(&at)?;
            let raw = statistics.iter().map(|s| {
                let value = match s.format {
                    vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => s.value.f64,
                    vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(s.value.b32),
                    vk::PipelineExecutableStatisticFormatKHR::INT64 => s.value.i64 as f64,
                    _ => s.value.u64 as f64,
                };
                (text(&s.name), value)
            });
            // Hashes are no figures, and no f64 holds them.
            let raw = raw.filter(|(name, _)| !name.to_lowercase().ends_with("hash")).collect();
            let representations = if texts { self.texts(api, &at)? } else { vec![] };
            Ok(Some(Executable { subgroup: properties.subgroup_size, raw, representations }))
        }
    }

    /// In two calls: how long the texts are, then the texts.
    unsafe fn texts(
        &self,
        api: &ash::khr::pipeline_executable_properties::Device,
        at: &vk::PipelineExecutableInfoKHR<'_>,
    ) -> Result<Vec<(String, String)>> {
        let call = api.fp().get_pipeline_executable_internal_representations_khr;
        let mut count = 0;
        // SAFETY: as in `make`; the buffers are as long as the driver said and live until their texts are copied.
        unsafe {
            call(self.device.handle(), at, &mut count, std::ptr::null_mut()).result()?;
            let mut all = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            call(self.device.handle(), at, &mut count, all.as_mut_ptr()).result()?;
            let mut buffers: Vec<Vec<u8>> = all.iter().map(|r| vec![0; r.data_size]).collect();
            for (representation, buffer) in all.iter_mut().zip(&mut buffers) {
                representation.p_data = buffer.as_mut_ptr().cast();
            }
            call(self.device.handle(), at, &mut count, all.as_mut_ptr()).result()?;
            let texts = all.iter().zip(&buffers).filter(|(r, _)| r.is_text != 0);
            let of = |buffer: &[u8]| {
                let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
                String::from_utf8_lossy(&buffer[..end]).into_owned()
            };
            Ok(texts.map(|(r, buffer)| (text(&r.name), of(buffer))).collect())
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: nothing of the device's is left; it is not used again.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

type Opened = (ash::Device, Option<ash::khr::pipeline_executable_properties::Device>, Abilities);

unsafe fn open(instance: &ash::Instance, wanted: &Wanted) -> Result<Opened> {
    // SAFETY: as in `Device::open`.
    unsafe {
        let physical = physical(instance, wanted)?;
        let properties = instance.get_physical_device_properties(physical);
        let minor = vk::api_version_minor(properties.api_version).min(3);
        anyhow::ensure!(minor >= 2, "{} has Vulkan 1.{minor}, and 1.2 is needed", wanted.name);
        let extensions = instance.enumerate_device_extension_properties(physical)?;
        let has = |name: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));

        let mut has12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut has13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let has_robustness = has(ash::ext::robustness2::NAME);
        let mut query = vk::PhysicalDeviceFeatures2::default().push_next(&mut has12);
        if minor >= 3 {
            query = query.push_next(&mut has13);
        }
        if has_robustness {
            query = query.push_next(&mut robustness);
        }
        instance.get_physical_device_features2(physical, &mut query);
        let robust_access = query.features.robust_buffer_access;
        let abilities = Abilities {
            minor,
            robust_buffers: robustness.robust_buffer_access2 != 0,
            robust_images: robustness.robust_image_access2 != 0 || has13.robust_image_access != 0,
            zeroes_workgroup_memory: has13.shader_zero_initialize_workgroup_memory != 0,
            dot_products: has13.shader_integer_dot_product != 0,
            int8: has12.shader_int8 != 0,
            f16: wanted.f16 && has12.shader_float16 != 0,
            subgroups: wanted.subgroups,
            matrices: wanted.matrices && has(ash::khr::cooperative_matrix::NAME),
            qualcomm: properties.vendor_id == 0x5143,
        };

        // What wgpu switches on, as far as it changes compute kernels.
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
            .shader_float16(abilities.f16)
            .shader_int8(abilities.int8)
            .vulkan_memory_model(abilities.matrices)
            .vulkan_memory_model_device_scope(abilities.matrices);
        let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
            .subgroup_size_control(has13.subgroup_size_control != 0)
            .robust_image_access(has13.robust_image_access != 0)
            .shader_integer_dot_product(abilities.dot_products)
            .shader_zero_initialize_workgroup_memory(abilities.zeroes_workgroup_memory);
        let mut v11 =
            vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(abilities.f16);
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
            .robust_buffer_access2(abilities.robust_buffers)
            .robust_image_access2(robustness.robust_image_access2 != 0);
        let mut told = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(robust_access != 0);
        let offers = has(ash::khr::pipeline_executable_properties::NAME);
        let mut names = vec![];
        let mut features =
            vk::PhysicalDeviceFeatures2::default().features(core).push_next(&mut v11).push_next(&mut v12);
        if minor >= 3 {
            features = features.push_next(&mut v13);
        }
        if has_robustness {
            names.push(ash::ext::robustness2::NAME.as_ptr());
            features = features.push_next(&mut robust);
        }
        if offers {
            names.push(ash::khr::pipeline_executable_properties::NAME.as_ptr());
            features = features.push_next(&mut told);
        }
        if abilities.matrices {
            names.push(ash::khr::cooperative_matrix::NAME.as_ptr());
            features = features.push_next(&mut matrices);
        }
        let families = instance.get_physical_device_queue_family_properties(physical);
        let family = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
        let family = family.context("the device has no queue that computes")? as u32;
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features);
        let device =
            instance.create_device(physical, &info, None).context("the device could not be opened")?;
        let executables =
            offers.then(|| ash::khr::pipeline_executable_properties::Device::new(instance, &device));
        Ok((device, executables, abilities))
    }
}

unsafe fn physical(instance: &ash::Instance, wanted: &Wanted) -> Result<vk::PhysicalDevice> {
    let mut names = vec![];
    // SAFETY: as in `Device::open`.
    unsafe {
        for physical in instance.enumerate_physical_devices()? {
            let p = instance.get_physical_device_properties(physical);
            let name = text(&p.device_name);
            if (p.vendor_id, p.device_id) == (wanted.vendor, wanted.device) && name == wanted.name {
                return Ok(physical);
            }
            names.push(name);
        }
    }
    bail!("Vulkan has no device {:?} here; it has {}", wanted.name, names.join(", "))
}

/// A text in an array that its length is not known of.
fn text(chars: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
