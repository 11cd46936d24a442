//! Names of benches and the shapes that they describe: `kernel[/regime]/AxB…[/dtype]`.

use std::fmt;

use serde::{Deserialize, Serialize};
use strix_model::tune::data;
use strix_shaders::top_k::max_k;

use crate::{Error, Result};

/// Largest size along an axis.
const MOST: u32 = 1 << 20;
/// Most rows: a side of the grid.
const MOST_ROWS: u32 = 65_535;
/// Most elements of a tensor: kernels count them in 32 bits.
const MOST_ELEMENTS: u64 = 1 << 31;

/// A kernel with the sizes and the dtype that it is run with, and where in the model that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Name of the recording function, with what is fused behind it: `gemm_add`.
    pub kernel: String,
    /// `prefill`, `decode`, `vision` or `abstractor`; empty for a shape of the user's.
    pub regime: String,
    /// Sizes, as [`Signature::sizes`] names them.
    pub sizes: Vec<u32>,
    /// Dtype of the weights, the cache or the table; empty if there is no choice.
    pub dtype: String,
}

/// Sizes and dtypes that a kernel of the benches takes.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Its name.
    pub kernel: &'static str,
    /// Its sizes, in order.
    pub sizes: &'static [&'static str],
    /// Whether one more size may follow: the heads of keys and values, if they are fewer.
    pub kv_heads: bool,
    /// Dtypes of its operand.
    pub dtypes: &'static [&'static str],
}

const WEIGHTS: &[&str] = &["f32", "bf16", "int8", "int8g128", "int8g64", "int8g32"];
const CACHE: &[&str] = &["f32", "f16"];
const TABLE: &[&str] = &["f32", "bf16"];

const fn of(
    kernel: &'static str,
    sizes: &'static [&'static str],
    dtypes: &'static [&'static str],
) -> Signature {
    Signature { kernel, sizes, kv_heads: false, dtypes }
}

