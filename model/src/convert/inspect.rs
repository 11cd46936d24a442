//! Lists the content of a checkpoint, and the errors of rounding.

use std::collections::BTreeMap;
use std::ops::{AddAssign, ControlFlow, Range};
use std::path::Path;

use rayon::prelude::*;
use strix_shaders::packing::BLOCK;
use strix_shaders::unpacking::unpack_row;

use super::packing::items;
use super::source::folder_of;
use crate::matrix::Matrix;
use crate::packed::{self, Rounding};
use crate::parts::Item;
use crate::progress::{OnProgress, Progress};
use crate::weights::Weights;
use crate::{Config, Error, Result};

/// Elements that one thread compares at a time.
const GRAIN_ELEMENTS: usize = 1 << 18;

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Type of its elements, as safetensors writes it.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of its elements.
    pub bytes: u64,
    /// Name of the file that holds it.
    pub file: String,
}

/// The content of a checkpoint.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Whether its matrices are packed as the kernels stream them.
    pub packed: bool,
    /// The metadata of its files.
    pub metadata: BTreeMap<String, String>,
    /// Every tensor, sorted by name.
    pub tensors: Vec<TensorInfo>,
    /// Name of every tensor that cannot be read, and why.
    pub unread: Vec<(String, String)>,
    /// What was done to find the tensors ([`Weights::notes`]), and that they are not those of the config.
    pub notes: Vec<String>,
    /// Tensors and their bytes by dtype.
    pub by_dtype: BTreeMap<String, (usize, u64)>,
    /// Parameters by part of the model; `None` without a config that can be read and whose tensors these are.
    pub parts: Option<Vec<(&'static str, u64)>>,
}

/// The difference of a stored tensor from its source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundingError {
    /// Largest difference of an element.
    pub max_abs: f64,
    /// Squares of all differences, and of all elements of the source, added up.
    squares: [f64; 2],
}

impl RoundingError {
    /// Root of the mean square of the differences, relative to that of the source. 0 if nothing differs.
    pub fn rms_relative(&self) -> f64 {
        if self.squares[0] == 0.0 { 0.0 } else { (self.squares[0] / self.squares[1]).sqrt() }
    }

    /// The same as a ratio of signal to noise, in decibels; infinite if nothing differs.
    pub fn snr_db(&self) -> f64 {
        -20.0 * self.rms_relative().log10()
    }

    fn of(stored: &[f32], source: &[f32]) -> Self {
        let mut error = Self::default();
        for (&stored, &source) in stored.iter().zip(source) {
            let difference = f64::from(stored) - f64::from(source);
            error.max_abs = error.max_abs.max(difference.abs());
            error.squares[0] += difference * difference;
            error.squares[1] += f64::from(source) * f64::from(source);
        }
        error
    }
}

impl AddAssign for RoundingError {
    fn add_assign(&mut self, other: Self) {
        self.max_abs = self.max_abs.max(other.max_abs);
        self.squares[0] += other.squares[0];
        self.squares[1] += other.squares[1];
    }
}

/// Lists what a checkpoint holds: a folder or a file, of `.bin`, safetensors or converted.
///
/// # Errors
///
/// If it cannot be opened.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let weights = Weights::open(path)?;
    let mut by_dtype: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut tensors = vec![];
    for name in weights.names() {
        let view = weights.view(name)?;
        let file = weights.file_of(name).and_then(Path::file_name).unwrap_or_default();
        let info = TensorInfo {
            name: name.into(),
            dtype: view.dtype.to_string(),
            shape: view.shape.into(),
            bytes: view.byte_len() as u64,
            file: file.to_string_lossy().into_owned(),
        };
        let (count, bytes) = by_dtype.entry(info.dtype.clone()).or_default();
        *count += 1;
        *bytes += info.bytes;
        tensors.push(info);
    }
    let mut notes = weights.notes().to_vec();
    // A config whose tensors are not these would count others.
    let parts = Config::load(folder_of(path)).ok().and_then(|config| match weights.check(&config) {
        Ok(()) => Some(config.parameters_by_part().to_vec()),
        Err(error) => {
            notes.extend(error.to_string().lines().next().map(ToOwned::to_owned));
            None
        }
    });
    Ok(Inspection {
        packed: weights.is_packed(),
        metadata: weights.metadata().clone(),
        tensors,
        unread: weights.unread().map(|(name, reason)| (name.into(), reason.into())).collect(),
        notes,
        by_dtype,
        parts,
    })
}

