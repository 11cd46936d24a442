//! A model on a device of the app's: what it takes, how it shares, textures as pictures, and a device that is lost.

mod lost;
mod shared;
mod textures;

use strix_engine::{Gpu, Sharing, wgpu};
use strix_tests::gpu;

/// The adapter under test.
fn adapter() -> wgpu::Adapter {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let ours = gpu().info();
    let same =
        |a: &wgpu::Adapter| (a.get_info().backend, a.get_info().name) == (ours.backend, ours.name.clone());
    adapters.into_iter().find(same).expect("the adapter under test")
}

/// A device as an app makes one that knows nothing of Strix: WebGPU's default limits, no features.
fn plain_device() -> (wgpu::Device, wgpu::Queue) {
    pollster::block_on(adapter().request_device(&wgpu::DeviceDescriptor::default())).unwrap()
}

/// Strix on such a device.
fn shared_with(sharing: Sharing) -> Gpu {
    let (device, queue) = plain_device();
    Gpu::share(device, queue, sharing).unwrap()
}
