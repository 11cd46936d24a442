//! A kernel with its operands on a device.

use std::time::Duration;

use naga::ImageDimension;
use strix_engine::wgpu::{self, BufferUsages as Usage};
use strix_engine::{Error, Gpu, Result, StepTime};
use strix_model::tune::clock::Subject;

use super::operand::Content;
use super::source::{Binding, Kind};
use super::texture::Format;
use super::value::{Value, layout_entry};

/// Bytes before an operand in its buffer: what every device can begin a binding at.
const BEFORE: u64 = 256;
/// Least bytes behind one.
const BEHIND: u64 = 1 << 16;
/// What they hold before the kernel runs.
const PATTERN: u32 = 0xa5c3_961b;

/// A compiled kernel and what it is given.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) gpu: Gpu,
    pub(super) label: String,
    pub(super) pipeline: wgpu::ComputePipeline,
    layouts: Vec<wgpu::BindGroupLayout>,
    pub(super) given: Vec<(Binding, Value)>,
    pub(super) grid: [u32; 3],
    pub(super) limit: Duration,
}

/// What is on the device for one binding.
enum Held {
    Buffer { buffer: wgpu::Buffer, offset: u64, size: u64 },
    Texture(wgpu::Texture, wgpu::TextureView),
    Sampler(wgpu::Sampler),
}

impl Held {
    fn entry(&self, binding: u32) -> wgpu::BindGroupEntry<'_> {
        let resource = match self {
            Self::Buffer { buffer, offset, size } => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: *offset,
                size: std::num::NonZeroU64::new(*size),
            }),
            Self::Texture(_, view) => wgpu::BindingResource::TextureView(view),
            Self::Sampler(sampler) => wgpu::BindingResource::Sampler(sampler),
        };
        wgpu::BindGroupEntry { binding, resource }
    }
}

/// What a run left behind, and where it wrote beyond its operands.
pub(super) struct Left {
    /// The content of each output.
    pub(super) outputs: Vec<Vec<u8>>,
    /// For each buffer that was written beyond its end or before its start: its name, the first such byte counted from
    /// its start, and how many words were.
    pub(super) outside: Vec<(String, i64, usize)>,
}

