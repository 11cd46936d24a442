//! Makers of devices.

/// Who made a device, as far as kernels are chosen by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Maker {
    /// AMD.
    Amd,
    /// NVIDIA.
    Nvidia,
    /// Intel.
    Intel,
    /// Qualcomm, of Adreno.
    Qualcomm,
    /// Apple.
    Apple,
    /// Anyone else, or unknown.
    #[default]
    Other,
}

impl Maker {
    /// The maker of an adapter.
    pub(crate) fn of(info: &wgpu::AdapterInfo) -> Self {
        match info.vendor {
            0x1002 => Self::Amd,
            0x10de => Self::Nvidia,
            0x8086 => Self::Intel,
            0x5143 => Self::Qualcomm,
            0x106b => Self::Apple,
            _ if info.backend == wgpu::Backend::Metal => Self::Apple,
            _ => Self::Other,
        }
    }
}
