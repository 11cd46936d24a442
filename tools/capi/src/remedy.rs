//! Changes that would let what failed succeed.

use crate::failure::{ErrorPlace, Failure, StrixError};
use crate::guard::guard;
use crate::raw::{self, filled, handle};
use crate::status::StrixStatus;

/// What to change.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixRemedyKind {
    /// Load with a ctx of at most value.
    Ctx = 0,
    /// Load with kv_dtype STRIX_KV_DTYPE_F16.
    KvF16 = 1,
    /// Load with a device_memory of at least value bytes.
    DeviceMemory = 2,
    /// Take a checkpoint that was converted to int8.
    Int8 = 3,
    /// Take another adapter.
    Adapter = 4,
    /// Something that this library has no name for.
    Other = 5,
}

/// A change that would let a model be loaded, where loading or planning failed for lack of memory or for its context.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixRemedy {
    /// Set by the caller: sizeof(StrixRemedy).
    pub size: usize,
    /// The number that belongs to it; 0 if none does.
    pub value: u64,
    /// What to change.
    pub kind: StrixRemedyKind,
    /// 0.
    pub reserved: u32,
}

filled!(StrixRemedy);

/// Number of changes, each of which would let what failed succeed; 0 of NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_error_num_remedies(error: Option<&StrixError>) -> usize {
    error.map_or(0, |error| error.remedies.len())
}

/// One of these changes, by its index from 0.
///
/// Fills remedy, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_error_remedy(
    of: Option<&StrixError>,
    index: usize,
    remedy: *mut StrixRemedy,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    use strix_model::Remedy;
    guard(error, || {
        let remedies = &handle(of, "of")?.remedies;
        let found = remedies.get(index).ok_or_else(|| out_of(index, remedies.len(), "remedies"))?;
        let (kind, value) = match *found {
            Remedy::Ctx(ctx) => (StrixRemedyKind::Ctx, ctx.into()),
            Remedy::KvF16 => (StrixRemedyKind::KvF16, 0),
            Remedy::DeviceMemory(bytes) => (StrixRemedyKind::DeviceMemory, bytes),
            Remedy::Int8 => (StrixRemedyKind::Int8, 0),
            Remedy::Adapter => (StrixRemedyKind::Adapter, 0),
            _ => (StrixRemedyKind::Other, 0),
        };
        raw::fill(remedy, StrixRemedy { size: 0, value, kind, reserved: 0 })
    })
}

/// An index that is past the end of a list.
pub(crate) fn out_of(index: usize, number: usize, what: &str) -> Failure {
    Failure::new(StrixStatus::OutOfRange, format!("index {index} of {number} {what}"))
}