impl Kernel {
    /// Compiles a kernel.
    ///
    /// # Errors
    ///
    /// If wgpu or the driver refuse it.
    #[expect(clippy::too_many_arguments, reason = "they are a kernel's parts")]
    pub(super) fn new(
        gpu: &Gpu,
        label: &str,
        wgsl: &str,
        entry: &str,
        constants: &[(&str, f64)],
        given: Vec<(Binding, Value)>,
        grid: [u32; 3],
        limit: Duration,
    ) -> Result<Self> {
        let device = gpu.device();
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(wgsl.into()),
        });
        let groups =
            given.iter().filter(|(b, _)| b.kind != Kind::Immediate).map(|(b, _)| b.place[0] + 1).max();
        let filtered = given.iter().any(|(_, value)| matches!(value, Value::Sampler { linear: true }));
        let layout = |group: u32| {
            let of = given.iter().filter(|(b, _)| b.kind != Kind::Immediate && b.place[0] == group);
            let entries: Vec<_> = of.map(|(b, value)| layout_entry(b, value, filtered)).collect();
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(label),
                entries: &entries,
            })
        };
        let layouts: Vec<_> = (0..groups.unwrap_or(0)).map(layout).collect();
        let immediates = given.iter().find(|(b, _)| b.kind == Kind::Immediate).map_or(0, |(_, v)| v.bytes());
        let bound: Vec<_> = layouts.iter().map(Some).collect();
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &bound,
            immediate_size: immediates as u32,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        let [validation, internal] = [validation, internal].map(|scope| pollster::block_on(scope.pop()));
        match validation.or(internal) {
            Some(error) => Err(refused(label, &error)),
            None => Ok(Self { gpu: gpu.clone(), label: label.into(), pipeline, layouts, given, grid, limit }),
        }
    }

    /// Runs it once and reads what it wrote. Buffers that it may write have guarded room around them; with `wide`, what is
    /// behind them is bound too, so that writes go there that the device would otherwise have stopped.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the device fails.
    pub(super) fn left(&self, wide: bool) -> Result<Left> {
        let held = self.hold(true, wide)?;
        let mut dispatches = self.dispatches(&[&held], 1)?;
        dispatches.run()?;
        let mut left = Left { outputs: vec![], outside: vec![] };
        for ((binding, value), held) in self.given.iter().zip(&held) {
            match (value, held) {
                (Value::Array(content), Held::Buffer { buffer, .. })
                    if binding.kind == (Kind::Storage { writes: true }) =>
                {
                    let all = self.read(buffer)?;
                    let bytes = content.bytes.len();
                    let (before, rest) = all.split_at(BEFORE as usize);
                    let (inside, behind) = rest.split_at(bytes);
                    let changed = |part: &[u8], start: i64| {
                        let words = part.chunks_exact(4).enumerate();
                        let changed = words.filter(|(_, word)| *word != PATTERN.to_le_bytes());
                        changed.map(|(i, _)| start + 4 * i as i64).collect::<Vec<_>>()
                    };
                    let mut words = changed(before, -(BEFORE as i64));
                    words.extend(changed(behind, bytes as i64));
                    if let Some(first) = words.first() {
                        left.outside.push((binding.name.clone(), *first, words.len()));
                    }
                    if content.output {
                        left.outputs.push(inside.to_vec());
                    }
                }
                (Value::Texture(content, format, extent), Held::Texture(texture, _)) if content.output => {
                    left.outputs.push(self.read_texture(texture, *format, *extent)?);
                }
                _ => {}
            }
        }
        Ok(left)
    }

    /// Puts `copies` of the operands on the device, which passes take in turns.
    ///
    /// # Errors
    ///
    /// If the device has no room for them.
    pub(super) fn timed(&self, copies: usize, passes: usize) -> Result<Dispatches> {
        let held = (0..copies).map(|_| self.hold(false, false)).collect::<Result<Vec<_>>>()?;
        let held: Vec<_> = held.iter().map(Vec::as_slice).collect();
        self.dispatches(&held, passes)
    }

    fn hold(&self, guarded: bool, wide: bool) -> Result<Vec<Held>> {
        let device = self.gpu.device();
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let most = device.limits().max_storage_buffer_binding_size;
        let hold = |(binding, value): &(Binding, Value)| match value {
            Value::Numbers(bytes) => {
                // A uniform's size is a multiple of 16 on some devices.
                let size = (bytes.len() as u64).next_multiple_of(16).max(16);
                let buffer =
                    self.buffer(&binding.name, size, Usage::UNIFORM | Usage::STORAGE | Usage::COPY_DST);
                self.gpu.queue().write_buffer(&buffer, 0, bytes);
                Held::Buffer { buffer, offset: 0, size: bytes.len().max(4) as u64 }
            }
            Value::Array(content) => {
                let size = content.bytes.len() as u64;
                let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
                // What is read behind an operand is no zero either: that might leave unchanged what it is added to.
                if !guarded || !wide && binding.kind != (Kind::Storage { writes: true }) {
                    let buffer = self.buffer(&binding.name, size, usage);
                    self.gpu.queue().write_buffer(&buffer, 0, &content.bytes);
                    return Held::Buffer { buffer, offset: 0, size };
                }
                let behind = size.max(BEHIND).min(most.saturating_sub(size + BEFORE)) & !3;
                let buffer = self.buffer(&binding.name, BEFORE + size + behind, usage);
                let pattern = PATTERN.to_le_bytes();
                self.gpu.queue().write_buffer(&buffer, 0, &pattern.repeat(BEFORE as usize / 4));
                self.gpu.queue().write_buffer(&buffer, BEFORE, &content.bytes);
                self.gpu.queue().write_buffer(&buffer, BEFORE + size, &pattern.repeat(behind as usize / 4));
                Held::Buffer { buffer, offset: BEFORE, size: if wide { size + behind } else { size } }
            }
            Value::Texture(content, format, extent) => self.texture(binding, content, *format, *extent),
            Value::Sampler { linear } => {
                let filter = if *linear { wgpu::FilterMode::Linear } else { wgpu::FilterMode::Nearest };
                Held::Sampler(device.create_sampler(&wgpu::SamplerDescriptor {
                    mag_filter: filter,
                    min_filter: filter,
                    ..Default::default()
                }))
            }
        };
        let held = self.given.iter().map(hold).collect();
        match pollster::block_on(memory.pop()) {
            Some(error) => Err(Error::OutOfMemory {
                label: self.label.clone(),
                bytes: self.given.iter().map(|(_, value)| value.bytes()).sum(),
                reason: error.to_string(),
            }),
            None => Ok(held),
        }
    }

    fn buffer(&self, label: &str, size: u64, usage: Usage) -> wgpu::Buffer {
        self.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    fn texture(&self, binding: &Binding, content: &Content, format: Format, [x, y, z]: [u32; 3]) -> Held {
        let dimension = match binding.kind {
            Kind::Texture { dimension, .. } | Kind::StorageTexture { dimension, .. } => dimension,
            _ => ImageDimension::D2,
        };
        let size = wgpu::Extent3d { width: x, height: y, depth_or_array_layers: z };
        let uses = match binding.kind {
            Kind::StorageTexture { .. } => {
                wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC
            }
            _ => wgpu::TextureUsages::TEXTURE_BINDING,
        };
        let texture = self.gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: Some(&binding.name),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: match dimension {
                ImageDimension::D1 => wgpu::TextureDimension::D1,
                ImageDimension::D3 => wgpu::TextureDimension::D3,
                _ => wgpu::TextureDimension::D2,
            },
            format: format.format,
            usage: uses | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let row = format.channels * format.element.bytes() * u64::from(x);
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(row as u32),
            rows_per_image: Some(y),
        };
        let bytes = &content.bytes[..(row * u64::from(y) * u64::from(z)) as usize];
        self.gpu.queue().write_texture(texture.as_image_copy(), bytes, layout, size);
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Held::Texture(texture, view)
    }

    fn dispatches(&self, copies: &[&[Held]], passes: usize) -> Result<Dispatches> {
        let device = self.gpu.device();
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let group = |held: &[Held], group: usize| {
            let of = self
                .given
                .iter()
                .zip(held)
                .filter(|((b, _), _)| b.kind != Kind::Immediate && b.place[0] as usize == group);
            let entries: Vec<_> = of.map(|((binding, _), held)| held.entry(binding.place[1])).collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&self.label),
                layout: &self.layouts[group],
                entries: &entries,
            })
        };
        let groups =
            copies.iter().map(|held| (0..self.layouts.len()).map(|g| group(held, g)).collect()).collect();
        if let Some(error) = pollster::block_on(validation.pop()) {
            return Err(refused(&self.label, &error));
        }
        Ok(Dispatches { kernel: self.clone(), groups, passes, next: 0, stamps: Stamps::new(&self.gpu) })
    }

    /// The content of a buffer, once the device is done.
    fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        let size = buffer.size();
        let host = self.buffer("read back", size, Usage::COPY_DST | Usage::MAP_READ);
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &host, 0, size);
        self.gpu.queue().submit([encoder.finish()]);
        mapped(&self.gpu, &host, self.limit, &self.label)
    }

    fn read_texture(&self, texture: &wgpu::Texture, format: Format, [x, y, z]: [u32; 3]) -> Result<Vec<u8>> {
        let row = (format.channels * format.element.bytes()) as u32 * x;
        let padded = row.next_multiple_of(256);
        let size = u64::from(padded) * u64::from(y) * u64::from(z);
        let host = self.buffer("read back", size, Usage::COPY_DST | Usage::MAP_READ);
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        let layout =
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(padded), rows_per_image: Some(y) };
        let to = wgpu::TexelCopyBufferInfo { buffer: &host, layout };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
        self.gpu.queue().submit([encoder.finish()]);
        let bytes = mapped(&self.gpu, &host, self.limit, &self.label)?;
        Ok(bytes.chunks_exact(padded as usize).flat_map(|line| &line[..row as usize]).copied().collect())
    }
}

