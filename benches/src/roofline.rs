//! What the device can do at most: bytes streamed and multiply-adds a second, measured by two kernels.

use std::sync::Arc;

use strix_engine::wgpu::DeviceType;
use strix_engine::{Access, Arg, Binding, Graph, Resident, Result, Shader, Step, TensorId};

use crate::{Clock, Work};

/// Bytes that `stream.wgsl` reads.
const STREAMED: u32 = 128 << 20;
/// Bytes that a workgroup of it reads, a lane.
const RUN_BYTES: u32 = 8192;
/// FLOPs of a lane of `multiply_add.wgsl`.
const LANE_FLOPS: u64 = 98_304;

const BINDINGS: &[Binding] =
    &[Binding { name: "x", access: Access::Read }, Binding { name: "y", access: Access::ReadWrite }];

/// The device's limits (Williams et al. 2009).
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Bytes a second of a kernel that only reads, each address once.
    pub bytes_per_s: f64,
    /// FLOPs a second of a kernel that only multiplies and adds f32.
    pub flops_per_s: f64,
}

impl Roofline {
    /// Measures it: the best over workgroup sizes and widths of a load, since which is best differs.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn measure(clock: &Clock) -> Result<Self> {
        let subgroup = clock.gpu().target().subgroup;
        let lanes: Vec<u32> = subgroup.into_iter().chain([64, 256]).collect();
        let mut roof = Self { bytes_per_s: 0.0, flops_per_s: 0.0 };
        // No zeros: pages that were never written may all be one page.
        let bytes = STREAMED.min(u32::try_from(clock.gpu().target().max_binding_bytes).unwrap_or(STREAMED));
        let data: Vec<u32> = (0..bytes / 4).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
        let x = Resident::upload(clock.gpu(), "stream", [bytes / 4], &data)?;
        drop(data);
        for &lanes in &lanes {
            for width in [2, 4] {
                roof.bytes_per_s = roof.bytes_per_s.max(stream(clock, &x, lanes, width)?);
            }
            roof.flops_per_s = roof.flops_per_s.max(multiply_add(clock, lanes)?);
        }
        Ok(roof)
    }

    /// Least nanoseconds for some work.
    pub fn least_ns(&self, work: Work) -> f64 {
        let memory = work.bytes as f64 / self.bytes_per_s;
        let arithmetic = work.flops as f64 / self.flops_per_s;
        memory.max(arithmetic) * 1e9
    }

    /// Whether the memory, and not the arithmetic, bounds it.
    pub fn is_memory_bound(&self, work: Work) -> bool {
        work.bytes as f64 / self.bytes_per_s >= work.flops as f64 / self.flops_per_s
    }
}

/// Bytes a second, loaded as `width` words at a time.
fn stream(clock: &Clock, x: &Resident<u32, 1>, lanes: u32, width: u32) -> Result<f64> {
    let run_bytes = RUN_BYTES * lanes;
    let groups = x.bytes() as u32 / run_bytes;
    let text = include_str!("stream.wgsl")
        .replace("${run}", &(run_bytes / (4 * width)).to_string())
        .replace("${element}", &format!("vec{width}<u32>"));
    let shader = shader("stream", &format!("stream[{lanes} lanes, {width} words]"), &text, lanes);
    let timing = clock.time(&|g| {
        let x = g.bind(x);
        let y = g.activation::<u32, 1>("sums", [groups * lanes * width]);
        push(g, &shader, x.id(), y.id(), groups);
    })?;
    Ok(f64::from(groups) * f64::from(run_bytes) * 1e9 / timing.rate_ns())
}

/// FLOPs a second.
fn multiply_add(clock: &Clock, lanes: u32) -> Result<f64> {
    // Enough for every core of a large GPU, and for a software one not too much.
    let total = if clock.gpu().info().device_type == DeviceType::Cpu { 1 << 14 } else { 1 << 22 };
    let groups = total / lanes;
    let factors = Resident::from_slice("factors", [8], &[0.999_f32, 0., 0., 0., 1e-3, 0., 0., 0.]);
    let text = include_str!("multiply_add.wgsl");
    let shader = shader("multiply_add", &format!("multiply_add[{lanes} lanes]"), text, lanes);
    let timing = clock.time(&|g| {
        let x = g.bind(&factors);
        let y = g.activation::<f32, 1>("sums", [groups * lanes * 4]);
        push(g, &shader, x.id(), y.id(), groups);
    })?;
    Ok((LANE_FLOPS * u64::from(groups * lanes)) as f64 * 1e9 / timing.rate_ns())
}

fn shader(name: &'static str, label: &str, wgsl: &str, lanes: u32) -> Arc<Shader> {
    let wgsl = wgsl.replace("${lanes}", &lanes.to_string()).into();
    Arc::new(Shader { name, label: label.into(), wgsl, bindings: BINDINGS })
}

fn push(g: &mut Graph, shader: &Arc<Shader>, x: TensorId, y: TensorId, groups: u32) {
    g.push(Step {
        label: String::new(),
        shader: shader.clone(),
        params: vec![],
        args: vec![Arg { id: x, access: Access::Read }, Arg { id: y, access: Access::ReadWrite }],
        groups: [groups, 1, 1],
        // The longest loop of the two.
        trips: 1024,
        reference: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_memory_and_arithmetic_is_the_bound() {
        let roof = Roofline { bytes_per_s: 1e9, flops_per_s: 1e10 };
        let gemv = Work { bytes: 1000, flops: 2000 };
        let gemm = Work { bytes: 1000, flops: 100_000 };
        assert!(roof.is_memory_bound(gemv) && !roof.is_memory_bound(gemm));
        assert_eq!((roof.least_ns(gemv), roof.least_ns(gemm)), (1000.0, 10_000.0));
    }
}
