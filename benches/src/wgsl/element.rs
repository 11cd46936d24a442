//! Types of elements, in files and in WGSL.

use half::{bf16, f16};
use naga::ScalarKind;
use serde::Serialize;

/// Type of an operand's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats, two in a word.
    Bf16,
    /// Integers with a sign.
    I32,
    /// Integers without.
    U32,
    /// Four integers with a sign in a word.
    I8,
    /// Four integers without one in a word.
    U8,
}

impl Element {
    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("i32", Self::I32),
        ("u32", Self::U32),
        ("i8", Self::I8),
        ("u8", Self::U8),
    ];

    /// Its bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, e)| *e == self).map_or("", |(name, _)| name)
    }

    /// Whether two results must be equal to be right.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// The least and one more than the largest of an integer.
    pub(super) fn range(self) -> (f64, f64) {
        match self {
            Self::U32 => (0.0, 4_294_967_296.0),
            Self::I32 => (-2_147_483_648.0, 2_147_483_648.0),
            Self::U8 => (0.0, 256.0),
            Self::I8 => (-128.0, 128.0),
            _ => (-1.0, 1.0),
        }
    }

    /// Whether a binding of such numbers can hold it.
    pub(super) fn fits(self, scalar: (ScalarKind, u8)) -> bool {
        match (self, scalar) {
            (Self::F32, (ScalarKind::Float, 4)) | (Self::F16, (ScalarKind::Float, 2)) => true,
            (Self::I32, (ScalarKind::Sint, 4)) => true,
            // Words hold whatever the kernel takes out of them.
            (_, (ScalarKind::Uint, 4)) => self != Self::I32,
            _ => false,
        }
    }

    /// Appends a number.
    pub fn push(self, value: f64, bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend((value as f32).to_le_bytes()),
            Self::F16 => bytes.extend(f16::from_f64(value).to_le_bytes()),
            Self::Bf16 => bytes.extend(bf16::from_f64(value).to_le_bytes()),
            Self::I32 => bytes.extend((value as i32).to_le_bytes()),
            Self::U32 => bytes.extend((value as u32).to_le_bytes()),
            Self::I8 => bytes.push(value as i8 as u8),
            Self::U8 => bytes.push(value as u8),
        }
    }

    /// Bytes as numbers.
    pub fn values(self, bytes: &[u8]) -> Vec<f64> {
        let words = || bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match self {
            Self::F32 => words().map(|w| f64::from(f32::from_bits(w))).collect(),
            Self::I32 => words().map(|w| f64::from(w as i32)).collect(),
            Self::U32 => words().map(f64::from).collect(),
            Self::F16 => halves().map(|h| f16::from_bits(h).to_f64()).collect(),
            Self::Bf16 => halves().map(|h| bf16::from_bits(h).to_f64()).collect(),
            Self::I8 => bytes.iter().map(|&b| f64::from(b as i8)).collect(),
            Self::U8 => bytes.iter().map(|&b| f64::from(b)).collect(),
        }
    }
}

/// A type of numbers as WGSL names it.
pub(super) fn scalar_name((kind, bytes): (ScalarKind, u8)) -> String {
    let letter = match kind {
        ScalarKind::Float => "f",
        ScalarKind::Sint => "i",
        ScalarKind::Uint => "u",
        _ => return "bool".into(),
    };
    format!("{letter}{}", 8 * u32::from(bytes))
}
