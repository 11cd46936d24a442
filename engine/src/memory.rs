//! How much memory a device has: wgpu does not tell, so the system and the driver are asked.

use wgpu::AdapterInfo;

/// Bytes a device may take now: the host's free memory where that is what it uses, else its own largest heap.
/// `None` where nothing tells.
pub(crate) fn device_bytes(info: &AdapterInfo, device: &wgpu::Device) -> Option<u64> {
    if crate::gpu::shares_memory(info) { host_bytes() } else { crate::import::heap_bytes(device) }
}

/// Bytes of memory that programs may still take without swapping.
fn host_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(free.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
