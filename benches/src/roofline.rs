//! What the device can do at most, measured by kernels that do nothing else: bytes streamed, operations of each kind,
//! and what a dispatch, a pass, a submit and an upload cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strix_engine::wgpu::{self, DeviceType, Features};
use strix_engine::{
    Access, Arg, Binding, Gpu, Graph, MAX_GROUPS, Resident, Shader, Step, TEXEL_ROW, TensorId,
};

use crate::stats::median;
use crate::{Clock, Result, Work};

/// Bytes that `stream.wgsl` reads.
const STREAMED: u32 = 128 << 20;
/// Bytes that a workgroup of it reads, a lane.
const RUN_BYTES: u32 = 8192;
/// Into how many streams it may divide them.
const STREAMS: [u32; 3] = [1, 4, 16];
/// Operations of a lane of `multiply_add.wgsl` and `dot4.wgsl`.
const LANE_FLOPS: u64 = 98_304;
/// How long each of its kernels runs before it is timed: a device's clock rises under load.
const WARM_UP: Duration = Duration::from_millis(50);
/// Bytes that are uploaded to time it.
const UPLOADED: usize = 64 << 20;
/// Dispatches in one submit, to tell their cost from the submit's.
const DISPATCHES: usize = 256;

const BINDINGS: &[Binding] = &[
    Binding { number: 0, name: "x", access: Access::Read },
    Binding { number: 1, name: "y", access: Access::ReadWrite },
];

/// The same with `x` read as an image, which on some devices is the quicker way.
const TEXEL_BINDINGS: &[Binding] = &[
    Binding { number: 0, name: "x", access: Access::Texels },
    Binding { number: 1, name: "y", access: Access::ReadWrite },
];

/// Arithmetic of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Multiply-adds of f32.
    #[default]
    F32,
    /// Multiply-adds of f16.
    F16,
    /// `dot4I8Packed`.
    Dot4,
}

/// The device's limits (Williams et al. 2009), and what it costs to ask it for anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Roofline {
    /// Bytes a second of a kernel that only reads, each address once.
    pub bytes_per_s: f64,
    /// FLOPs a second of a kernel that only multiplies and adds f32.
    pub flops_per_s: f64,
    /// The same of f16, where the device has it.
    pub f16_flops_per_s: Option<f64>,
    /// Operations a second of a kernel that only multiplies and adds int8 by `dot4I8Packed`.
    pub dot4_ops_per_s: Option<f64>,
    /// Nanoseconds that one more dispatch in a pass costs.
    pub dispatch_ns: f64,
    /// Nanoseconds of one more dispatch in a pass of its own.
    pub pass_ns: f64,
    /// Nanoseconds from a submit of one dispatch to the end of waiting for it.
    pub submit_ns: f64,
    /// Bytes a second to the device, the way weights go.
    pub upload_bytes_per_s: f64,
}

