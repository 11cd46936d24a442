//! The bytes of a tensor that outlives a program: their content, and where they are on the device.

use std::sync::OnceLock;

use crate::region::Region;
use crate::slots::Seat;
use crate::{Gpu, HostBytes, Result};

/// The bytes of a tensor, allocated and filled on first use.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) label: String,
    /// Bytes on the device: those of the elements, rounded up to a multiple of 16.
    pub(crate) bytes: u64,
    /// Bytes of the elements.
    len: u64,
    /// Content on first use; zeros when absent.
    content: OnceLock<HostBytes>,
    /// Whether kernels may read it as texels too, where the device can.
    texels: bool,
    /// The device that holds it, and the part of a buffer there.
    region: OnceLock<(wgpu::Device, Region)>,
    /// Its turn in a stream, if it is streamed. It then has no region of its own.
    seat: OnceLock<Seat>,
}

impl Storage {
    /// So many bytes of elements under a label, none of which are on the device yet.
    pub(crate) fn new(label: &str, len: u64) -> Self {
        let (content, region, seat) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let bytes = len.next_multiple_of(16).max(16);
        Self { label: label.into(), bytes, len, content, texels: false, region, seat }
    }

    /// Sets the content.
    ///
    /// # Panics
    ///
    /// If it has another length, or the tensor has content or is on the device.
    pub(crate) fn give(&self, content: HostBytes) {
        assert_eq!(content.len() as u64, self.len, "{}: bytes of its content", self.label);
        assert!(self.region.get().is_none(), "{}: it is on the device already", self.label);
        assert!(self.content.set(content).is_ok(), "{}: it has content already", self.label);
    }

    /// The content, if it is on the host.
    pub(crate) fn content(&self) -> Option<&HostBytes> {
        self.content.get()
    }

    /// Lets kernels read it as texels too, where the device can.
    pub(crate) fn give_texels(&mut self) {
        self.texels = true;
    }

    /// Makes it one of a stream's.
    ///
    /// # Panics
    ///
    /// If it is another stream's, on the device, or without content.
    pub(crate) fn seat(&self, seat: Seat) {
        assert!(self.content().is_some(), "{}: streamed without content on the host", self.label);
        assert!(self.region.get().is_none(), "{}: streamed, but already on the device", self.label);
        assert!(self.seat.set(seat).is_ok(), "{}: streamed twice", self.label);
    }

    /// Whether kernels can read it as texels, on devices that can.
    pub(crate) fn has_texels(&self) -> bool {
        self.texels && self.seat.get().is_none_or(|seat| seat.slots.has_texels(seat.tensor))
    }

    /// Whether it was given texels.
    pub(crate) fn takes_texels(&self) -> bool {
        self.texels
    }

    /// Its turn, if it is streamed.
    pub(crate) fn seated(&self) -> Option<&Seat> {
        self.seat.get()
    }

    /// The buffer that holds it, allocated and filled on first use.
    pub(crate) fn region(&self, gpu: &Gpu) -> Result<Region> {
        if let Some((device, region)) = self.region.get() {
            assert!(device == gpu.device(), "{}: it is on another device", self.label);
            return Ok(region.clone());
        }
        assert!(self.seat.get().is_none(), "{}: streamed, so it has no region of its own", self.label);
        let texels = self.texels && gpu.target().texels;
        let imported = self.content().and_then(|content| gpu.import(content, self.bytes, texels));
        let region = match imported {
            Some(region) => region,
            None if texels => {
                let region = gpu.pages(&self.label, self.bytes, self.content())?;
                if let Some(content) = self.content() {
                    content.done_with(0..content.len());
                }
                region
            }
            None => {
                let buffer = gpu.storage_buffer(&self.label, self.bytes)?;
                if let Some(content) = self.content() {
                    gpu.upload_from(&buffer, content)?;
                }
                Region::of(buffer, self.bytes)
            }
        };
        Ok(self.region.get_or_init(|| (gpu.device().clone(), region)).1.clone())
    }
}
