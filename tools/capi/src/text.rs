//! Texts as C has them: with a zero byte behind them.

use std::ffi::{CString, c_char};

/// A text with a zero byte at its end. Zero bytes within, which no message should have, become spaces.
pub(crate) fn ending(text: impl Into<Vec<u8>>) -> CString {
    let bytes: Vec<u8> = text.into();
    match CString::new(bytes) {
        Ok(text) => text,
        Err(error) => {
            let spaces: Vec<u8> =
                error.into_vec().into_iter().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
            CString::new(spaces).unwrap_or_default()
        }
    }
}

/// A text of a model, which may have zero bytes within; one more is behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// Becomes a copy of `text`; allocates only where it is the longest so far.
    pub(crate) fn set(&mut self, text: &str) {
        self.0.clear();
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// Bytes, without the one at the end.
    pub(crate) fn len(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Where it is: of an empty one too, a zero byte.
    pub(crate) fn as_ptr(&self) -> *const c_char {
        if self.0.is_empty() { c"".as_ptr() } else { self.0.as_ptr().cast() }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut copy = Self::default();
        copy.set(text);
        copy
    }
}