/// The content of a buffer that the host maps.
fn mapped(gpu: &Gpu, host: &wgpu::Buffer, limit: Duration, label: &str) -> Result<Vec<u8>> {
    host.map_async(wgpu::MapMode::Read, .., |_| ());
    gpu.wait_within(limit, label)?;
    let view = host.get_mapped_range(..).map_err(|e| Error::Lost(e.to_string()))?;
    Ok(view.to_vec())
}

/// An error of wgpu's without its headings.
fn refused(label: &str, error: &wgpu::Error) -> Error {
    let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::Pipeline { label: label.into(), reason: words }
}

/// Timestamps at the start and the end of a pass.
#[derive(Debug)]
struct Stamps {
    set: wgpu::QuerySet,
    device: wgpu::Buffer,
    host: wgpu::Buffer,
    period: f64,
}

impl Stamps {
    fn new(gpu: &Gpu) -> Option<Self> {
        gpu.can_profile().ok()?;
        let device = gpu.device();
        let buffer = |usage| {
            let descriptor = wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: 16,
                usage,
                mapped_at_creation: false,
            };
            device.create_buffer(&descriptor)
        };
        Some(Self {
            set: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            device: buffer(Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            host: buffer(Usage::COPY_DST | Usage::MAP_READ),
            period: f64::from(gpu.queue().get_timestamp_period()),
        })
    }
}

