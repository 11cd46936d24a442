//! What tells a checkpoint from others, without reading all of it.

use super::tensors::Weights;
use crate::Result;

/// Elements of a tensor that are looked at, at its beginning and in its middle.
const LOOKED_AT: usize = 64;

impl Weights {
    /// A hash of the names, dtypes and shapes of all tensors, and of a few elements of each: 32 bytes in hexadecimal. Two
    /// trainings of one architecture differ in it; two files whose other elements differ need not.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for name in self.names() {
            let Some(view) = self.get(name) else { continue };
            hasher.update(format!("{name} {} {:?}\n", view.dtype, view.shape).as_bytes());
            let (len, bits) = (view.num_elements(), view.dtype.bitsize());
            // What is not of whole bytes is refused where it is loaded.
            if !bits.is_multiple_of(8) {
                continue;
            }
            let size = bits / 8;
            let mut bytes = vec![0; LOOKED_AT.min(len) * size];
            for start in [0, (len / 2).min(len - LOOKED_AT.min(len))] {
                view.read_bytes(start, &mut bytes)?;
                hasher.update(&bytes);
            }
        }
        Ok(hasher.finalize().to_string())
    }
}
