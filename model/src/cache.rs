//! What is kept of a device from one process to the next: which kernels are best on it, and how they were compiled.
//!
//! The library keeps nothing unless it is given a folder, here or as [`LoadOptions::cache_dir`]:
//!
//! ```no_run
//! use strix_model::{LoadOptions, Model};
//!
//! let cache_dir = Some("my-app-cache".into());
//! let model = Model::load("mplug-owl2-llama2-7b", &LoadOptions { cache_dir, ..LoadOptions::default() })?;
//! # Ok::<(), strix_model::Error>(())
//! ```
//!
//! A file there that is damaged, from another device or of another version is as good as none: what it would have
//! saved is found anew.
//!
//! # Trust
//!
//! Compiled kernels are given to the driver, which may trust them as it trusts what it compiled itself. Their checksum
//! tells that they are whole and of this device and driver; it is no signature, and whoever can write the file can make
//! one. So the folders that are made here are their owner's alone (mode 0700 on Unix; a device's folder that an earlier
//! version made is changed to it), and compiled kernels that belong to another user, or that others could have written,
//! are ignored. An app that gives a folder which others write to gives them the process. On other systems it is the
//! app's to choose a folder of the user's own. Tunings are numbers and names of kernels' variants: a wrong one costs
//! speed.
//!
//! [`LoadOptions::cache_dir`]: crate::LoadOptions::cache_dir

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strix_engine::{Choices, Gpu, NAGA_VERSION, Specialisation};

use crate::read::{MAX_PIPELINE_BYTES, MAX_TUNING_BYTES, read_if_there};
use crate::{Error, Result};

/// Version of the form of [`Tuning`].
const FORMAT: u32 = 1;

const TUNING: &str = "tuning.json";
const PIPELINES: &str = "pipelines.bin";

/// A folder with a folder for each device, driver and version of Strix.
#[derive(Clone, Debug)]
pub struct DeviceCache {
    root: PathBuf,
}

/// Device and software that a measurement is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKey {
    /// Name of the adapter.
    pub adapter: String,
    /// Its API.
    pub backend: String,
    /// Lanes of a subgroup, 0 where kernels must do without.
    pub subgroup: u32,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver.
    pub driver_version: String,
    /// Version of Strix.
    pub engine: String,
    /// Version of naga, which translates the kernels.
    pub naga: String,
    /// Checksum of the kernels' texts.
    pub kernels: String,
}

/// The measured time of one way to specialise a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The kernel.
    pub kernel: String,
    /// The class of shapes.
    pub situation: String,
    /// Variants, each with its value.
    #[serde(with = "words")]
    pub way: Specialisation,
    /// Kernel and shape that were timed, e.g. `gemm int8 many 4096x4096`.
    pub subject: String,
    /// Time of one run in nanoseconds, or why this way must not be used.
    pub result: std::result::Result<f64, String>,
}

/// The best way found for a situation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The kernel.
    pub kernel: String,
    /// The class of shapes.
    pub situation: String,
    /// Variants, each with its value.
    #[serde(with = "words")]
    pub way: Specialisation,
}

/// The results of tuning on a device so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Everything that was measured.
    pub measured: Vec<Measured>,
    /// The winners of what was measured to the end.
    pub chosen: Vec<Chosen>,
}

impl Tuning {
    /// The winners as kernels look them up.
    pub fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        for Chosen { kernel, situation, way } in &self.chosen {
            choices.set(kernel, situation, way.clone());
        }
        choices
    }
}

#[derive(Serialize, Deserialize)]
struct TuningFile {
    format: u32,
    device: DeviceKey,
    #[serde(flatten)]
    tuning: Tuning,
}

/// The content of a cache that [`DeviceCache::restore`] used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Number of choices.
    pub choices: usize,
    /// Whether there are pipelines.
    pub pipelines: bool,
}