const fn heads(kernel: &'static str, dtypes: &'static [&'static str]) -> Signature {
    Signature { kernel, sizes: &["ROWS", "KEYS", "HEADS", "HEAD_DIM"], kv_heads: true, dtypes }
}

/// Every kernel that has benches. Of `gemm_by` and `gemv_by` a third of the output columns is shared by the modalities, as
/// the queries of queries, keys and values are.
pub const SIGNATURES: &[Signature] = &[
    of("gemm", &["ROWS", "N", "K"], WEIGHTS),
    of("gemm_by", &["ROWS", "N", "K"], WEIGHTS),
    of("gemm_swiglu", &["ROWS", "N", "K"], WEIGHTS),
    of("gemm_bias", &["ROWS", "N", "K"], WEIGHTS),
    of("gemm_add", &["ROWS", "N", "K"], WEIGHTS),
    of("gemm_quick_gelu", &["ROWS", "N", "K"], WEIGHTS),
    of("gemv", &["N", "K"], WEIGHTS),
    of("gemv_by", &["N", "K"], WEIGHTS),
    of("gemv_swiglu", &["N", "K"], WEIGHTS),
    of("gemv_bias", &["N", "K"], WEIGHTS),
    of("gemv_add", &["N", "K"], WEIGHTS),
    of("gemv_normed", &["N", "K"], WEIGHTS),
    heads("attention", CACHE),
    heads("attention_full", &[]),
    heads("attention_probs", &[]),
    heads("decode_attention", CACHE),
    of("rope_append", &["ROWS", "HEADS", "HEAD_DIM"], CACHE),
    of("rms_norm", &["ROWS", "DIM"], &[]),
    of("layer_norm", &["ROWS", "DIM"], &[]),
    of("layer_norm_into", &["ROWS", "DIM"], &[]),
    of("embedding", &["ROWS", "DIM"], TABLE),
    of("patches", &["CHANNELS", "SIDE", "SIDE"], &[]),
    of("class_token", &["ROWS", "DIM"], &[]),
    of("add", &["ROWS", "DIM"], &[]),
    of("take_rows", &["ROWS", "DIM"], &[]),
    of("top_k", &["K", "VOCAB"], &[]),
    of("resize_across", &["WIDTH", "HEIGHT", "SIDE"], &[]),
    of("resize_down", &["ROWS", "COLUMNS", "SIDE"], &[]),
];

/// Side of a patch of [`SIGNATURES`]' `patches`.
pub(crate) const PATCH: u32 = 14;

impl Signature {
    /// E.g. `gemm/ROWSxNxK[/f32|bf16|…]`.
    pub fn usage(&self) -> String {
        let mut text = format!("{}/{}", self.kernel, self.sizes.join("x"));
        if self.kv_heads {
            text += "[xKV_HEADS]";
        }
        if !self.dtypes.is_empty() {
            text += &format!("[/{}]", self.dtypes.join("|"));
        }
        text
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.sizes.iter().map(u32::to_string).collect();
        let parts = [self.kernel.as_str(), &self.regime, &sizes.join("x"), &self.dtype];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        f.write_str(&parts.join("/"))
    }
}

impl Shape {
    /// A shape of the model's.
    pub(crate) fn new(kernel: &str, regime: &str, sizes: &[u32], dtype: &str) -> Self {
        Self { kernel: kernel.into(), regime: regime.into(), sizes: sizes.to_vec(), dtype: dtype.into() }
    }

    /// Reads `kernel[/regime]/AxB…[/dtype]`: one shape, or without a dtype one for each that the kernel has. Every name
    /// that a bench prints can be read.
    ///
    /// # Errors
    ///
    /// If there is no such kernel or dtype, the sizes are not as many, or the kernel cannot run them.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let fail = |reason: String| Error::Shape { shape: text.into(), reason };
        let mut parts = text.split('/').peekable();
        let name = parts.next().unwrap_or("");
        let Some(signature) = SIGNATURES.iter().find(|s| s.kernel == name) else {
            let names: Vec<_> = SIGNATURES.iter().map(|s| s.kernel).collect();
            return Err(fail(format!("there is no kernel {name:?}; there are {}", names.join(", "))));
        };
        let usage = || format!("{} reads {}", signature.kernel, signature.usage());
        let is_regime = |part: &&str| part.starts_with(|c: char| c.is_ascii_alphabetic());
        let regime = parts.next_if(is_regime).unwrap_or("");
        let sizes = parts.next().ok_or_else(|| fail(format!("it has no sizes: {}", usage())))?;
        let dtype = parts.next();
        if parts.next().is_some() {
            return Err(fail(format!("it has too many parts: {}", usage())));
        }
        let size = |size: &str| match size.parse() {
            Ok(size) if (1..=MOST).contains(&size) => Ok(size),
            _ => Err(fail(format!("{size:?} is no size from 1 to {MOST}: {}", usage()))),
        };
        let sizes = sizes.split('x').map(size).collect::<Result<Vec<u32>>>()?;
        let most = signature.sizes.len() + usize::from(signature.kv_heads);
        if !(signature.sizes.len()..=most).contains(&sizes.len()) {
            return Err(fail(format!("{} sizes: {}", sizes.len(), usage())));
        }
        let dtypes = match (dtype, signature.dtypes) {
            (None, []) => vec![""],
            (None, all) => all.to_vec(),
            (Some(dtype), all) if all.contains(&dtype) => vec![dtype],
            (Some(dtype), []) => return Err(fail(format!("{dtype:?}: {} has no dtypes", signature.kernel))),
            (Some(dtype), all) => {
                return Err(fail(format!("{dtype:?} is none of its dtypes: {}", all.join(", "))));
            }
        };
        let shapes: Vec<_> =
            dtypes.into_iter().map(|dtype| Self::new(signature.kernel, regime, &sizes, dtype)).collect();
        shapes.iter().try_for_each(|shape| shape.check().map_err(fail))?;
        Ok(shapes)
    }

    /// Checks that the kernel can run it. The error is the reason why not.
    fn check(&self) -> std::result::Result<(), String> {
        let [a, b] = [self.sizes[0], self.sizes[1]];
        let large = |what: &str, x: u32, y: u32| {
            let elements = u64::from(x) * u64::from(y);
            let reason = format!("{what} has {elements} elements; kernels count up to {MOST_ELEMENTS}");
            if elements < MOST_ELEMENTS { Ok(()) } else { Err(reason) }
        };
        let rows = |rows: u32| match rows {
            0..=MOST_ROWS => Ok(()),
            _ => Err(format!("{rows} rows; at most {MOST_ROWS} are possible")),
        };
        match self.kernel.as_str() {
            name if name.starts_with("gemv") => large("the matrix", a, b),
            name if name.starts_with("gemm") => {
                rows(a)?;
                let k = self.sizes[2];
                large("the matrix", b, k)?;
                large("the result", a, b)?;
                large("x", a, k)
            }
            "patches" if b != self.sizes[2] || !b.is_multiple_of(PATCH) => {
                Err(format!("a picture is square, its side a multiple of {PATCH}"))
            }
            "patches" => rows(b),
            "top_k" if a > max_k(b) => Err(format!("{a} of {b}: at most {} can be taken", max_k(b))),
            "top_k" => Ok(()),
            "rope_append" => {
                rows(a)?;
                self.check_heads(self.sizes[2], b, b)
            }
            "resize_across" | "resize_down" => {
                rows(a)?;
                rows(b)?;
                rows(self.sizes[2])?;
                if 4 * a.max(b) / self.sizes[2] > 4096 {
                    return Err("a pixel of more than 4096 weights: the side is too short".into());
                }
                large("the picture", a, b)?;
                large("the result", a.max(b), 3 * self.sizes[2])
            }
            "class_token" if a < 2 => Err("one row is the class token, so there must be two".into()),
            name if name.contains("attention") => self.check_attention(),
            _ => {
                rows(a)?;
                large("x", a, b)
            }
        }
    }

    fn check_attention(&self) -> std::result::Result<(), String> {
        let [rows, keys, heads, dim] = [0, 1, 2, 3].map(|i| self.sizes[i]);
        self.check_heads(dim, heads, self.kv_heads())?;
        match self.kernel.as_str() {
            "decode_attention" if rows != 1 => Err(format!("{rows} rows; decode_attention is of 1")),
            "attention_full" | "decode_attention" => Ok(()),
            _ if rows > keys => Err(format!("{rows} rows at the end of {keys} keys: there must be as many")),
            _ if rows > MOST_ROWS => Err(format!("{rows} rows; at most {MOST_ROWS} are possible")),
            _ => Ok(()),
        }
    }

    fn check_heads(&self, dim: u32, heads: u32, kv_heads: u32) -> std::result::Result<(), String> {
        if !(1..=256).contains(&dim)
            || ["rope_append", "decode_attention"].contains(&self.kernel.as_str()) && dim % 2 == 1
        {
            return Err(format!("heads of {dim}; 1 to 256 are possible, and even where they are rotated"));
        }
        if self.dtype == "f16" && !dim.is_multiple_of(4) {
            return Err(format!("heads of {dim} as f16, which are stored in units of 4: take f32"));
        }
        if heads > 1024 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} heads over {kv_heads} of keys; at most 1024, and a multiple of them"
            ));
        }
        Ok(())
    }

    /// Heads of keys and values of an attention.
    pub(crate) fn kv_heads(&self) -> u32 {
        self.sizes.get(4).copied().unwrap_or(self.sizes[2])
    }

    /// Format of its weights.
    pub(crate) fn format(&self) -> Option<strix_shaders::Format> {
        data::FORMATS.iter().find(|(name, _)| *name == self.dtype).map(|(_, format)| *format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(text: &str, part: &str) {
        let error = Shape::parse(text).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(part), "{error}");
    }

    #[test]
    fn names_are_read_as_they_are_printed() {
        for name in [
            "gemm/256x11008x4096/int8",
            "gemm_by/prefill/64x8192x4096/int8g32",
            "gemv/decode/32000x4096/bf16",
            "attention/1024x1024x32x128/f16",
            "attention/64x2048x32x128x8/f32",
            "rms_norm/decode/1x4096",
            "top_k/64x32000",
            "patches/vision/3x448x448",
        ] {
            let shapes = Shape::parse(name).unwrap();
            assert_eq!(shapes.iter().map(Shape::to_string).collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn without_a_dtype_every_dtype_is_meant() {
        let names: Vec<_> =
            Shape::parse("attention/8x8x2x64").unwrap().iter().map(Shape::to_string).collect();
        assert_eq!(names, ["attention/8x8x2x64/f32", "attention/8x8x2x64/f16"]);
        assert_eq!(Shape::parse("gemm/8x64x64").unwrap().len(), 6);
    }

    #[test]
    fn what_no_kernel_can_run_is_refused_with_what_would_do() {
        refuses("gem/1x2x3", "there are gemm, gemm_by");
        refuses("gemm", "gemm/ROWSxNxK[/f32|bf16|");
        refuses("gemm/256x4096", "2 sizes: gemm reads gemm/ROWSxNxK");
        refuses("gemm/256x0x4096", "\"0\" is no size from 1 to 1048576");
        refuses("gemm/256x-1x4096", "\"-1\" is no size");
        refuses("gemm/256x64x64/f16", "none of its dtypes: f32, bf16");
        refuses("gemm/256x64x64/int8/x", "too many parts");
        refuses("gemm/100000x64x64/int8", "100000 rows; at most 65535");
        refuses("gemv/1048576x1048576/int8", "1099511627776 elements");
        refuses("attention/8x8x2x300", "heads of 300; 1 to 256");
        refuses("attention/8x8x2x66/f16", "in units of 4");
        refuses("attention/8x8x6x64x4", "6 heads over 4 of keys");
        refuses("attention/16x8x2x64", "16 rows at the end of 8 keys");
        refuses("decode_attention/2x64x2x64", "decode_attention is of 1");
        refuses("top_k/2000000x32000", "is no size");
        refuses("top_k/20000x32000", "20000 of 32000: at most");
        refuses("patches/3x448x224", "square");
        refuses("rms_norm/1x4096/f32", "has no dtypes");
    }
}
