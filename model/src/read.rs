//! The one door through which files come in: it refuses what never ends, and each kind of file has a bound.
//!
//! A folder, a device, a pipe or a socket under a file's name is an error at once, never a wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::{Error, Result, shown};

/// The longest `config.json`, `preprocessor_config.json` or other small file beside a checkpoint; a `tokenizer_config.json`
/// of many added tokens takes 1 MiB.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The longest `tokenizer.model`; a vocabulary of 256,000 pieces takes 4 MiB.
pub const MAX_SENTENCEPIECE_BYTES: u64 = 32 << 20;
/// The longest `tokenizer.json`; a vocabulary of 256,000 pieces takes 33 MiB.
pub const MAX_TOKENIZER_JSON_BYTES: u64 = 64 << 20;
/// The longest index of shards; one of a trillion parameters takes 20 MiB.
pub const MAX_INDEX_BYTES: u64 = 100_000_000;
/// The longest manifest or journal of a folder that was written here.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// The longest stored run of benches.
pub const MAX_RUN_BYTES: u64 = 64 << 20;
/// The longest file of tunings.
pub const MAX_TUNING_BYTES: u64 = 16 << 20;
/// The longest file of compiled pipelines.
pub const MAX_PIPELINE_BYTES: u64 = 1 << 30;

/// First bytes of a Git LFS pointer, which Git leaves in place of a file that is kept elsewhere.
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The message about a Git LFS pointer.
pub const LFS_ADVICE: &str = "is a Git LFS pointer, not the file itself: run `git lfs install` and `git lfs pull` in its \
                              folder, or download the file";

/// Whether these bytes, the beginning of a file or all of it, are a Git LFS pointer.
pub fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS_POINTER)
}

/// The contents of a file.
///
/// # Errors
///
/// If it cannot be read, is no file but a folder, a device, a pipe or a socket, is longer than `max_bytes`, or is a Git
/// LFS pointer.
pub fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let bytes = read_stream(open_file(path)?, path, max_bytes)?;
    if is_lfs_pointer(&bytes) {
        return Err(wrong(path, LFS_ADVICE.into()));
    }
    Ok(bytes)
}

/// [`read_file`], or `None` where there is no such file.
///
/// # Errors
///
/// As [`read_file`], but for a file that is not there. A link to nothing is an error.
pub fn read_if_there(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match read_file(path, max_bytes) {
        Err(Error::Io { source, .. })
            if matches!(source.kind(), NotFound | NotADirectory) && path.symlink_metadata().is_err() =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// A file that is open for reading or mapping, and certainly one that ends.
///
/// # Errors
///
/// If it cannot be opened, or is no file but a folder, a device, a pipe or a socket.
pub fn open_file(path: &Path) -> Result<File> {
    let io = |source: io::Error| match source.kind() {
        // A copy of a cache whose files were links, say.
        io::ErrorKind::NotFound if path.is_symlink() => {
            let to = std::fs::read_link(path).unwrap_or_default();
            wrong(
                path,
                format!(
                    "is a link to nothing, {}: copy that file, or download it again",
                    shown(to.display())
                ),
            )
        }
        _ => Error::Io { path: path.into(), source },
    };
    // Before it is opened, since opening alone can do something to a device.
    refuse_others(path, &std::fs::metadata(path).map_err(io)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // It may have become a pipe since, and a pipe that nobody writes to would not open.
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(io)?;
    refuse_others(path, &file.metadata().map_err(io)?)?;
    Ok(file)
}

fn refuse_others(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "is a folder" } else { "is a device or a pipe" };
    Err(wrong(path, format!("{what}: name a file")))
}

/// Reads a user's input: a file, a pipe or a device such as `/dev/stdin`.
///
/// It waits for whoever writes to a pipe. What does not end, such as `/dev/zero`, ends at the bound.
///
/// # Errors
///
/// If it cannot be read, is a folder, is longer than `max_bytes`, or is a Git LFS pointer.
pub fn read_input(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let io = |source| Error::Io { path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    match metadata.is_file() || metadata.is_dir() {
        true => read_file(path, max_bytes),
        false => read_stream(File::open(path).map_err(io)?, path, max_bytes),
    }
}

/// All that a stream has; `path` is its name in errors.
///
/// # Errors
///
/// If it cannot be read or has more than `max_bytes`.
pub fn read_stream(stream: impl Read, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let read = stream.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| Error::Io { path: path.into(), source })?;
    match bytes.len() as u64 > max_bytes {
        true => Err(wrong(path, format!("holds more than {max_bytes} bytes: is it the right file?"))),
        false => Ok(bytes),
    }
}

/// A JSON text without the byte order mark that editors on Windows put in front.
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), b"12345");
        let error = read_file(&path, 4).unwrap_err().to_string();
        assert!(error.contains("a.json: holds more than 4 bytes"), "{error}");
        assert!(read_file(dir.path(), 5).unwrap_err().to_string().contains("is a folder"));
        assert_eq!(read_if_there(&dir.path().join("b.json"), 5).unwrap(), None);
        assert_eq!(read_if_there(&path.join("b.json"), 5).unwrap(), None);
        assert_eq!(read_input(&path, 5).unwrap(), b"12345");
        assert!(read_input(dir.path(), 5).unwrap_err().to_string().contains("is a folder"));
    }

    #[test]
    fn a_git_lfs_pointer_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
        fs::write(&path, pointer).unwrap();
        let error = read_file(&path, 500).unwrap_err().to_string();
        assert!(error.contains("is a Git LFS pointer") && error.contains("git lfs pull"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_never_ends_is_refused_without_waiting() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        symlink(at("pipe"), at("to-pipe")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        symlink(at("nothing"), at("to-nothing")).unwrap();
        let _listening = UnixListener::bind(at("socket")).unwrap();
        for name in ["pipe", "to-pipe", "zero", "socket"] {
            for error in [open_file(&at(name)).unwrap_err(), read_if_there(&at(name), 9).unwrap_err()] {
                assert!(error.to_string().contains("is a device or a pipe"), "{name}: {error}");
            }
        }
        for (name, words) in [("loop", "symbolic links"), ("to-nothing", "is a link to nothing, ")] {
            let error = read_if_there(&at(name), 9).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(words), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_that_a_user_names_is_read_and_a_device_ends_at_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writes = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::write(pipe, "a picture"))
        };
        assert_eq!(read_input(&pipe, 9).unwrap(), b"a picture");
        writes.join().unwrap().unwrap();
        let error = read_input("/dev/zero".as_ref(), 1 << 20).unwrap_err().to_string();
        assert!(error.contains("/dev/zero: holds more than 1048576 bytes"), "{error}");
    }
}
