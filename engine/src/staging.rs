//! Sizes of what is copied to the device.

/// Bytes of one staging buffer. lavapipe copies larger writes 4 to 6 times slower.
pub(crate) const CHUNK: u64 = 4 << 20;

/// Staging buffers in the ring: one is filled while the device reads the others.
pub(crate) const CHUNKS: usize = 4;

/// Bytes copied between two looks at what the device has done.
pub(crate) const PIECE: usize = 4 << 20;

/// Bytes of all staging buffers of a device.
pub const STAGING_BYTES: u64 = CHUNK * CHUNKS as u64;
