//! Errors of a device.

use std::fmt;

/// What is wrong on Windows where Direct3D 12 shows no adapter, and what to do about it.
pub(crate) const NO_DXC: &str = "Direct3D 12 shows no adapter: Strix needs Microsoft's compiler DXC for it, so put \
                                 dxcompiler.dll of github.com/microsoft/DirectXShaderCompiler/releases beside the program";

/// Errors of devices, memory and execution. Wrong shapes in a graph are bugs and panic instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter at all, or none of the name asked for.
    #[error("{_0}: {}", _0.advice("GpuOptions::adapter"))]
    NoAdapter(NoAdapter),
    /// The adapter cannot run the kernels.
    #[error("adapter {adapter} is too small: {missing}")]
    TooSmall {
        /// Its name and backend.
        adapter: String,
        /// Each limit or feature with what is needed and what is there.
        missing: String,
    },
    /// The driver refused the device.
    #[error("adapter {adapter}: no device: {reason}")]
    NoDevice {
        /// Its name and backend.
        adapter: String,
        /// What wgpu said.
        reason: String,
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
    /// What a tensor is to be filled with cannot be read.
    #[error("{name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why not.
        source: std::io::Error,
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
    /// The driver takes a kernel and computes something else.
    #[error("adapter {adapter} does not work: {reason}")]
    Broken {
        /// Its name and backend.
        adapter: String,
        /// What it computes.
        reason: String,
    },
    /// The device was lost or a wait failed.
    #[error("the device stopped answering: {0}")]
    Lost(String),
    /// A kernel did not end in the time it was given.
    #[error("{label}: it has not ended after {limit:?}")]
    TooLong {
        /// The kernel.
        label: String,
        /// The time.
        limit: std::time::Duration,
    },
    /// A texture is no picture.
    #[error("the texture: {0}")]
    Texture(String),
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

impl Error {
    /// Whether it is a fault of Strix, the driver or the device: no other input would mend it.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Pipeline { .. } | Self::TooLong { .. })
    }
}

/// Result with the engine's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The adapter that was asked for and those that are there. As text it names both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoAdapter {
    /// The name that was asked for, if one was.
    pub wanted: Option<String>,
    /// The adapters that are there.
    pub found: Vec<String>,
}

impl NoAdapter {
    /// What to install, or what to set: `field` or a variable of the environment.
    pub fn advice(&self, field: &str) -> String {
        if !self.found.is_empty() {
            return format!("name one of these with {field} or STRIX_ADAPTER");
        }
        install(std::env::consts::OS)
    }
}

/// What to install on a system that shows no adapter.
fn install(system: &str) -> String {
    match system {
        "linux" => {
            "install your GPU's Vulkan driver, or the software one: apt-get install mesa-vulkan-drivers \
                    (Fedora: mesa-vulkan-drivers, Arch: vulkan-swrast)"
                .into()
        }
        "windows" => format!("install your GPU's current driver. {NO_DXC}"),
        _ => "install your GPU's current driver".into(),
    }
}

impl fmt::Display for NoAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Some(wanted) => write!(f, "no GPU adapter named {wanted:?}; ")?,
            None => f.write_str("no GPU adapter found; ")?,
        }
        match &*self.found {
            [] => f.write_str("this machine shows none"),
            found => write!(f, "there is {}", found.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_windows_the_compiler_that_may_be_missing_is_named() {
        let windows = install("windows");
        assert!(windows.contains("dxcompiler.dll") && windows.contains("driver"), "{windows}");
        assert!(install("linux").contains("mesa-vulkan-drivers"));
        assert!(!install("macos").contains("dxcompiler"));
    }
}
