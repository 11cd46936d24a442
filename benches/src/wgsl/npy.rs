//! Arrays in NumPy's files. (A crate for this brings a parser of Python's literals and, with it, a C compiler.)

use std::path::Path;

use strix_model::read::read_file;

use super::element::Element;
use crate::{Error, Result};

/// What a file may be at most.
const MOST_BYTES: u64 = 4 << 30;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Type of its elements.
    pub(super) element: Element,
    /// Its sides.
    pub(super) shape: Vec<u64>,
    /// Elements, little-endian.
    pub(super) bytes: Vec<u8>,
}

impl Array {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or holds what WGSL has no type for.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let file = read_file(path, MOST_BYTES)?;
        parse(&file).map_err(|reason| Error::Kernel { path: path.to_owned(), reason })
    }

    /// Elements as numbers.
    pub(super) fn values(&self) -> Vec<f64> {
        self.element.values(&self.bytes)
    }
}

fn parse(file: &[u8]) -> Result<Array, String> {
    let no_npy = || "it is no .npy file".to_owned();
    let rest = file.strip_prefix(b"\x93NUMPY").ok_or_else(no_npy)?;
    let (start, len) = match *rest {
        [1, _, a, b, ..] => (4, u16::from_le_bytes([a, b]) as usize),
        [2 | 3, _, a, b, c, d, ..] => (6, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(no_npy()),
    };
    let header = rest.get(start..start + len).and_then(|h| std::str::from_utf8(h).ok()).ok_or_else(no_npy)?;
    let after = |key: &str| Some(header.split_once(&format!("'{key}':"))?.1.trim_start());
    let kind = after("descr").and_then(|v| v.strip_prefix('\'')?.split('\'').next()).ok_or_else(no_npy)?;
    if after("fortran_order").is_some_and(|v| v.starts_with("True")) {
        return Err("it is in Fortran's order: store numpy.ascontiguousarray(x)".into());
    }
    let sides = after("shape").and_then(|v| v.strip_prefix('(')?.split(')').next()).ok_or_else(no_npy)?;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape = sides.map(str::parse).collect::<Result<Vec<u64>, _>>().map_err(|_| no_npy())?;
    let data = &rest[start + len..];
    let (element, size) = match kind {
        "<f4" => (Element::F32, 4),
        "<f8" => (Element::F32, 8),
        "<f2" => (Element::F16, 2),
        "<i4" => (Element::I32, 4),
        "<u4" => (Element::U32, 4),
        "<i8" => (Element::I32, 8),
        "<u8" => (Element::U32, 8),
        "|i1" => (Element::I8, 1),
        "|u1" => (Element::U8, 1),
        _ => {
            return Err(format!(
                "it holds {kind}, and WGSL has f32, f16, i32 and u32 (i8 and u8 four in a word): store x.astype('f4')"
            ));
        }
    };
    let len = shape.iter().product::<u64>();
    if data.len() as u64 != len * size {
        return Err(format!("it holds {} bytes, and {shape:?} of {kind} are {}", data.len(), len * size));
    }
    let bytes = match size {
        8 => narrowed(kind, data)?,
        _ => data.to_vec(),
    };
    Ok(Array { element, shape, bytes })
}

/// NumPy's own types of 64 bits as what WGSL has.
fn narrowed(kind: &str, data: &[u8]) -> Result<Vec<u8>, String> {
    let word = |bytes: &[u8]| {
        let bytes: [u8; 8] = bytes.try_into().expect("pieces of 8");
        let word = match kind {
            "<f8" => Some((f64::from_le_bytes(bytes) as f32).to_bits()),
            "<i8" => i32::try_from(i64::from_le_bytes(bytes)).ok().map(|v| v as u32),
            _ => u32::try_from(u64::from_le_bytes(bytes)).ok(),
        };
        word.map(u32::to_le_bytes).ok_or_else(|| "it holds integers that do not fit in 32 bits".to_owned())
    };
    data.chunks_exact(8).map(word).collect::<Result<Vec<_>, _>>().map(|words| words.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_are_read_as_numpy_writes_them() {
        let array = parse(&file(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n",
            &[0, 0, 128, 63, 0, 0, 0, 64],
        ));
        let array = array.unwrap();
        assert_eq!(
            (array.element, &*array.shape, array.values()),
            (Element::F32, &[2, 1][..], vec![1.0, 2.0])
        );
        let array = parse(&file(
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
            &(-3_i64).to_le_bytes(),
        ));
        assert_eq!(array.unwrap().values(), [-3.0]);
        let array =
            parse(&file("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", &0.5_f64.to_le_bytes()));
        assert_eq!(array.unwrap().values(), [0.5]);
    }

    #[test]
    fn what_no_kernel_can_take_is_refused() {
        for (bytes, part) in [
            (b"PK".to_vec(), "no .npy file"),
            (file("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]), "it holds <c8"),
            (file("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", &[0; 4]), "ascontiguousarray"),
            (file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", &[0; 4]), "holds 4 bytes"),
            (
                file(
                    "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
                    &[255, 255, 255, 255, 1, 0, 0, 0],
                ),
                "32 bits",
            ),
        ] {
            let error = parse(&bytes).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
