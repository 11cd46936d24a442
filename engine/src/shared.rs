//! What goes between threads, told to the compiler once.

use std::ops::Deref;

/// Something that threads may be given and may share, as was proved when it was wrapped.
///
/// wgpu's types are nested so deep that a compiler which follows them, from within a closure of an app's, for whether a
/// model may go to another thread meets its limit of 128 steps. Here it stops.
#[derive(Clone, Debug)]
pub struct Shared<T>(T);

impl<T: Send + Sync> Shared<T> {
    /// Wraps it.
    pub fn new(inner: T) -> Self {
        Self(inner)
    }
}

#[expect(unsafe_code, reason = "what the compiler derived, said again")]
// SAFETY: there is no other way to make one than `new`, which asks for `Send` and `Sync`; a clone is of the same type.
unsafe impl<T> Send for Shared<T> {}
#[expect(unsafe_code, reason = "what the compiler derived, said again")]
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
