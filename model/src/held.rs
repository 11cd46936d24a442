//! What a model's matrices are stored as: in a checkpoint, in a converted one, or where there is none.

use strix_engine::HostBytes;
use strix_shaders::packing::BLOCK;
use strix_shaders::{Format, Layout};

use crate::packed::{self, Dtype, Packing, Rounding};
use crate::weights::{FileDtype, Weights};
use crate::{Error, Result};

/// The section of the model that a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Vision,
    Abstractor,
    Embedding,
    /// The decoder's layers.
    Decoder,
    /// What follows the decoder's layers, and the rotations.
    Head,
}

/// Whether each section is rounded to int8, and whether it is with [`Rounding::vision`]. Others stay as in the file,
/// F16 as f32; norms, biases and position tables are never rounded.
const INT8: [(Component, bool, bool); 5] = [
    (Component::Vision, false, true),
    (Component::Abstractor, false, true),
    (Component::Embedding, false, false),
    (Component::Decoder, true, true),
    (Component::Head, true, true),
];

/// Shape of a projection and the checkpoint tensors it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Projection<'a> {
    /// Name within its layer, e.g. `q_proj`.
    pub name: &'a str,
    /// Label on the device, e.g. `decoder.3.q_proj`.
    pub label: String,
    /// Output and input columns of the whole.
    pub n: usize,
    pub k: usize,
    /// `[set][half]`: modules (without `.weight`) joined along the output columns.
    pub modules: Vec<Vec<Vec<String>>>,
    /// First output columns that are the same modules in every set.
    pub shared: usize,
    pub bias: bool,
}

/// Bytes of a packed matrix: all its words, and all its scales if it has such.
#[derive(Clone, Debug)]
pub(crate) struct PackedBytes {
    pub words: HostBytes,
    pub scales: Option<HostBytes>,
}

/// Tensors that a model is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'a> {
    /// No file is known: the published weights, which are bf16.
    Published,
    /// Those of a checkpoint.
    Plain(&'a Weights),
    /// Those of a converted one, whose matrices are packed.
    Packed(&'a Weights),
}

impl<'a> Held<'a> {
    /// Those of a checkpoint, if there is one.
    pub(crate) fn of(weights: Option<&'a Weights>) -> Self {
        match weights {
            None => Self::Published,
            Some(weights) if weights.is_packed() => Self::Packed(weights),
            Some(weights) => Self::Plain(weights),
        }
    }

    fn weights(self) -> Option<&'a Weights> {
        match self {
            Self::Published => None,
            Self::Plain(weights) | Self::Packed(weights) => Some(weights),
        }
    }

    /// Whether a tensor is known to be there.
    pub(crate) fn holds(self, name: &str) -> bool {
        self.weights().is_some_and(|weights| weights.get(name).is_some())
    }

    /// Whether the weights and biases of these modules are the same bytes: MAM off.
    pub(crate) fn same(self, a: &[String], b: &[String]) -> bool {
        let Some(weights) = self.weights() else { return false };
        let same = |what: &str| {
            a.iter().zip(b).all(|(a, b)| weights.same(&format!("{a}.{what}"), &format!("{b}.{what}")))
        };
        // Biases first: they are small.
        a.iter().all(|module| self.holds(&format!("{module}.weight"))) && same("bias") && same("weight")
    }

    /// Format of a matrix that is made of these modules.
    pub(crate) fn format<'n>(
        self,
        section: Component,
        rounding: Rounding,
        mut modules: impl Iterator<Item = &'n String>,
    ) -> Format {
        let is_bf16 = |module: &String| match self.weights() {
            Some(weights) => {
                weights.get(&format!("{module}.weight")).is_some_and(|view| view.dtype == FileDtype::BF16)
            }
            None => true,
        };
        let mut as_stored = || if modules.all(is_bf16) { Format::Bf16 } else { Format::F32 };
        let int8 =
            INT8.iter().any(|&(of, always, vision)| of == section && (always || vision && rounding.vision));
        match rounding.dtype {
            Dtype::F32 => Format::F32,
            Dtype::Bf16 => Format::Bf16,
            Dtype::Int8 { group } if int8 => Format::Int8 { group },
            Dtype::Auto | Dtype::Int8 { .. } => as_stored(),
        }
    }

    /// Bytes of a table of rows of `dim` elements, if they lie in a converted file as they do on the device.
    pub(crate) fn rows(self, name: &str, dtype: FileDtype, dim: usize) -> Option<HostBytes> {
        let Self::Packed(weights) = self else { return None };
        let is_whole_words = (dim * dtype.bitsize() / 8).is_multiple_of(4);
        weights
            .host_bytes(name)
            .filter(|_| is_whole_words && weights.get(name).is_some_and(|v| v.dtype == dtype))
    }

    /// Layout of a projection, and its bytes where they are packed already.
    ///
    /// # Errors
    ///
    /// If what is packed does not fit the projection.
    pub(crate) fn layout(
        self,
        section: Component,
        rounding: Rounding,
        p: &Projection<'_>,
    ) -> Result<(Layout, Option<PackedBytes>)> {
        let modules = p.modules.iter().flatten().flatten();
        let layout = p.layout(self.format(section, rounding, modules));
        let Self::Packed(weights) = self else { return Ok((layout, None)) };
        Ok(match packed_as(weights, p)? {
            Some((layout, bytes)) => (layout, Some(bytes)),
            None => (layout, None),
        })
    }
}

