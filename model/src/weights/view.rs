//! A tensor of a checkpoint, read where it lies: in one piece, by strides, or computed.

use std::fmt;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::computed::Computed;
use super::{FileDtype, names};
use crate::files::Reader;
use crate::{Error, Result};

/// Elements that are read at a time where the whole need not fit in memory.
const PIECE: usize = 1 << 14;
/// Elements that are read from a reader at a time.
const READ_AT_ONCE: usize = 1 << 20;

/// A transposed matrix is read in tiles: as many rows as a line of the cache has elements, so that each line is used
/// whole, and as many columns as it can hold lines that are a power of two apart.
const TILE_ROWS: usize = 32;
const TILE_COLUMNS: usize = 8;

/// A tensor of a checkpoint.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Name in the checkpoint.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: FileDtype,
    /// Sizes, outermost first; empty for a single number.
    pub shape: &'a [usize],
    pub(super) data: Data<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    /// Little-endian, row-major, aligned to nothing.
    Contiguous(&'a [u8]),
    /// Element `[i, j, ..]` is at `i * strides[0] + j * strides[1] + ..`, in elements.
    Strided {
        bytes: &'a [u8],
        strides: &'a [usize],
    },
    Computed(&'a Computed),
    /// As `Contiguous`, from byte `start` of what is read when it is needed.
    Read {
        reader: &'a Reader,
        start: usize,
        len: usize,
    },
    /// As `Strided`, of these bytes of what is read when it is needed.
    ReadStrided {
        reader: &'a Reader,
        start: usize,
        len: usize,
        strides: &'a [usize],
    },
}

impl View<'_> {
    /// Elements in all.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows: the outermost size, 1 for a single number.
    pub fn num_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of its elements, wherever they lie.
    pub fn byte_len(&self) -> usize {
        match self.data {
            Data::Contiguous(bytes) => bytes.len(),
            Data::Read { len, .. } => len,
            _ => self.num_elements() * self.element_bytes(),
        }
    }

    /// All elements as f32, exactly.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16, or its file cannot be read.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.elements_f32(0..self.num_elements(), &mut values)?;
        Ok(values)
    }

    /// Some rows as f32, exactly, in place of what `values` held.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16, or its file cannot be read.
    ///
    /// # Panics
    ///
    /// If it has no such rows.
    pub fn rows_f32(&self, rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        let len: usize = self.shape.iter().skip(1).product();
        assert!(rows.end <= self.num_rows(), "{}: rows {rows:?} of {:?}", self.name, self.shape);
        self.elements_f32(rows.start * len..rows.end * len, values)
    }

    /// The same of all elements, which must be finite.
    pub(crate) fn finite_values(&self) -> Result<Vec<f32>> {
        let values = self.to_f32()?;
        check_finite(self.name, 0, &values)?;
        Ok(values)
    }

    /// [`View::read_f32`] of elements that must be finite.
    pub(crate) fn read_finite(&self, start: usize, values: &mut [f32]) -> Result<()> {
        self.read_f32(start, values)?;
        check_finite(self.name, start, values)
    }

    /// The elements from `start` on, row-major, as f32, exactly, as many as `values` holds.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16, or its file cannot be read.
    ///
    /// # Panics
    ///
    /// If it has no such elements.
    pub fn read_f32(&self, start: usize, values: &mut [f32]) -> Result<()> {
        self.check_float()?;
        self.check_range(start, values.len());
        if let Data::Computed(stream) = self.data {
            stream.read_f32(start, values);
            return Ok(());
        }
        if let Data::Read { .. } = self.data {
            return self.in_pieces(start, values, |piece, values| piece.read_f32(0, values));
        }
        if let Data::ReadStrided { reader, start: first, len, strides } = self.data {
            let bytes = &reader.kept(first as u64, len as u64)?;
            return View { data: Data::Strided { bytes, strides }, ..*self }.read_f32(start, values);
        }
        match (self.dtype, self.contiguous()) {
            (FileDtype::F32, _) => self.read(start, values, f32::from_le_bytes),
            (FileDtype::F16, Some(bytes)) => {
                // A slice is converted with the CPU's instruction, which is looked up once a slice.
                let bytes = bytes[start * 2..][..values.len() * 2].as_chunks().0;
                let mut halves = [f16::ZERO; 512];
                for (values, bytes) in values.chunks_mut(halves.len()).zip(bytes.chunks(halves.len())) {
                    let halves = &mut halves[..values.len()];
                    halves.iter_mut().zip(bytes).for_each(|(half, &b)| *half = f16::from_le_bytes(b));
                    halves.convert_to_f32_slice(values);
                }
            }
            (FileDtype::F16, None) => self.read(start, values, |b| f16::from_le_bytes(b).to_f32()),
            // A bf16 is the upper half of an f32.
            _ => self.read(start, values, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        }
        Ok(())
    }

    /// The elements from `start` on, row-major, as a file holds them: little-endian, of [`View::dtype`]; as many as
    /// `bytes` has room for.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    ///
    /// # Panics
    ///
    /// If it has no such elements, `bytes` is not of whole elements, or an element is not of whole bytes.
    pub fn read_bytes(&self, start: usize, bytes: &mut [u8]) -> Result<()> {
        let size = self.element_bytes();
        assert!(bytes.len().is_multiple_of(size), "{}: {} bytes of {}", self.name, bytes.len(), self.dtype);
        self.check_range(start, bytes.len() / size);
        if let Data::Computed(stream) = self.data {
            match size {
                2 => stream.read_bytes::<2>(start, bytes.as_chunks_mut().0),
                _ => stream.read_bytes::<4>(start, bytes.as_chunks_mut().0),
            }
            return Ok(());
        }
        if let Data::Read { reader, start: first, .. } = self.data {
            return reader.fill((first + start * size) as u64, bytes);
        }
        if let Data::ReadStrided { reader, start: first, len, strides } = self.data {
            let held = &reader.kept(first as u64, len as u64)?;
            return View { data: Data::Strided { bytes: held, strides }, ..*self }.read_bytes(start, bytes);
        }
        match size {
            1 => self.read::<1, _>(start, bytes.as_chunks_mut().0, |b| b),
            2 => self.read::<2, _>(start, bytes.as_chunks_mut().0, |b| b),
            4 => self.read::<4, _>(start, bytes.as_chunks_mut().0, |b| b),
            _ => self.read::<8, _>(start, bytes.as_chunks_mut().0, |b| b),
        }
        Ok(())
    }

    /// Whether two tensors have the same dtype, the same shape and, bit for bit, the same elements.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn same(&self, other: &View<'_>) -> Result<bool> {
        if (self.dtype, self.shape) != (other.dtype, other.shape) {
            return Ok(false);
        }
        if let (Some(a), Some(b)) = (self.contiguous(), other.contiguous()) {
            return Ok(a == b);
        }
        let size = self.element_bytes();
        let (mut a, mut b) = (vec![0; PIECE * size], vec![0; PIECE * size]);
        for start in (0..self.num_elements()).step_by(PIECE) {
            let len = PIECE.min(self.num_elements() - start) * size;
            self.read_bytes(start, &mut a[..len])?;
            other.read_bytes(start, &mut b[..len])?;
            if a[..len] != b[..len] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Index of the first NaN or infinity. `None` too if the tensor is not of floats.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn first_non_finite(&self) -> Result<Option<usize>> {
        if self.check_float().is_err() {
            return Ok(None);
        }
        let mut values = Vec::new();
        let len = self.num_elements();
        for start in (0..len).step_by(PIECE) {
            self.elements_f32(start..len.min(start + PIECE), &mut values)?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Ok(Some(start + at));
            }
        }
        Ok(None)
    }

    /// Reads elements that are not in memory, a piece at a time, and has `convert` make values of each.
    fn in_pieces<T>(
        &self,
        start: usize,
        values: &mut [T],
        convert: impl Fn(&View<'_>, &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let size = self.element_bytes();
        let mut bytes = vec![0; values.len().min(READ_AT_ONCE) * size];
        for (i, values) in values.chunks_mut(READ_AT_ONCE).enumerate() {
            let bytes = &mut bytes[..values.len() * size];
            self.read_bytes(start + i * READ_AT_ONCE, bytes)?;
            let (shape, data) = (&[values.len()], Data::Contiguous(bytes));
            convert(&View { name: self.name, dtype: self.dtype, shape, data }, values)?;
        }
        Ok(())
    }

    /// Whether it is of floats that [`View::read_f32`] reads.
    pub(super) fn check_float(&self) -> Result<()> {
        names::check_float(self.name, self.dtype)
    }

    fn check_range(&self, start: usize, len: usize) {
        let end = start.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.num_elements()),
            "{}: {len} elements from {start} on, of {:?}",
            self.name,
            self.shape
        );
    }

    fn element_bytes(&self) -> usize {
        let bits = self.dtype.bitsize();
        assert!(bits.is_multiple_of(8), "{}: {} is not of whole bytes", self.name, self.dtype);
        bits / 8
    }

    fn elements_f32(&self, range: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        self.check_float()?;
        values.clear();
        values.resize(range.len(), 0.0);
        self.read_f32(range.start, values)
    }

    fn read<const N: usize, T>(&self, start: usize, values: &mut [T], number: impl Fn([u8; N]) -> T) {
        match self.data {
            Data::Contiguous(bytes) => {
                let bytes = &bytes[start * N..][..values.len() * N];
                for (value, &bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = number(bytes);
                }
            }
            Data::Strided { bytes, strides } => {
                gather(bytes.as_chunks().0, self.shape, strides, start, values, number);
            }
            Data::Computed(_) | Data::Read { .. } | Data::ReadStrided { .. } => {
                unreachable!("{}: not in memory", self.name)
            }
        }
    }
}

