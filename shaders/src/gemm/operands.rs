//! What a projection is made of: the rows it reads, its weights and its epilogue.

use strix_engine::{Graph, Resident, Tensor, TensorId};

use crate::generated::gemm::Params;
use crate::generated::variants::Epilogue;
use crate::packing::{BLOCK, Format, Layout, LinearStrip, Strip};

/// What follows the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `t · sigmoid(1.702 t)`.
    QuickGelu,
    /// `silu(gate) · up` over a gated [`Linear`](crate::Linear).
    SwiGlu,
}

/// What a projection reads: a tensor, or one row of it that is normalised on the way.
#[derive(Clone, Debug)]
pub struct Input {
    pub(crate) x: Tensor<f32, 2>,
    pub(crate) norm: Option<(Resident<f32, 2>, f32)>,
}

impl From<Tensor<f32, 2>> for Input {
    fn from(x: Tensor<f32, 2>) -> Self {
        Self { x, norm: None }
    }
}

impl Input {
    /// `x / sqrt(mean(x²) + eps) · gain[modality]` without a dispatch of its own: the projections that read it
    /// do it. For one row; `gain` is `[modalities, k]`.
    ///
    /// # Panics
    ///
    /// If `x` has several rows, or `gain` is not as wide.
    pub fn normed(x: Tensor<f32, 2>, gain: &Resident<f32, 2>, eps: f32) -> Self {
        assert_eq!(x.shape()[0], 1, "gemm: a norm on the way is for one row");
        assert_eq!(gain.shape()[1], x.shape()[1], "gemm: gain against x {:?}", x.shape());
        Self { x, norm: Some((gain.clone(), eps)) }
    }

    /// The gain, if it is to be normalised.
    pub(crate) fn gain(&self, g: &mut Graph) -> Option<Tensor<f32, 2>> {
        self.norm.as_ref().map(|(gain, _)| g.bind(gain))
    }

    /// What is added to the mean square.
    pub(crate) fn eps(&self) -> f32 {
        self.norm.as_ref().map_or(0.0, |(_, eps)| *eps)
    }
}

/// Which rows of a tensor are projected, and with which weights: the rows of each modality.
///
/// The tensor holds the number of text rows, the number of image rows, then the indices of the text rows and
/// of the image rows; room for `capacity` indices.
#[derive(Clone, Copy, Debug)]
pub struct Routing(pub Tensor<u32, 1>);

impl Routing {
    /// Rows there is room for; the rows of every result.
    pub fn capacity(self) -> u32 {
        self.0.shape()[0] - 2
    }

    /// Content of the tensor for rows of these modalities (0 text, 1 image).
    pub fn of(modality: &[u32]) -> Vec<u32> {
        let mut content = vec![];
        Self::write(modality, &mut content);
        content
    }

    /// [`Routing::of`] into a vector that is there already, in place of what it holds.
    pub fn write(modality: &[u32], content: &mut Vec<u32>) {
        let rows = |m: u32| (0..modality.len() as u32).filter(move |&r| modality[r as usize] == m);
        let image = modality.iter().filter(|&&m| m == 1).count() as u32;
        content.clear();
        content.extend([modality.len() as u32 - image, image].into_iter().chain(rows(0)).chain(rows(1)));
    }
}

/// `Params` of some columns of a projection.
///
/// # Panics
///
/// If its weights share scales in groups that are no power of two from 32 on.
pub(crate) fn params(strip: &LinearStrip, stride: u32, activation: Activation, eps: f32) -> Params {
    let Strip { first, layout, image, .. } = strip.shape;
    let Layout { n, k, sets, format, .. } = layout;
    Params {
        k,
        n,
        first,
        stride,
        blocks: layout.blocks(),
        sets,
        image_only: u32::from(image),
        shared_blocks: layout.shared_blocks(),
        group_steps: match format {
            Format::Int8 { group: Some(group) } => {
                assert!(group >= 32 && group.is_power_of_two(), "gemm: groups of {group} columns");
                group / 32
            }
            _ => 0,
        },
        activation: activation as u32,
        eps,
    }
}

/// Tensors of some columns of a projection; floats have no scale.
pub(crate) struct Operands {
    pub(crate) weight: TensorId,
    pub(crate) scale: Option<TensorId>,
    pub(crate) bias: Option<TensorId>,
}

impl Operands {
    pub(crate) fn bind(g: &mut Graph, strip: &LinearStrip) -> Self {
        // A strip of text alone is the beginning of its tensors.
        let layout = strip.shape.layout;
        let words = u32::try_from(layout.words()).expect("a strip is within a binding");
        let mut bind = |resident: &Resident<f32, 1>, elements| g.bind_range(resident, 0..elements).id();
        Self {
            scale: strip.scale.as_ref().map(|scale| bind(scale, layout.scales())),
            bias: strip.bias.as_ref().map(|bias| bind(bias, layout.num_blocks() * BLOCK)),
            weight: g.bind_range(&strip.weight, 0..words).id(),
        }
    }
}

/// Value of the variant `epilogue`, for the kernels that have it.
pub(crate) fn epilogue(activation: Activation, residual: bool) -> Epilogue {
    match activation {
        Activation::None if residual => Epilogue::Residual,
        Activation::None => Epilogue::None,
        Activation::QuickGelu => Epilogue::QuickGelu,
        Activation::SwiGlu => Epilogue::Swiglu,
    }
}