impl DeviceKey {
    /// The key of an open device.
    pub fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        let mut hasher = blake3::Hasher::new();
        for kernel in strix_shaders::generated::KERNELS {
            hasher.update(kernel.template.as_bytes());
        }
        Self {
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            subgroup: gpu.target().subgroup.unwrap_or(0),
            driver: info.driver.clone(),
            driver_version: info.driver_info.clone(),
            engine: env!("CARGO_PKG_VERSION").into(),
            naga: NAGA_VERSION.into(),
            kernels: hasher.finalize().to_hex()[..16].into(),
        }
    }

    /// Name of the device's folder: readable, and another for every other key.
    fn folder(&self) -> String {
        let readable: String =
            self.adapter.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let words: Vec<_> = readable.split('-').filter(|word| !word.is_empty()).collect();
        let readable: String = words.join("-").to_lowercase().chars().take(40).collect();
        let key = serde_json::to_vec(self).unwrap_or_default();
        format!("{readable}-{}", &blake3::hash(&key).to_hex()[..16])
    }
}

impl DeviceCache {
    /// The cache in a folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of a device.
    pub fn folder(&self, gpu: &Gpu) -> PathBuf {
        self.root.join(DeviceKey::of(gpu).folder())
    }

    /// Whether nothing was ever kept of this device.
    pub fn is_new(&self, gpu: &Gpu) -> bool {
        !self.folder(gpu).exists()
    }

    /// Has `gpu` use what is kept of it. What cannot be used is left out, with a warning on the log.
    pub fn restore(&self, gpu: &Gpu) -> Restored {
        let choices = self.tuning(gpu).choices();
        let path = self.folder(gpu).join(PIPELINES);
        let restore = |bytes: Vec<u8>| {
            refuse_others(&path)?;
            gpu.restore_pipelines(&bytes).map_err(|e| e.to_string())
        };
        let pipelines =
            ignored(&path, read(&path, MAX_PIPELINE_BYTES).and_then(|b| b.map(restore).transpose()));
        let restored = Restored { choices: choices.len(), pipelines: pipelines.is_some() };
        gpu.set_choices(choices);
        restored
    }

    /// The results of tuning on a device; empty if there is no file, or none that can be used.
    pub fn tuning(&self, gpu: &Gpu) -> Tuning {
        let path = self.folder(gpu).join(TUNING);
        let key = DeviceKey::of(gpu);
        let parsed =
            read(&path, MAX_TUNING_BYTES).and_then(|bytes| bytes.map(|b| parse(&b, &key)).transpose());
        ignored(&path, parsed).unwrap_or_default()
    }

    /// Keeps what tuning found.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn store_tuning(&self, gpu: &Gpu, tuning: &Tuning) -> Result<()> {
        let file = TuningFile { format: FORMAT, device: DeviceKey::of(gpu), tuning: tuning.clone() };
        let text = serde_json::to_vec_pretty(&file).map_err(io::Error::from);
        self.write(gpu, TUNING, text)
    }

    /// Keeps what was compiled, where the backend can use it again; says whether it can.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn store_pipelines(&self, gpu: &Gpu) -> Result<bool> {
        match gpu.pipeline_data() {
            Some(data)
                if read(&self.folder(gpu).join(PIPELINES), MAX_PIPELINE_BYTES)
                    .is_ok_and(|kept| kept.as_ref() == Some(&data)) =>
            {
                Ok(true)
            }
            Some(data) => self.write(gpu, PIPELINES, Ok(data)).map(|()| true),
            None => Ok(false),
        }
    }

    /// Forgets everything about a device.
    ///
    /// # Errors
    ///
    /// If the folder cannot be removed.
    pub fn clear(&self, gpu: &Gpu) -> Result<()> {
        let path = self.folder(gpu);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Writes a file of the device's, whole or not at all.
    fn write(&self, gpu: &Gpu, name: &str, bytes: io::Result<Vec<u8>>) -> Result<()> {
        let folder = self.folder(gpu);
        let path = folder.join(name);
        let write = || {
            make_own(&folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(&bytes?)?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| Error::Io { path: path.clone(), source })
    }
}

/// Makes a folder, and those it is in, for their owner alone; one that is there stays as it is.
///
/// # Errors
///
/// If it cannot be made.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// The same of a folder of ours, which an earlier version left open to others.
fn make_own(folder: &Path) -> io::Result<()> {
    make_private(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // If it is not ours to change, writing will tell.
        if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
            let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
        }
    }
    Ok(())
}

