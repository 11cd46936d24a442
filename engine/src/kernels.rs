//! Compilation of kernels, each once a device.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::gpu::Pipeline;
use crate::{Access, Error, Gpu, Result, Shader};

impl Gpu {
    /// The compiled kernel, compiled on first use. `audit` compiles the one that counts its loops.
    pub(crate) fn pipeline(
        &self,
        shader: &Shader,
        audit: Option<&wgpu::BindGroupLayout>,
    ) -> Result<Pipeline> {
        let key = if audit.is_some() { format!("{} audited", shader.label) } else { shader.label.clone() };
        let mut pipelines = self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = pipelines.entry(key).or_default().clone();
        drop(pipelines);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = &*slot {
            return Ok(pipeline.clone());
        }
        let pipeline = self.compile(shader, audit)?;
        self.inner.pipelines_created.fetch_add(1, Ordering::Relaxed);
        Ok(slot.insert(pipeline).clone())
    }

    /// Compiles a kernel.
    pub(crate) fn compile(&self, shader: &Shader, audit: Option<&wgpu::BindGroupLayout>) -> Result<Pipeline> {
        let device = &self.inner.device;
        let label = Some(shader.label.as_str());
        // A refusal of the driver's own compiler is an internal error: DXC or FXC, for one, where it is missing.
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let text = match audit {
            Some(_) => crate::profile::audited(&shader.wgsl),
            None => shader.wgsl.to_string(),
        };
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let entry = |binding: &crate::Binding| wgpu::BindGroupLayoutEntry {
            binding: binding.number,
            visibility: wgpu::ShaderStages::COMPUTE,
            count: None,
            ty: match binding.access {
                Access::Texels => wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: wgpu::TextureFormat::Rgba32Uint,
                    view_dimension: wgpu::TextureViewDimension::D2,
                },
                Access::Picture => wgpu::BindingType::Texture {
                    sample_type: wgpu::TextureSampleType::Float { filterable: false },
                    view_dimension: wgpu::TextureViewDimension::D2,
                    multisampled: false,
                },
                access => wgpu::BindingType::Buffer {
                    ty: match access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
            },
        };
        let entries: Vec<_> = shader.bindings.iter().map(entry).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let mut layouts = vec![Some(&layout)];
        layouts.extend(audit.map(Some));
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &layouts,
            immediate_size: 0,
        });
        let cache = self.inner.pipeline_cache.read().unwrap_or_else(PoisonError::into_inner).clone();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.name),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: cache.as_ref(),
        });
        let [validation, internal] = [validation, internal].map(|scope| pollster::block_on(scope.pop()));
        match validation.or(internal) {
            Some(error) => Err(Error::Pipeline { label: shader.label.clone(), reason: error.to_string() }),
            None => Ok(Pipeline { pipeline, layout }),
        }
    }
}
