//! The user's cache: what is kept of each device.

use std::env;
use std::path::PathBuf;

use etcetera::BaseStrategy;
use strix_engine::Gpu;
use strix_model::DeviceCache;

use crate::Usage;
use crate::terminal::whisper;

/// `STRIX_CACHE_DIR`, else `strix` in the user's own cache folder; `None` for a user without a home.
pub(crate) fn dir() -> Option<PathBuf> {
    let set = env::var_os("STRIX_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let own = || Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("strix"));
    set.or_else(own)
}

/// The cache, for a command that is of no use without.
pub(crate) fn open() -> Result<DeviceCache, Usage> {
    let dir =
        dir().ok_or_else(|| Usage("no home directory: say with STRIX_CACHE_DIR where to keep it".into()))?;
    Ok(DeviceCache::new(dir))
}

/// Has the device use what `strix tune` found on it, if anything.
pub(crate) fn choose(gpu: &Gpu) {
    if let Some(dir) = dir() {
        gpu.set_choices(DeviceCache::new(dir).tuning(gpu).choices());
    }
}

/// Says at the first run on a device that it can be tuned.
pub(crate) fn mention_tuning(gpu: &Gpu) {
    let is_new = dir().is_some_and(|dir| DeviceCache::new(dir).is_new(gpu));
    if is_new && !gpu.target().forced {
        whisper(
            "kernels are those that are best on devices like this one; `strix tune` finds the best on this very one",
        );
    }
}
