//! The software driver's own settings, which it reads from the environment once.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// Mesa's variable for the width of llvmpipe's vectors, in bits.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// Mesa's variable for where compiled kernels are kept.
const CACHE: &str = "MESA_SHADER_CACHE_DIR";
/// Mesa's variable to keep none.
const NO_CACHE: &str = "MESA_SHADER_CACHE_DISABLE";
/// The Vulkan header of Mesa 22.3, the last Mesa that is known to make one instruction of a broadcast among 16 lanes.
/// Mesa 25.0 and 26.2 (headers 305 and 354) make a loop over the lanes of it, at 512 bits only: projections of many
/// rows then take five times as long as at 256.
const LAST_WIDE: u32 = 230;

/// Lets Mesa's software Vulkan driver use vectors of 512 bits where the processor has them and the driver is good at
/// it, as Mesa 22 is; its default is 256. Subgroups then have 16 lanes, and projections of many rows run up to
/// 1.6 times as fast. Other drivers compute as before; Mesa's others keep their compiled kernels in the same
/// new place.
///
/// The manifest gives the Mesa version. It is found as Vulkan's loader finds it. It sets `LP_NATIVE_VECTOR_WIDTH`,
/// unless that is set, and with it `MESA_SHADER_CACHE_DIR`: Mesa 22 does not tell kernels of one width from those of
/// another, and a kernel compiled for the other gives wrong numbers. Where that folder cannot be made, kernels are not
/// kept (`MESA_SHADER_CACHE_DISABLE`). Returns whether it set them.
///
/// # Safety
///
/// It changes the environment ([`std::env::set_var`]): call it first in `main`, while there is one thread, and before
/// a device is opened.
#[expect(unsafe_code, reason = "the environment is how the driver is told")]
pub unsafe fn use_wide_vectors() -> bool {
    let get = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
    let wide = has_512_bits() && drivers_are_good_at_it(&get);
    if !wide || get(WIDTH).is_some() {
        return false;
    }
    let cache = kept(&get, env::home_dir()).map(|kept| kept.join("strix-llvmpipe-512"));
    // Mesa makes only the last folder of that path, and keeps nothing where others are missing, as on a new account.
    let cache = cache.filter(|cache| fs::create_dir_all(cache).is_ok());
    // SAFETY: the caller's promise is that nothing else uses the environment now.
    unsafe {
        env::set_var(WIDTH, "512");
        match cache {
            Some(cache) => env::set_var(CACHE, cache),
            // Kernels of two widths cannot be kept apart here.
            None => env::set_var(NO_CACHE, "true"),
        }
    }
    true
}

/// Folder of Mesa's shader cache. By the XDG standard a relative path is ignored, even where Mesa would make it;
/// without `HOME`, the home folder comes from the system's list of users.
fn kept(get: &impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let xdg = || get("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || home.filter(|home| home.is_absolute()).map(|home| home.join(".cache"));
    get(CACHE).map(PathBuf::from).or_else(xdg).or_else(home)
}

/// Whether Mesa's software driver is installed and no installed one is newer than the versions known to be fast at 512
/// bits.
fn drivers_are_good_at_it(get: &impl Fn(&str) -> Option<OsString>) -> bool {
    let headers: Vec<_> =
        manifests(get).iter().filter_map(|path| header(&fs::read_to_string(path).ok()?)).collect();
    !headers.is_empty() && headers.iter().all(|&header| header <= LAST_WIDE)
}

/// The manifests of Mesa's software driver, where [the loader] looks.
///
/// [the loader]: https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md
fn manifests(get: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let all = |name| get(name).iter().flat_map(env::split_paths).collect::<Vec<_>>();
    let or = |set: Vec<PathBuf>, usual: Vec<PathBuf>| if set.is_empty() { usual } else { set };
    let home = |folder| all("HOME").iter().map(|home| home.join(folder)).collect();
    let usual = [
        or(all("XDG_CONFIG_HOME"), home(".config")),
        or(all("XDG_CONFIG_DIRS"), vec!["/etc/xdg".into()]),
        vec!["/etc".into()],
        or(all("XDG_DATA_HOME"), home(".local/share")),
        or(all("XDG_DATA_DIRS"), vec!["/usr/local/share".into(), "/usr/share".into()]),
    ];
    let usual = usual.iter().flatten().map(|folder| folder.join("vulkan/icd.d")).collect();
    let mut places = or(all("VK_DRIVER_FILES"), or(all("VK_ICD_FILENAMES"), usual));
    places.extend(all("VK_ADD_DRIVER_FILES"));
    let files = |place: &PathBuf| match fs::read_dir(place) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![place.clone()],
    };
    let is_lavapipe =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd."));
    places.iter().flat_map(files).filter(is_lavapipe).collect()
}

/// The version of the Vulkan header that a manifest's driver was made with, the last part of its `api_version`: it
/// grows from one header to the next, whatever comes before it.
fn header(manifest: &str) -> Option<u32> {
    let (_, rest) = manifest.split_once("\"api_version\"")?;
    rest.split('"').nth(1)?.rsplit('.').next()?.parse().ok()
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
    fn kernels_are_kept_where_the_standard_says() {
        let of = |set: &[(&str, &str)], home: Option<&str>| {
            let get =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            kept(&get, home.map(PathBuf::from))
        };
        let is = |path: &str| Some(PathBuf::from(path));
        assert_eq!(of(&[(CACHE, "/mesa"), ("XDG_CACHE_HOME", "/cache")], Some("/root")), is("/mesa"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/cache")], Some("/root")), is("/cache"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "cache")], Some("/root")), is("/root/.cache"), "relative");
        assert_eq!(of(&[], Some("/root")), is("/root/.cache"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "cache")], None), None);
    }

    /// The manifests of Debian's Mesa 22.3.6, 25.0.7 and 26.2.6.
    #[test]
    fn only_mesa_22_is_widened() {
        let manifest = |version: &str| {
            format!(
                r#"{{"ICD": {{"api_version": "{version}", "library_path": "x.so"}}, "file_format_version": "1.0.0"}}"#
            )
        };
        assert_eq!(header(&manifest("1.1.230")), Some(230));
        assert_eq!(header(&manifest("1.4.354")), Some(354));
        assert_eq!(header("{}"), None);

        let root = tempfile::tempdir().unwrap();
        let good = |name: &'static str, value: PathBuf| {
            drivers_are_good_at_it(&move |asked: &str| {
                (asked == name).then(|| value.clone().into_os_string())
            })
        };
        let place = |version: &str, name: &str| {
            let folder = root.path().join(version).join("vulkan/icd.d");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), manifest(version)).unwrap();
            folder
        };
        for (version, expected) in [("1.1.230", true), ("1.4.305", false), ("1.4.354", false)] {
            let folder = place(version, "lvp_icd.x86_64.json");
            place(version, "intel_icd.x86_64.json");
            assert_eq!(good("VK_DRIVER_FILES", folder.join("lvp_icd.x86_64.json")), expected, "{version}");
            assert_eq!(good("VK_ICD_FILENAMES", folder.clone()), expected, "{version}");
            assert!(!good("VK_DRIVER_FILES", folder.join("intel_icd.x86_64.json")), "not lavapipe's");
            assert_eq!(good("XDG_DATA_DIRS", root.path().join(version)), expected, "{version}");
        }
        let both = env::join_paths(["1.1.230", "1.4.305"].map(|v| root.path().join(v))).unwrap();
        assert!(!good("XDG_DATA_DIRS", PathBuf::from(both)), "either may be the one that is used");
    }
}
