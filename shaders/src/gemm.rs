//! Projections: gemm over many rows, gemv over one, with their epilogues, and the gather-scatter
//! modality-split projection.

mod ways;

use half::bf16;
use strix_engine::{Graph, Resident, Tensor, TensorId};

use crate::dispatch::dispatch;
use crate::gemm_dot;
use crate::generated::variants::Epilogue;
use crate::packing::{BLOCK, Format, Layout, Linear, LinearStrip, Strip};

pub use crate::generated::gemm::{KERNEL, Params, Variants};
pub(crate) use ways::{Projection, Way, columns};

/// What follows the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `t · sigmoid(1.702 t)`.
    QuickGelu,
    /// `silu(gate) · up` over a gated [`Linear`].
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

/// `y = x Wᵀ + b` for the rows in `rows`, row by row with the weights of its modality where `w` has two sets. Columns
/// that the sets share are the same for both.
///
/// | name   | shape         | dtype |
/// |--------|---------------|-------|
/// | `x`    | `[≥ rows, k]` | f32   |
/// | `w`    | `[sets, n, k]`| packed|
/// | result | `[rows, n]`   | f32   |
///
/// Rows that `rows` does not list are not computed. A `w` split over bindings takes one dispatch a strip.
///
/// # Panics
///
/// If `x` is not as wide as `w`.
pub fn linear(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::None, None)
}

/// [`linear`] plus the first rows of `residual`, `[≥ rows, n]`.
///
/// # Panics
///
/// If `x` is not as wide as `w`, or the residual not as wide as the result.
pub fn linear_add(
    g: &mut Graph,
    x: impl Into<Input>,
    w: &Linear,
    residual: Tensor<f32, 2>,
    rows: Routing,
) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::None, Some(residual))
}

/// `quick_gelu(x Wᵀ + b)`, where `quick_gelu(t) = t · sigmoid(1.702 t)`.
///
/// # Panics
///
/// As [`linear`].
pub fn linear_quick_gelu(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::QuickGelu, None)
}

/// `silu(x Wgᵀ + bg) ⊙ (x Wuᵀ + bu)` over a gated matrix (Shazeer 2020, SwiGLU).
///
/// # Panics
///
/// As [`linear`], or if `w` is not gated.
pub fn swiglu(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::SwiGlu, None)
}

