//! Functions of the caller's, with what they are called with.

use std::ffi::c_void;

/// What a callback is given as its first argument: the caller's, and never looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User(*mut c_void);

// SAFETY: nothing here looks behind the pointer. The header says on which threads a callback is called with it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub(crate) fn new(user: *mut c_void) -> Self {
        Self(user)
    }

    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}
