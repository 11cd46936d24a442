//! What library it is.

use std::ffi::c_char;

/// Version of the binary interface that this header describes. A library with the same number has all of it.
pub const STRIX_ABI_VERSION: u32 = 0;

/// Version of the binary interface that the library has: STRIX_ABI_VERSION of the header that it was built with.
///
/// Within one number, functions and fields are only added. It is also the number of libstrix.so. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_abi_version() -> u32 {
    STRIX_ABI_VERSION
}

/// Version of the library: "0.1.0".
///
/// The text is the library's, and is there for ever. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