impl Roofline {
    /// Measures it: of each limit the best over workgroup sizes and widths of a load, since which is best differs. After
    /// `until` the first of them has to do. `on` is told what is measured.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn measure(
        clock: &Clock,
        quick: bool,
        until: Option<Instant>,
        on: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let clock = &clock.clone().warmed(WARM_UP);
        let gpu = clock.gpu();
        let lanes: Vec<u32> = gpu.target().subgroup.into_iter().chain([64, 256]).collect();
        let probe = Probe { clock, runs: if quick { 3 } else { 5 }, until };
        let mut roof = Self::default();
        on("streaming reads");
        // No zeros: pages that were never written may all be one page.
        let bytes = STREAMED.min(u32::try_from(gpu.target().max_binding_bytes).unwrap_or(STREAMED));
        let data: Vec<u32> = (0..bytes / 4).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
        let x = Resident::zeros("stream", [bytes / 4]).with_texels().filled(gpu, &data)?;
        drop(data);
        for &lanes in &lanes {
            let mut loads = vec![Load::Words(2), Load::Words(4)];
            loads.extend(gpu.target().texels.then_some(Load::Texels));
            for (load, streams) in loads.iter().flat_map(|&load| STREAMS.map(|streams| (load, streams))) {
                if roof.bytes_per_s == 0.0 || !probe.is_late() {
                    roof.bytes_per_s = roof.bytes_per_s.max(probe.stream(&x, lanes, load, streams)?);
                }
            }
        }
        drop(x);
        let best = |arithmetic| -> Result<f64> {
            lanes.iter().try_fold(0.0, |best: f64, &lanes| match best > 0.0 && probe.is_late() {
                true => Ok(best),
                false => Ok(best.max(probe.compute(arithmetic, lanes)?)),
            })
        };
        on("multiply-adds of f32");
        roof.flops_per_s = best(Arithmetic::F32)?;
        if gpu.device().features().contains(Features::SHADER_F16) {
            on("multiply-adds of f16");
            roof.f16_flops_per_s = Some(best(Arithmetic::F16)?);
        }
        on("dot products of int8");
        roof.dot4_ops_per_s = Some(best(Arithmetic::Dot4)?);
        on("dispatches and submits");
        [roof.dispatch_ns, roof.pass_ns, roof.submit_ns] = dispatches(
            gpu,
            if probe.is_late() {
                1
            } else if quick {
                5
            } else {
                15
            },
        )?;
        on("uploads");
        roof.upload_bytes_per_s = upload(gpu, probe.runs())?;
        Ok(roof)
    }

    /// Operations a second of that kind; f32's where the device has no such.
    pub fn peak(&self, arithmetic: Arithmetic) -> f64 {
        let special = match arithmetic {
            Arithmetic::F32 => None,
            Arithmetic::F16 => self.f16_flops_per_s,
            Arithmetic::Dot4 => self.dot4_ops_per_s,
        };
        special.unwrap_or(self.flops_per_s)
    }

    /// Least nanoseconds for some work.
    pub fn least_ns(&self, work: Work, arithmetic: Arithmetic) -> f64 {
        let memory = work.bytes as f64 / self.bytes_per_s;
        memory.max(work.flops as f64 / self.peak(arithmetic)) * 1e9
    }

    /// Whether the memory, and not the arithmetic, bounds it.
    pub fn is_memory_bound(&self, work: Work, arithmetic: Arithmetic) -> bool {
        work.bytes as f64 / self.bytes_per_s >= work.flops as f64 / self.peak(arithmetic)
    }
}

/// The way that a streaming kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Loads of so many words of a storage buffer.
    Words(u32),
    /// 16 bytes at a time, as an image.
    Texels,
}

/// Runs kernels that do one thing only.
struct Probe<'a> {
    clock: &'a Clock,
    runs: usize,
    until: Option<Instant>,
}

