//! The disk and the cores alone: what a conversion cannot be faster than.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use half::bf16;
use half::slice::HalfFloatSliceExt as _;
use strix_shaders::packing::{Format, Layout, pack};

/// Bytes of one read or write.
const PIECE: usize = 8 << 20;
/// Bytes that a rate is measured over.
const SAMPLE: u64 = 4 << 30;

/// Files of a folder that hold weights, in their order.
pub(super) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let of_weights = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors" || e == "bin");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(of_weights).collect();
    files.sort();
    Ok(files)
}

/// Bytes of files.
pub(super) fn size(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// Drops what the system's page cache holds of files; `false` where it cannot be asked to.
pub(super) fn forget(files: &[PathBuf]) -> Result<bool> {
    for path in files {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        // Pages that are not yet written stay.
        file.sync_all().with_context(|| path.display().to_string())?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
            .with_context(|| path.display().to_string())?;
    }
    Ok(cfg!(target_os = "linux"))
}

/// Bytes a second of reading files from their beginning, at most `limit` bytes.
pub(super) fn read_rate(files: &[PathBuf], limit: u64) -> Result<f64> {
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    let start = Instant::now();
    for path in files {
        let mut file = File::open(path).with_context(|| path.display().to_string())?;
        while bytes < limit {
            match file.read(&mut piece).with_context(|| path.display().to_string())? {
                0 => break,
                n => bytes += n as u64,
            }
        }
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// Bytes a second of reading files from the disk.
pub(super) fn cold_read_rate(files: &[PathBuf]) -> Result<(f64, bool)> {
    let cold = forget(files)?;
    let rate = read_rate(files, SAMPLE)?;
    Ok((rate, cold))
}

/// Bytes a second of writing a file to the disk, its end on it.
pub(super) fn write_rate(dir: &Path) -> Result<f64> {
    let path = dir.join("write-rate.tmp");
    let write = || -> std::io::Result<f64> {
        // Not zeros, which a file system may leave out.
        let piece: Vec<u8> = (0..PIECE as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let mut file = File::create(&path)?;
        let start = Instant::now();
        let pieces = SAMPLE / 2 / PIECE as u64;
        for _ in 0..pieces {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        Ok((pieces * PIECE as u64) as f64 / start.elapsed().as_secs_f64())
    };
    let rate = write().with_context(|| path.display().to_string());
    let _ = fs::remove_file(&path);
    rate
}

/// Bytes a second of rounding and packing bf16 in memory to int8, one scale a row, on all cores.
pub(super) fn rounding_rate() -> f64 {
    let format = Format::Int8 { group: None };
    let layout = Layout { n: 11_008, k: 4096, sets: 1, shared: 0, gated: false, format };
    let k = layout.k as usize;
    let source: Vec<bf16> =
        crate::uniform(1, layout.n as usize * k).into_iter().map(bf16::from_f32).collect();
    let round = || pack(&layout, |_, _, row, out| source[row as usize * k..][..k].convert_to_f32_slice(out));
    std::hint::black_box(round());
    let start = Instant::now();
    let mut bytes = 0;
    while start.elapsed().as_secs_f64() < 2.0 {
        std::hint::black_box(round());
        bytes += size_of_val(&source[..]);
    }
    bytes as f64 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_was_read_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.safetensors"), vec![1; 3000]).unwrap();
        fs::write(dir.path().join("a.safetensors"), vec![1; 2000]).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        let files = weight_files(dir.path()).unwrap();
        assert_eq!(
            files.iter().filter_map(|f| f.file_name()).collect::<Vec<_>>(),
            ["a.safetensors", "b.safetensors"]
        );
        assert_eq!(size(&files), 5000);
        assert_eq!(forget(&files).unwrap(), cfg!(target_os = "linux"));
        assert!(read_rate(&files, u64::MAX).unwrap() > 0.0);
        let error = read_rate(&[dir.path().join("none")], 1).unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
    }
}
