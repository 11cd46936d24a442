//! For backends other than Vulkan. Nothing is imported.

use crate::region::Region;
use crate::{Error, Gpu, HostBytes, Result};

impl Gpu {
    /// Whether these bytes can be used where they are: never on this backend.
    pub fn can_import(&self, _: &HostBytes) -> bool {
        false
    }

    pub(crate) fn import(&self, _: &HostBytes, _: u64, _: bool) -> Option<Region> {
        None
    }

    pub(crate) fn pages(&self, label: &str, bytes: u64, _: Option<&HostBytes>) -> Result<Region> {
        let reason = "host memory is not imported on this backend".into();
        Err(Error::OutOfMemory { label: label.into(), bytes, reason })
    }

    pub(crate) fn tries_texels(&self) -> bool {
        false
    }
}