impl Probe<'_> {
    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Runs of each: one when it is late.
    fn runs(&self) -> usize {
        if self.is_late() { 1 } else { self.runs }
    }

    /// Nanoseconds of the quickest run.
    fn best_ns(&self, shader: &Arc<Shader>, x: &Resident<u32, 1>, words: u32, groups: u32) -> Result<f64> {
        let record = |g: &mut Graph| {
            let x = g.bind(x);
            let y = g.activation::<u32, 1>("sums", [words]);
            push(g, shader, x.id(), y.id(), groups);
        };
        let times = self.clock.time(&record, self.runs(), if self.is_late() { 0.0 } else { 3e8 })?.times;
        let least = |runs: &[f64]| runs.iter().copied().fold(f64::INFINITY, f64::min);
        // A limit is what was reached once.
        let measured =
            if times.device_ns.is_empty() { least(&times.wall_ns) } else { least(&times.device_ns) };
        Ok(measured.min(least(&times.idle_ns)))
    }

    /// Bytes a second.
    fn stream(&self, x: &Resident<u32, 1>, lanes: u32, load: Load, streams: u32) -> Result<f64> {
        let run_bytes = RUN_BYTES * lanes;
        let groups = x.bytes() as u32 / run_bytes;
        let (width, binding, expression) = match load {
            Load::Words(width) => {
                (width, format!("var<storage, read> x: array<vec{width}<u32>>"), "x[i]".to_owned())
            }
            Load::Texels => {
                let at = format!("vec2<u32>(i % {TEXEL_ROW}u, i / {TEXEL_ROW}u)");
                (4, "var x: texture_storage_2d<rgba32uint, read>".to_owned(), format!("textureLoad(x, {at})"))
            }
        };
        let text = include_str!("roofline/stream.wgsl")
            .replace("${run}", &(run_bytes / (4 * width)).to_string())
            .replace("${streams}", &streams.to_string())
            .replace("${x}", &binding)
            .replace("${load}", &expression)
            .replace("${element}", &format!("vec{width}<u32>"));
        let mut shader =
            shader("stream", &format!("stream[{lanes} lanes, {load:?}, {streams}]"), &text, lanes);
        if load == Load::Texels {
            shader.bindings = TEXEL_BINDINGS.to_vec();
        }
        let ns = self.best_ns(&shader.into(), x, groups * lanes * width, groups)?;
        Ok(f64::from(groups) * f64::from(run_bytes) * 1e9 / ns)
    }

    /// Operations a second.
    fn compute(&self, arithmetic: Arithmetic, lanes: u32) -> Result<f64> {
        let groups = computing_groups(self.clock.gpu().info().device_type, lanes);
        let multiply_add = include_str!("roofline/multiply_add.wgsl");
        let (name, text, first) = match arithmetic {
            Arithmetic::F32 => ("multiply_add", text_of(multiply_add, "", "f32"), 0.999_f32.to_bits()),
            Arithmetic::F16 => {
                ("multiply_add", text_of(multiply_add, "enable f16;", "f16"), 0.999_f32.to_bits())
            }
            Arithmetic::Dot4 => ("dot4", include_str!("roofline/dot4.wgsl").to_owned(), 0x0103_0507),
        };
        let factors = [first, 0, 0, 0, 1e-3_f32.to_bits(), 0, 0, 0];
        let factors = Resident::from_slice("factors", [8], &factors);
        let shader = shader(name, &format!("{name}[{lanes} lanes, {arithmetic:?}]"), &text, lanes);
        let ns = self.best_ns(&shader.into(), &factors, groups * lanes * 4, groups)?;
        Ok((LANE_FLOPS * u64::from(groups * lanes)) as f64 * 1e9 / ns)
    }
}

/// Workgroups of a kernel that only computes: enough for every core of a large GPU, for a software device not too much,
/// and no more than a grid may have.
fn computing_groups(device: DeviceType, lanes: u32) -> u32 {
    let all: u32 = if device == DeviceType::Cpu { 1 << 14 } else { 1 << 22 };
    (all / lanes).clamp(1, MAX_GROUPS)
}

fn text_of(template: &str, enable: &str, element: &str) -> String {
    template.replace("${enable}", enable).replace("${element}", element)
}

fn shader(name: &'static str, label: &str, wgsl: &str, lanes: u32) -> Shader {
    let wgsl = wgsl.replace("${lanes}", &lanes.to_string()).into();
    Shader { name, label: label.into(), variants: vec![], wgsl, bindings: BINDINGS.to_vec() }
}

fn push(g: &mut Graph, shader: &Arc<Shader>, x: TensorId, y: TensorId, groups: u32) {
    g.push(Step {
        label: String::new(),
        shader: shader.clone(),
        params: vec![],
        args: vec![Arg { id: x, access: Access::Read }, Arg { id: y, access: Access::ReadWrite }],
        groups: [groups, 1, 1],
        // The longest loop of them all.
        trips: 1024,
        reference: None,
    });
}

/// Nanoseconds of one more dispatch in a pass, of one more that is a pass of its own, and of a submit with its wait.
fn dispatches(gpu: &Gpu, rounds: usize) -> Result<[f64; 3]> {
    let (device, queue) = (gpu.device(), gpu.queue());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("nothing"),
        source: wgpu::ShaderSource::Wgsl(include_str!("roofline/nothing.wgsl").into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("nothing"),
        layout: None,
        module: &module,
        entry_point: Some("nothing"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let buffer = |label| {
        let usage = wgpu::BufferUsages::STORAGE;
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: 16,
            usage,
            mapped_at_creation: false,
        })
    };
    let (x, y) = (buffer("x"), buffer("y"));
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("nothing"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: x.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: y.as_entire_binding() },
        ],
    });
    let run = |passes: usize, each: usize| -> Result<f64> {
        let start = Instant::now();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..passes {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            (0..each).for_each(|_| pass.dispatch_workgroups(1, 1, 1));
        }
        queue.submit([encoder.finish()]);
        gpu.wait()?;
        Ok(start.elapsed().as_nanos() as f64)
    };
    let mut times = [vec![], vec![], vec![]];
    // The runs take turns. The first round is not counted.
    for round in 0..=rounds {
        for (times, [passes, each]) in times.iter_mut().zip([[1, DISPATCHES], [DISPATCHES, 1], [1, 1]]) {
            let ns = run(passes, each)?;
            if round > 0 {
                times.push(ns);
            }
        }
    }
    let [inside, outside, one] = times.map(|times| median(&times));
    let more = |many: f64| (many - one).max(0.0) / (DISPATCHES - 1) as f64;
    Ok([more(inside), more(outside), one])
}

