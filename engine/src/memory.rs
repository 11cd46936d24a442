//! Memory of a device. wgpu does not report it, so the system and the driver are asked.

use std::fs;

use wgpu::{AdapterInfo, DeviceType};

use crate::vulkan;

/// Whether the device's memory is the host's.
pub(crate) fn shares_memory(info: &AdapterInfo) -> bool {
    matches!(info.device_type, DeviceType::Cpu | DeviceType::IntegratedGpu)
}

/// Bytes a device may take now: the host's free memory where that is what it uses, else its own largest heap.
/// `None` where nothing tells.
pub(crate) fn free_bytes(shares: bool, device: &wgpu::Device) -> Option<u64> {
    if shares { host_bytes() } else { vulkan::heap_bytes(device) }
}

/// Bytes of memory that this process may still take without swapping, within its control group.
fn host_bytes() -> Option<u64> {
    let number = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse().ok();
    let group: Option<u64> = number("memory.max");
    let group = group.map(|most| most.saturating_sub(number("memory.current").unwrap_or(0)));
    match (meminfo("MemAvailable:"), group) {
        (Some(free), Some(group)) => Some(free.min(group)),
        (free, group) => free.or(group),
    }
}

/// Bytes of an adapter's memory, all of the host's where that is what it uses. `None` where nothing tells.
pub(crate) fn all_bytes(info: &AdapterInfo) -> Option<u64> {
    if shares_memory(info) {
        return meminfo("MemTotal:");
    }
    // Without a device only amdgpu reports it.
    let bus = &info.device_pci_bus_id;
    fs::read_to_string(format!("/sys/bus/pci/devices/{bus}/mem_info_vram_total")).ok()?.trim().parse().ok()
}

fn meminfo(field: &str) -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let value = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