impl<'a> View<'a> {
    /// Its elements, little-endian and row-major, aligned to nothing; `None` if they do not lie so, one after the
    /// other, in memory. [`View::read_bytes`] reads those.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        match self.data {
            Data::Contiguous(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Checks that values from element `first` on are neither NaN nor infinite.
fn check_finite(name: &str, first: usize, values: &[f32]) -> Result<()> {
    // The largest magnitude first, since a search that may stop early is not vectorised.
    let largest = values.iter().fold(0, |most, v| most.max(v.to_bits() & 0x7fff_ffff));
    if largest < f32::INFINITY.to_bits() {
        return Ok(());
    }
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let reason = format!(
        "element {} is {}; the checkpoint is damaged: download or save it again",
        first + at,
        values[at]
    );
    Err(Error::Tensor { name: name.into(), reason })
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.name, self.dtype, self.shape)
    }
}

/// Elements from `start` on of a tensor that lies by strides. Divides once a run, not once an element.
fn gather<const N: usize, T>(
    from: &[[u8; N]],
    shape: &[usize],
    strides: &[usize],
    start: usize,
    values: &mut [T],
    number: impl Fn([u8; N]) -> T,
) {
    let [outer @ .., columns] = shape else { return };
    let [outer_strides @ .., stride] = strides else { return };
    let (rows, row_stride) = match (outer, outer_strides) {
        ([.., rows], [.., row_stride]) => (*rows, *row_stride),
        _ => (1, 0),
    };
    let row_start = |mut row: usize| {
        let mut at = 0;
        for (size, stride) in outer.iter().zip(outer_strides).rev() {
            at += row % size * stride;
            row /= size;
        }
        at
    };
    let mut done = 0;
    while done < values.len() {
        let (row, column) = ((start + done) / columns, (start + done) % columns);
        let values = &mut values[done..];
        let whole = if column == 0 { (values.len() / columns).min(rows - row % rows) } else { 0 };
        if whole > 1 && row_stride < *stride {
            let (tile, first) = (whole.min(TILE_ROWS), row_start(row));
            for block in (0..*columns).step_by(TILE_COLUMNS) {
                let block = block..(*columns).min(block + TILE_COLUMNS);
                for row in 0..tile {
                    let first = first + row * row_stride;
                    let values = &mut values[row * columns..][block.clone()];
                    for (value, column) in values.iter_mut().zip(block.clone()) {
                        *value = number(from[first + column * stride]);
                    }
                }
            }
            done += tile * columns;
        } else {
            let first = row_start(row) + column * stride;
            let len = values.len().min(columns - column);
            match stride {
                // One element stands for all.
                0 => values[..len].iter_mut().for_each(|value| *value = number(from[first])),
                _ => {
                    for (value, from) in values[..len].iter_mut().zip(from[first..].iter().step_by(*stride)) {
                        *value = number(*from);
                    }
                }
            }
            done += len;
        }
    }
}