/// Bytes a second, the way weights go to the device.
fn upload(gpu: &Gpu, runs: usize) -> Result<f64> {
    let bytes = UPLOADED.min(usize::try_from(gpu.target().max_binding_bytes).unwrap_or(UPLOADED));
    let data: Vec<u32> = (0..bytes as u32 / 4).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    let mut times = vec![];
    for run in 0..=runs {
        let start = Instant::now();
        let tensor = Resident::upload(gpu, "upload", [bytes as u32 / 4], &data)?;
        gpu.wait()?;
        // The first creates the staging buffers.
        if run > 0 {
            times.push(start.elapsed().as_nanos() as f64);
        }
        drop(tensor);
    }
    Ok(bytes as f64 * 1e9 / median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOF: Roofline = Roofline {
        bytes_per_s: 1e9,
        flops_per_s: 1e10,
        f16_flops_per_s: None,
        dot4_ops_per_s: Some(4e10),
        dispatch_ns: 0.0,
        pass_ns: 0.0,
        submit_ns: 0.0,
        upload_bytes_per_s: 0.0,
    };

    #[test]
    fn the_slower_of_memory_and_arithmetic_is_the_bound() {
        let (gemv, gemm) = (Work { bytes: 1000, flops: 2000 }, Work { bytes: 1000, flops: 100_000 });
        let bound =
            |work, arithmetic| (ROOF.is_memory_bound(work, arithmetic), ROOF.least_ns(work, arithmetic));
        assert_eq!(bound(gemv, Arithmetic::F32), (true, 1000.0));
        assert_eq!(bound(gemm, Arithmetic::F32), (false, 10_000.0));
        assert_eq!(bound(gemm, Arithmetic::Dot4), (false, 2500.0));
        // Without f16 it computes in f32.
        assert_eq!(bound(gemm, Arithmetic::F16), (false, 10_000.0));
    }

    #[test]
    fn issue_15_every_device_takes_the_grid_of_the_arithmetic() {
        for device in [DeviceType::Cpu, DeviceType::IntegratedGpu, DeviceType::DiscreteGpu] {
            for lanes in [4, 8, 16, 32, 64, 128, 256] {
                let groups = computing_groups(device, lanes);
                assert!((1..=MAX_GROUPS).contains(&groups), "{groups} of {lanes} lanes on {device:?}");
                // A hundred units with 2,048 lanes in flight each are filled several times.
                assert!(device == DeviceType::Cpu || groups * lanes > 200_000, "{groups} of {lanes} lanes");
            }
        }
    }

    #[test]
    fn every_limit_of_this_device_is_found() {
        let clock = Clock::new(&Gpu::new().expect("these tests need an adapter; lavapipe will do"));
        let mut said = vec![];
        let roof = Roofline::measure(&clock, true, None, &mut |what| said.push(what.to_owned())).unwrap();
        println!("{roof:?}");
        let limits = [roof.bytes_per_s, roof.flops_per_s, roof.submit_ns, roof.upload_bytes_per_s];
        assert!(limits.iter().all(|&limit| limit.is_finite() && limit > 0.0), "{roof:?}");
        let f16 = clock.gpu().device().features().contains(Features::SHADER_F16);
        assert_eq!(roof.f16_flops_per_s.is_some(), f16);
        assert!(roof.dot4_ops_per_s.is_some_and(|peak| peak > 0.0) && said.len() >= 5, "{roof:?}");
    }
}
