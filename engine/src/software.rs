//! The software driver's own settings, which it reads from the environment once.

use std::ffi::OsString;
use std::path::PathBuf;

/// Mesa's variable for the width of llvmpipe's vectors, in bits.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// Mesa's variable for where compiled kernels are kept.
const CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// Lets Mesa's software Vulkan driver use vectors of 512 bits where the processor has them; it takes 256 unless told.
/// Subgroups then have 16 lanes, and projections of many rows run about 1.6 times as fast. Other drivers are not
/// affected, but that Mesa's others keep their compiled kernels in the same new place.
///
/// It sets `LP_NATIVE_VECTOR_WIDTH`, unless that is set, and with it `MESA_SHADER_CACHE_DIR`: Mesa 22 does not tell
/// kernels of one width from those of another, and a kernel compiled for the other gives wrong numbers. Returns
/// whether it did.
///
/// # Safety
///
/// It changes the environment ([`std::env::set_var`]): call it first in `main`, while there is one thread, and before
/// a device is opened.
#[expect(unsafe_code, reason = "the environment is how the driver is told")]
pub unsafe fn use_wide_vectors() -> bool {
    let get = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let home = || get("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let kept = get(CACHE).or_else(|| get("XDG_CACHE_HOME")).map(PathBuf::from).or_else(home);
    let Some((width, cache)) = settings(has_512_bits(), get(WIDTH), kept) else { return false };
    // Mesa makes only the last folder of that path, and keeps nothing where others are missing, as on a new account.
    // Where none can be made it says so, and keeps nothing.
    std::fs::create_dir_all(&cache).ok();
    // SAFETY: the caller's promise is that nothing else uses the environment now.
    unsafe {
        std::env::set_var(WIDTH, width);
        std::env::set_var(CACHE, cache);
    }
    true
}

/// What to set: the width, and a place for its kernels within where kernels are kept anyway.
fn settings(wide: bool, width: Option<OsString>, kept: Option<PathBuf>) -> Option<(&'static str, PathBuf)> {
    if !wide || width.is_some() {
        return None;
    }
    Some(("512", kept?.join("strix-llvmpipe-512")))
}

/// Whether the processor has what LLVM calls x86-64-v4, all of which llvmpipe asks for.
fn has_512_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512cd")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_vectors_have_a_cache_of_their_own_and_never_override() {
        let kept = || Some(PathBuf::from("/cache"));
        let place = PathBuf::from("/cache/strix-llvmpipe-512");
        assert_eq!(settings(true, None, kept()), Some(("512", place)));
        assert_eq!(settings(false, None, kept()), None);
        assert_eq!(settings(true, Some("256".into()), kept()), None);
        assert_eq!(settings(true, None, None), None, "nowhere to keep them apart");
    }
}