/// Compares everything in a converted folder with the checkpoint it was made from: by projection, table and vector,
/// in the order in which a model loads them.
///
/// # Errors
///
/// If `path` is not converted, either is damaged, they are not of one config, or `progress` breaks.
pub fn rounding_errors(
    path: &Path,
    source: &Path,
    progress: OnProgress<'_>,
) -> Result<Vec<(String, RoundingError)>> {
    let config = Config::load(folder_of(path))?;
    let (stored, source_weights) = (Weights::open(path)?, Weights::open(source)?);
    let plain =
        |weights: &Weights, path: &Path, packed: bool, reason: &str| match weights.is_packed() == packed {
            true => Ok(()),
            false => Err(Error::File { path: path.into(), reason: reason.into() }),
        };
    plain(&stored, path, true, "is not converted: there is no rounding to compare")?;
    plain(&source_weights, source, false, "is converted itself: name the checkpoint it was made from")?;
    source_weights.check(&config)?;
    stored.check(&config)?;
    let items = items(&config, Rounding::default(), Some(&stored))?;
    let total_bytes = source_weights.names().filter_map(|name| source_weights.get(name));
    let total_bytes = total_bytes.map(|view| view.byte_len() as u64).sum();
    let mut state = Progress { what: String::new(), done_bytes: 0, total_bytes };
    let mut errors = vec![];
    for item in items {
        let (found, sources) = match item {
            Item::Matrix(matrix) => (matrix_errors(&stored, &source_weights, &matrix)?, matrix.names()),
            Item::Table { name, .. } | Item::Vector(name) => {
                (vec![(name.clone(), tensor_error(&stored, &source_weights, &name)?)], vec![name])
            }
        };
        for source in sources.iter().filter_map(|name| source_weights.get(name)) {
            source_weights.release(source.name, 0..source.num_elements());
            state.done_bytes += source.byte_len() as u64;
        }
        state.what = found.last().map_or_else(String::new, |(name, _)| name.clone());
        errors.extend(found);
        if progress(&state) == ControlFlow::Break(()) {
            return Err(Error::Interrupted);
        }
    }
    Ok(errors)
}

/// Error of each projection that a matrix is joined of.
fn matrix_errors(
    stored: &Weights,
    source: &Weights,
    matrix: &Matrix,
) -> Result<Vec<(String, RoundingError)>> {
    let layout = matrix.layout;
    let packed = stored.view(&packed::weight_name(&matrix.label))?;
    let scales = match layout.groups() {
        0 => vec![],
        _ => stored.view(&packed::scale_name(&matrix.label))?.to_f32()?,
    };
    let missing = || Error::Tensor { name: packed.name.into(), reason: "is not in one piece".into() };
    let bytes = packed.contiguous().ok_or_else(missing)?;
    let rows = matrix.rows(source)?;
    let error_of = |set: u32, half: u32, of: Range<u32>| {
        let mut error = RoundingError::default();
        let mut buffers = [vec![0.0; layout.k as usize], vec![0.0; layout.k as usize]];
        let [from, to] = &mut buffers;
        for row in of {
            rows.fill(set, half, row, from);
            unpack_row(&layout, bytes, &scales, set, half, row, to);
            error += RoundingError::of(to, from);
        }
        error
    };
    let joined = &matrix.modules[0][0];
    let (mut errors, mut first) = (vec![], 0);
    for (at, module) in joined.iter().enumerate() {
        let end = match joined.len() {
            1 => layout.n,
            _ => first + source.view(&format!("{module}.weight"))?.num_rows() as u32,
        };
        let mut runs = vec![];
        for (set, halves) in (0..layout.sets).zip(&matrix.modules) {
            for (half, modules) in (0..).zip(halves) {
                // Rows that the sets share are compared once.
                if set == 0 || modules[at] != matrix.modules[0][half as usize][at] {
                    let run = |run: u32| (set, half, run..end.min(run + BLOCK));
                    runs.extend((first..end).step_by(BLOCK as usize).map(run));
                }
            }
        }
        let error = sum(runs.into_par_iter().map(|(set, half, of)| error_of(set, half, of)).collect());
        errors.push((name_of(matrix, module), error));
        first = end;
    }
    rows.finish()?;
    stored.release(packed.name, 0..packed.num_elements());
    Ok(errors)
}

/// `decoder.3.k_proj` of a matrix `decoder.3.qkv_proj`; the matrix's own label if it is not joined.
fn name_of(matrix: &Matrix, module: &str) -> String {
    let of_all_sets = module.split(".multiway.").next().and_then(|module| module.rsplit('.').next());
    match (&matrix.modules[0][0][..], matrix.label.rsplit_once('.'), of_all_sets) {
        ([_], ..) | (_, None, _) | (.., None) => matrix.label.clone(),
        (_, Some((layer, _)), Some(name)) => format!("{layer}.{name}"),
    }
}

fn tensor_error(stored: &Weights, source: &Weights, name: &str) -> Result<RoundingError> {
    let (stored_view, source_view) = (stored.view(name)?, source.view(name)?);
    if stored_view.shape != source_view.shape {
        let reason = format!("is {:?}, in the source {:?}", stored_view.shape, source_view.shape);
        return Err(Error::Tensor { name: name.into(), reason });
    }
    let len = source_view.num_elements();
    let runs = (0..len.div_ceil(GRAIN_ELEMENTS)).into_par_iter().map(|run| {
        let first = run * GRAIN_ELEMENTS;
        let mut buffers =
            [vec![0.0; GRAIN_ELEMENTS.min(len - first)], vec![0.0; GRAIN_ELEMENTS.min(len - first)]];
        let [from, to] = &mut buffers;
        source_view.read_f32(first, from)?;
        stored_view.read_f32(first, to)?;
        Ok(RoundingError::of(to, from))
    });
    Ok(sum(runs.collect::<Result<_>>()?))
}

/// Sums are taken in order, so that every run gives the same.
fn sum(errors: Vec<RoundingError>) -> RoundingError {
    errors.into_iter().fold(RoundingError::default(), |mut sum, error| {
        sum += error;
        sum
    })
}
