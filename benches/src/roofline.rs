//! What the device can do at most: bytes streamed and multiply-adds a second, measured by two kernels.

use std::sync::Arc;

use strix_engine::wgpu::DeviceType;
use strix_engine::{Access, Arg, Binding, Graph, Resident, Result, Shader, Step};

use crate::{Clock, Work};

/// Bytes that `read.wgsl` streams.
const STREAMED: u64 = 128 << 20;
/// Bytes a workgroup of it reads.
const RUN: u64 = 8192 * 16;
/// FLOPs a workgroup of `fma.wgsl` does.
const FMA_FLOPS: u64 = 64 * 98_304;

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
    /// Measures it.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn measure(clock: &Clock) -> Result<Self> {
        let gpu = clock.gpu();
        let bytes = STREAMED.min(gpu.target().max_binding_bytes) / RUN * RUN;
        let groups = (bytes / RUN) as u32;
        // No zeros: pages that were never written may all be one page.
        let data: Vec<u32> = (0..bytes as u32 / 4).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
        let x = Resident::upload(gpu, "stream", [bytes as u32 / 4], &data)?;
        drop(data);
        let read = shader("read", include_str!("read.wgsl"));
        let stream = clock.time(&|g| {
            let x = g.bind(&x);
            let y = g.activation::<u32, 1>("sums", [groups * 64 * 4]);
            push(g, &read, x.id(), y.id(), groups);
        })?;

        // Enough for every core of a large GPU, and for a software one not too much.
        let groups = if gpu.info().device_type == DeviceType::Cpu { 512 } else { 32_768 };
        let factors = Resident::from_slice("factors", [8], &[0.999_f32, 0., 0., 0., 1e-3, 0., 0., 0.]);
        let fma = shader("multiply_add", include_str!("fma.wgsl"));
        let peak = clock.time(&|g| {
            let x = g.bind(&factors);
            let y = g.activation::<f32, 1>("sums", [groups * 64 * 4]);
            push(g, &fma, x.id(), y.id(), groups);
        })?;
        Ok(Self {
            bytes_per_s: bytes as f64 * 1e9 / stream.rate_ns(),
            flops_per_s: (FMA_FLOPS * u64::from(groups)) as f64 * 1e9 / peak.rate_ns(),
        })
    }

    /// Least nanoseconds for some work.
    pub fn least_ns(&self, work: Work) -> f64 {
        let (memory, arithmetic) =
            (work.bytes as f64 / self.bytes_per_s, work.flops as f64 / self.flops_per_s);
        memory.max(arithmetic) * 1e9
    }

    /// Whether the memory, and not the arithmetic, bounds it.
    pub fn is_memory_bound(&self, work: Work) -> bool {
        work.bytes as f64 / self.bytes_per_s >= work.flops as f64 / self.flops_per_s
    }
}

fn shader(name: &'static str, wgsl: &str) -> Arc<Shader> {
    Arc::new(Shader { name, label: format!("bench {name}"), wgsl: wgsl.into(), bindings: BINDINGS })
}

fn push(
    g: &mut Graph,
    shader: &Arc<Shader>,
    x: strix_engine::TensorId,
    y: strix_engine::TensorId,
    groups: u32,
) {
    g.push(Step {
        label: String::new(),
        shader: shader.clone(),
        params: vec![],
        args: vec![Arg { id: x, access: Access::Read }, Arg { id: y, access: Access::ReadWrite }],
        groups: [groups, 1, 1],
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
