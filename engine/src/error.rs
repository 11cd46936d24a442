//! What can go wrong with a device.

/// Errors of devices, memory and execution. Wrong shapes in a graph are bugs and panic instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter at all, or none of the name asked for.
    #[error("no GPU adapter {wanted}; {found}. {advice}")]
    NoAdapter {
        /// "found" or "named …".
        wanted: String,
        /// The adapters that are there.
        found: String,
        /// What to install or to set.
        advice: String,
    },
    /// The adapter cannot run the kernels.
    #[error("adapter {adapter} is too small: {missing}")]
    TooSmall {
        /// Its name and backend.
        adapter: String,
        /// Each limit or feature with what is needed and what is there.
        missing: String,
    },
    /// The driver refused the device.
    #[error("adapter {adapter}: no device: {source}")]
    NoDevice {
        /// Its name and backend.
        adapter: String,
        /// What wgpu said.
        source: wgpu::RequestDeviceError,
    },
    /// A buffer is larger than the device allows.
    #[error("{label}: {bytes} bytes are more than the {limit} this device allows in one buffer binding")]
    BufferTooLarge {
        /// The buffer's label.
        label: String,
        /// Bytes asked for.
        bytes: u64,
        /// The smaller of the device's binding and buffer limits.
        limit: u64,
    },
    /// The device has no memory left.
    #[error("{label}: the device has no room for {bytes} bytes ({reason})")]
    OutOfMemory {
        /// The buffer's label.
        label: String,
        /// Bytes asked for.
        bytes: u64,
        /// What the driver said.
        reason: String,
    },
    /// A kernel was refused by the driver.
    #[error("{label}: {reason}")]
    Pipeline {
        /// The kernel's name.
        label: String,
        /// What wgpu said.
        reason: String,
    },
    /// The device was lost or a wait failed.
    #[error("the device stopped answering: {0}")]
    Lost(String),
    /// No family of kernels has that name.
    #[error("no family of kernels is named {wanted:?}; there are subgroup, tiled, plain and coop")]
    NoFamily {
        /// The name.
        wanted: String,
    },
    /// A feature that this device lacks was asked for.
    #[error("{0}")]
    Unsupported(String),
}

/// Result with the engine's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