/// Refuses a file that others could have written.
#[cfg(unix)]
fn refuse_others(path: &Path) -> std::result::Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let look = |path: &Path| fs::metadata(path).map_err(|e| e.to_string());
    let owner = look(path)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to the user {owner}: delete it"));
    }
    for path in [path, path.parent().unwrap_or(path)] {
        if look(path)?.mode() & 0o022 != 0 {
            return Err(format!("others can write to {}: delete it, or make it yours alone", path.display()));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_others(_: &Path) -> std::result::Result<(), String> {
    Ok(())
}

/// A way as `family=tiled rows=16`.
mod words {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use strix_engine::Specialisation;

    pub(super) fn serialize<S: Serializer>(way: &Specialisation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::in_words(way))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Specialisation, D::Error> {
        let text = String::deserialize(from)?;
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs: Option<_> = text.split_whitespace().map(pair).collect();
        pairs.ok_or_else(|| D::Error::custom(format!("{text:?} is not of the form name=value")))
    }
}

/// A way as people read it: `family=tiled rows=16`.
pub fn in_words(way: &[(String, String)]) -> String {
    way.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A file's bytes, or `None` where there is no file.
fn read(path: &Path, most: u64) -> std::result::Result<Option<Vec<u8>>, String> {
    read_if_there(path, most).map_err(|error| error.to_string())
}

/// A tuning of this device and version.
fn parse(bytes: &[u8], key: &DeviceKey) -> std::result::Result<Tuning, String> {
    #[derive(Deserialize)]
    struct Head {
        device: DeviceKey,
    }
    fn json<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("it is no tuning: {e}"))
    }
    let form = json::<serde_json::Value>(bytes)?.get("format").cloned().unwrap_or_default();
    if form != FORMAT {
        return Err(format!("it has form {form}, not {FORMAT}"));
    }
    let Head { device } = json(bytes)?;
    if device != *key {
        return Err(format!("it is of {} with Strix {}, not of this device", device.adapter, device.engine));
    }
    let file: TuningFile = json(bytes)?;
    let wrong = |m: &&Measured| m.result.as_ref().is_ok_and(|ns| !ns.is_finite() || *ns < 0.0);
    match file.tuning.measured.iter().find(wrong) {
        Some(measured) => Err(format!("{} took {:?} ns", measured.subject, measured.result)),
        None => Ok(file.tuning),
    }
}

/// The content of a file, or `None` with a warning if it cannot be used.
fn ignored<T>(path: &Path, found: std::result::Result<Option<T>, String>) -> Option<T> {
    found.unwrap_or_else(|reason| {
        tracing::warn!(path = %path.display(), reason, "a file of the cache is ignored");
        None
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let folder = dir.path().join("strix/device");
        make_own(&folder).unwrap();
        assert_eq!([mode(&dir.path().join("strix")), mode(&folder)], [0o700; 2]);
        set(&folder, 0o755);
        make_own(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);

        let file = folder.join(PIPELINES);
        fs::write(&file, "x").unwrap();
        set(&file, 0o600);
        assert_eq!(refuse_others(&file), Ok(()));
        set(&file, 0o620);
        assert!(refuse_others(&file).unwrap_err().contains("others can write to"));
        set(&file, 0o600);
        set(&folder, 0o777);
        assert!(refuse_others(&file).unwrap_err().contains("others can write to"));
    }
}
