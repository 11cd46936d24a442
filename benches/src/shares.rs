//! The work of a sequence of steps, and the share of each kernel in its time.

use serde::{Deserialize, Serialize};
use strix_engine::StepTime;

/// The least work of a sequence of steps, however well its kernels are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Bytes to move: every operand once.
    pub bytes: u64,
    /// Operations; a multiply-add is two.
    pub flops: u64,
}

/// Time under each name that `name` gives to a step, its dispatches, and its share of the whole; the longest first.
pub fn shares<'a>(steps: &'a [StepTime], name: impl Fn(&'a StepTime) -> &'a str) -> Vec<Share> {
    let total: f64 = steps.iter().map(|s| s.ns).sum();
    let mut shares: Vec<Share> = vec![];
    for step in steps {
        let name = name(step);
        let at = shares.iter().position(|share| share.name == name).unwrap_or_else(|| {
            shares.push(Share { name: name.into(), ns: 0.0, dispatches: 0, share: 0.0 });
            shares.len() - 1
        });
        shares[at].ns += step.ns;
        shares[at].dispatches += 1;
    }
    for share in &mut shares {
        share.share = if total > 0.0 { share.ns / total } else { 0.0 };
    }
    shares.sort_by(|a, b| b.ns.total_cmp(&a.ns));
    shares
}

/// The time of one kernel or layer within a sequence of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Name of the kernel or layer.
    pub name: String,
    /// Nanoseconds on the device.
    pub ns: f64,
    /// Number of its dispatches.
    pub dispatches: usize,
    /// Part of the time of all, 0 to 1.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use strix_engine::{Gpu, Graph, wgpu};
    use strix_model::tune::clock::{Clock, Timer};

    use super::*;

    #[test]
    fn a_device_without_timestamps_is_timed_by_the_host() {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let adapter = adapter.expect("these tests need an adapter; lavapipe will do");
        let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()));
        let (device, queue) = device.expect("a device");
        let clock = Clock::new(&Gpu::from_wgpu(device, queue).expect("default limits suffice"));
        let record = |g: &mut Graph| {
            let x = g.input("x", [1, 4096]);
            let index = g.input("index", [1]);
            strix_shaders::take_rows(g, "y", x, index);
        };
        let timed = clock.time(&record, 3, 0.0).expect("it runs");
        assert!(timed.times.device_ns.is_empty() && timed.steps().is_empty());
        assert_eq!(timed.times.wall_ns.len(), 3);
        assert!(timed.rate_ns() > 0.0 && timed.dispatches() == 1);
        let (source, _) = timed.times.best_source().unwrap();
        assert_ne!(source, Timer::Timestamp);
    }

    #[test]
    fn shares_add_up_under_their_names() {
        let step = |kernel: &str, ns| StepTime { label: String::new(), kernel: kernel.into(), ns };
        let steps = [step("gemm", 6.0), step("norm", 1.0), step("gemm", 3.0)];
        let shares = shares(&steps, |s| &s.kernel);
        let flat: Vec<_> = shares.iter().map(|s| (s.name.as_str(), s.ns, s.dispatches, s.share)).collect();
        assert_eq!(flat, [("gemm", 9.0, 2, 0.9), ("norm", 1.0, 1, 0.1)]);
    }
}
