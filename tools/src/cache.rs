//! The user's cache: what is kept of each device.

use std::env;
use std::path::PathBuf;

use etcetera::BaseStrategy;
use strix_engine::Gpu;
use strix_model::DeviceCache;
use strix_model::cache::make_private;

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

/// Says where compiled kernels cannot be kept: each start then compiles them anew, which takes many seconds.
pub(crate) fn mention_unwritable(gpu: &Gpu) {
    let Some(dir) = dir() else {
        whisper(
            "compiled kernels are not kept: there is no home directory; say with STRIX_CACHE_DIR where to keep them",
        );
        return;
    };
    let of_mesa = Some(mesa_dir()).filter(|_| gpu.info().driver == "llvmpipe");
    let unwritable = |(dir, variable): (PathBuf, &'static str)| {
        let error = make_private(&dir).and_then(|()| tempfile::tempfile_in(&dir)).err()?;
        Some(format!("{}: {error}; name a folder with {variable}", dir.display()))
    };
    let both = [(Some(dir), "STRIX_CACHE_DIR"), (of_mesa.flatten(), "MESA_SHADER_CACHE_DIR")];
    let reasons: Vec<_> =
        both.into_iter().filter_map(|(dir, variable)| unwritable((dir?, variable))).collect();
    if !reasons.is_empty() {
        whisper(&format!(
            "compiled kernels cannot be kept, so that a start may compile them anew, for seconds: {}",
            reasons.join("; ")
        ));
    }
}

/// The folder of Mesa's software driver for compiled kernels. Mesa reports no error if it cannot write there.
fn mesa_dir() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || Some(env::home_dir()?.join(".cache"));
    let own = || set("XDG_CACHE_HOME").or_else(home).map(|dir| dir.join("mesa_shader_cache"));
    set("MESA_SHADER_CACHE_DIR").or_else(own)
}
