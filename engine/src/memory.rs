//! How much memory a device has: wgpu does not tell, so the system and the driver are asked.

use std::fs;

use wgpu::AdapterInfo;

/// Bytes a device may take now: the host's free memory where that is what it uses, else its own largest heap.
/// `None` where nothing tells.
pub(crate) fn free_bytes(shares: bool, device: &wgpu::Device) -> Option<u64> {
    if shares { meminfo("MemAvailable:") } else { crate::import::heap_bytes(device) }
}

/// Bytes of an adapter's memory, all of the host's where that is what it uses. `None` where nothing tells.
pub(crate) fn all_bytes(info: &AdapterInfo) -> Option<u64> {
    if crate::gpu::shares_memory(info) {
        return meminfo("MemTotal:");
    }
    // Without a device only amdgpu says.
    let bus = &info.device_pci_bus_id;
    fs::read_to_string(format!("/sys/bus/pci/devices/{bus}/mem_info_vram_total")).ok()?.trim().parse().ok()
}

fn meminfo(field: &str) -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let value = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