/// The projection with any epilogue.
///
/// # Panics
///
/// As [`linear`], if exactly one of `w` and `activation` is gated, or if there is both an activation and a residual.
pub fn gemm(
    g: &mut Graph,
    x: impl Into<Input>,
    w: &Linear,
    rows: Routing,
    activation: Activation,
    residual: Option<Tensor<f32, 2>>,
) -> Tensor<f32, 2> {
    let input = x.into();
    let shape = input.x.shape();
    let n = w.layout.n;
    assert_eq!(shape[1], w.layout.k, "{}: k of x {shape:?} against {:?}", w.name, w.layout);
    assert!(input.norm.is_none() || rows.capacity() == 1, "{}: a norm on the way is for one row", w.name);
    assert_eq!(w.layout.gated, activation == Activation::SwiGlu, "{}: gated weights are SwiGLU's", w.name);
    if let Some(residual) = residual {
        assert_eq!(residual.shape()[1], n, "{}: residual {:?}", w.name, residual.shape());
    }
    let alone = residual.is_none() || activation == Activation::None;
    assert!(alone, "{}: {activation:?} and a residual", w.name);
    if w.rounds() {
        return gemm_dot::gemm_dot(g, &input, w, rows, activation, residual);
    }
    let y = g.activation(&w.name, [rows.capacity(), n]);
    for strip in &w.strips {
        dispatch_strip(g, &input, strip, n, rows, activation, residual, y);
    }
    y
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
            bias: strip.bias.as_ref().map(|bias| bind(bias, layout.places() * BLOCK)),
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

#[expect(clippy::too_many_arguments, reason = "the kernel's own arguments")]
fn dispatch_strip(
    g: &mut Graph,
    input: &Input,
    strip: &LinearStrip,
    stride: u32,
    rows: Routing,
    activation: Activation,
    residual: Option<Tensor<f32, 2>>,
    y: Tensor<f32, 2>,
) {
    let params = params(strip, stride, activation, input.eps());
    let Operands { weight, scale, bias } = Operands::bind(g, strip);
    let (x, gain, routing) = (input.x, input.gain(g), rows.0);
    let read = [Some(x.id()), gain.map(Tensor::id), Some(weight)];
    let texels = read.into_iter().flatten().all(|id| g.has_texels(id));
    let of = Projection {
        rows: rows.capacity(),
        layout: &strip.shape.layout,
        texels,
        norm: gain.is_some(),
        bias: bias.is_some(),
        epilogue: epilogue(activation, residual.is_some()),
    };
    let grid = ways::specialise(g, &of);
    // Of rows of int8, which are gemm_dot's.
    let row_scale = None::<TensorId>;
    macro_rules! of_format {
        ($format:literal) => {
            dispatch!(
                g,
                grid,
                params,
                [x, row_scale, gain, routing, weight, scale, bias, residual => y],
                reference::<$format>
            )
        };
    }
    match strip.shape.layout.format {
        Format::F32 => of_format!(0),
        Format::Bf16 => of_format!(1),
        Format::Int8 { .. } => of_format!(2),
    }
}

/// [`gemm`] in the plainest code that is right, on packed weights of `FORMAT` 0 f32, 1 bf16, 2 int8. What is absent is
/// empty; rows of x are floats, and have no scale. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<const FORMAT: u32>(
    p: &Params,
    x: &[f32],
    _row_scale: &[f32],
    gain: &[f32],
    routing: &[u32],
    weight: &[u32],
    scale: &[f32],
    bias: &[f32],
    residual: &[f32],
    y: &mut [f32],
) {
    let k = p.k as usize;
    let (text, image) = (routing[0] as usize, routing[1] as usize);
    let rows = routing[2..][..text + image].iter().enumerate();
    for (i, &row) in rows.skip(if p.image_only != 0 { text } else { 0 }) {
        let set = u32::from(p.sets == 2 && i >= text);
        let mut x = x[row as usize * k..][..k].to_vec();
        if !gain.is_empty() {
            let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / k as f64;
            let scale = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
            let gain = &gain[usize::from(i >= text) * k..][..k];
            x = x.iter().zip(gain).map(|(&x, &g)| (f64::from(x) * scale * f64::from(g)) as f32).collect();
        }
        let sum = |packed: u32| -> f64 {
            let dot: f64 = (0..p.k)
                .map(|c| f64::from(x[c as usize]) * weight_at::<FORMAT>(p, weight, scale, set, packed, c))
                .sum();
            let at = (place(p, packed, set) * BLOCK + packed % BLOCK) as usize;
            dot + bias.get(at).map_or(0.0, |&bias| f64::from(bias))
        };
        for n in 0..p.n {
            let value = match p.activation {
                2 => {
                    let gate_row = n / BLOCK * 2 * BLOCK + n % BLOCK;
                    let gate = sum(gate_row);
                    gate / (1.0 + (-gate).exp()) * sum(gate_row + BLOCK)
                }
                1 => {
                    let t = sum(n);
                    t / (1.0 + (-1.702 * t).exp())
                }
                _ => sum(n),
            };
            let at = (row * p.stride + p.first + n) as usize;
            y[at] = (value + residual.get(at).map_or(0.0, |&residual| f64::from(residual))) as f32;
        }
    }
}

/// Which of the blocks of all sets packed row `packed` of a set is in.
fn place(p: &Params, packed: u32, set: u32) -> u32 {
    let block = packed / BLOCK;
    if block < p.shared_blocks { block } else { block + set * (p.blocks - p.shared_blocks) }
}

/// One weight, unpacked and scaled.
fn weight_at<const FORMAT: u32>(
    p: &Params,
    weight: &[u32],
    scale: &[f32],
    set: u32,
    packed: u32,
    column: u32,
) -> f64 {
    let steps = p.k.div_ceil(32);
    let chunk = [4, 8, 16][FORMAT as usize];
    let chunks = steps * 32 / chunk;
    let block = place(p, packed, set);
    let first = ((block * chunks + column / chunk) * BLOCK + packed % BLOCK) * 4;
    let within = column % chunk;
    match FORMAT {
        0 => f64::from(f32::from_bits(weight[(first + within) as usize])),
        1 => bf16::from_bits((weight[(first + within / 2) as usize] >> (within % 2 * 16)) as u16).to_f64(),
        _ => {
            let q = (weight[(first + within / 4) as usize] >> (within % 4 * 8)) as u8 as i8;
            let row = packed % BLOCK;
            let at = match p.group_steps {
                0 => block * BLOCK + row,
                steps_a_group => {
                    let group = column / 32 / steps_a_group;
                    let fours = steps.div_ceil(steps_a_group).div_ceil(4);
                    ((block * fours + group / 4) * BLOCK + row) * 4 + group % 4
                }
            };
            f64::from(q) * f64::from(scale[at as usize])
        }
    }
}
