//! For backends other than Vulkan. Nothing is imported.

use crate::region::Region;
use crate::{Error, Gpu, HostBytes, Result};

/// Memory of the host's that the device uses as its own: there is none.
#[derive(Clone, Debug)]
pub(crate) struct HostPages;

impl HostPages {
    /// Writes bytes at an offset.
    ///
    /// # Safety
    ///
    /// As on Vulkan.
    #[expect(unsafe_code, reason = "as on Vulkan")]
    pub(crate) unsafe fn write(&self, _: usize, _: &[u8]) {
        unreachable!("there is no such memory on this backend");
    }
}

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

    pub(crate) fn shared_pages(&self, label: &str, bytes: u64) -> Result<(Region, HostPages)> {
        self.pages(label, bytes, None).map(|region| (region, HostPages))
    }

    pub(crate) fn tries_texels(&self) -> bool {
        false
    }
}