/// Passes of a kernel that are submitted together.
#[derive(Debug)]
pub(crate) struct Dispatches {
    kernel: Kernel,
    /// The bind groups of each copy of the operands.
    groups: Vec<Vec<wgpu::BindGroup>>,
    passes: usize,
    next: usize,
    stamps: Option<Stamps>,
}

impl Dispatches {
    fn encode(&mut self, stamped: bool) -> wgpu::CommandEncoder {
        let mut encoder = self.kernel.gpu.device().create_command_encoder(&Default::default());
        let stamps = self.stamps.as_ref().filter(|_| stamped);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&self.kernel.label),
            timestamp_writes: stamps.map(|stamps| wgpu::ComputePassTimestampWrites {
                query_set: &stamps.set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        pass.set_pipeline(&self.kernel.pipeline);
        if let Some((_, Value::Numbers(bytes))) =
            self.kernel.given.iter().find(|(b, _)| b.kind == Kind::Immediate)
        {
            pass.set_immediates(0, bytes);
        }
        for _ in 0..self.passes {
            let copy = self.next % self.groups.len();
            self.next += 1;
            for (at, group) in self.groups[copy].iter().enumerate() {
                pass.set_bind_group(at as u32, group, &[]);
            }
            let [x, y, z] = self.kernel.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        drop(pass);
        if let Some(stamps) = stamps {
            encoder.resolve_query_set(&stamps.set, 0..2, &stamps.device, 0);
            encoder.copy_buffer_to_buffer(&stamps.device, 0, &stamps.host, 0, 16);
        }
        encoder
    }
}

impl Subject for Dispatches {
    fn run(&mut self) -> Result<()> {
        let encoder = self.encode(false);
        self.kernel.gpu.queue().submit([encoder.finish()]);
        self.kernel.gpu.wait_within(self.kernel.limit, &self.kernel.label)
    }

    fn profile(&mut self) -> Result<Vec<StepTime>> {
        let encoder = self.encode(true);
        let kernel = &self.kernel;
        kernel.gpu.queue().submit([encoder.finish()]);
        let stamps =
            self.stamps.as_ref().ok_or_else(|| Error::Unsupported("there are no timestamps".into()))?;
        let bytes = mapped(&kernel.gpu, &stamps.host, kernel.limit, &kernel.label)?;
        stamps.host.unmap();
        let at = |i: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * i + byte]));
        let ns = at(1).saturating_sub(at(0)) as f64 * stamps.period / self.passes as f64;
        let step = StepTime { label: kernel.label.clone(), kernel: kernel.label.clone(), ns };
        Ok(vec![step; self.passes])
    }

    fn workgroups(&self) -> f64 {
        self.kernel.grid.iter().map(|&n| f64::from(n)).product()
    }
}