impl Projection<'_> {
    fn layout(&self, format: Format) -> Layout {
        Layout {
            n: self.n as u32,
            k: self.k as u32,
            sets: self.modules.len() as u32,
            // Columns are shared in whole blocks. A block that one of the sets ends in is each set's own.
            shared: self.shared as u32 / BLOCK * BLOCK,
            gated: self.modules[0].len() == 2,
            format,
        }
    }
}

/// A projection as a converted file holds it: weights of `[blocks of all sets, chunks, 16, elements of 16 bytes]` and, of
/// int8, scales of `[blocks of all sets, groups, 16]`.
fn packed_as(weights: &Weights, p: &Projection<'_>) -> Result<Option<(Layout, PackedBytes)>> {
    let (name, scale_name) = (packed::weight_name(&p.label), packed::scale_name(&p.label));
    let Some(view) = weights.get(&name) else { return Ok(None) };
    let wrong = |name: &str, reason: String| Error::Tensor { name: name.into(), reason };
    let scale = weights.get(&scale_name);
    let mut layout = p.layout(match view.dtype {
        FileDtype::F32 => Format::F32,
        FileDtype::BF16 => Format::Bf16,
        FileDtype::I8 => Format::Int8 { group: None },
        other => return Err(wrong(&name, format!("is {other}; packed weights are F32, BF16 or I8"))),
    });
    // Weight sets that were equal are stored once.
    let once = Layout { sets: 1, ..layout };
    if view.shape.first() == Some(&(once.num_blocks() as usize)) {
        layout = once;
    }
    if layout.format == (Format::Int8 { group: None }) {
        let found = scale.as_ref().map(|scale| scale.shape.to_vec());
        let formats = [None, Some(32), Some(64), Some(128)].map(|group| Format::Int8 { group });
        let said = weights.packing().map_or(Ok(None), Packing::group);
        let said = said.map_err(|reason| wrong(&scale_name, reason))?;
        let fits = |format: &Format| {
            let shape = Layout { format: *format, ..layout }.scale_shape();
            *format == Format::Int8 { group: said } && Some(shape) == found
        };
        let Some(format) = formats.into_iter().find(fits) else {
            let found = found.map_or("it is missing".into(), |shape| format!("the file holds {shape:?}"));
            return Err(wrong(
                &scale_name,
                format!(
                    "expected F32 of {:?} or more groups, {found}: convert the checkpoint again",
                    layout.scale_shape()
                ),
            ));
        };
        layout.format = format;
    }
    if view.shape != layout.weight_shape() {
        let (want, found) = (layout.weight_shape(), view.shape);
        return Err(wrong(&name, format!("config.json asks for {want:?}, the file holds {found:?}")));
    }
    let missing = || wrong(&name, "is not in one piece in its file".into());
    let scales = match layout.groups() {
        0 => None,
        _ if scale.is_some_and(|scale| scale.dtype != FileDtype::F32) => {
            return Err(wrong(&scale_name, "is not F32".into()));
        }
        _ => Some(weights.host_bytes(&scale_name).ok_or_else(missing)?),
    };
    Ok(Some((layout, PackedBytes { words: weights.host_bytes(&name).ok_or_else(missing)?, scales })))
}
