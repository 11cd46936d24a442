//! Brings a checkpoint's tensors to the device: joins, packs and checks them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use strix_engine::{Gpu, HostBytes, Resident, Target};
use strix_shaders::embedding::{EmbeddingPart, Table};
use strix_shaders::packing::{BLOCK, Bias, Contents};
use strix_shaders::{Activations, Format, Layout, Linear};

use crate::packed::{self, Dtype, Packing, Rounding};
use crate::weights::{FileDtype, View, Weights};
use crate::{Error, Result};

/// Progress of loading.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The tensor that was read last.
    pub what: String,
    /// Bytes of the checkpoint read so far.
    pub done_bytes: u64,
    /// Bytes of the checkpoint that will be read.
    pub total_bytes: u64,
}

/// The section of the model that a matrix belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Vision,
    Abstractor,
    Embedding,
    Decoder,
    LmHead,
}

/// Whether each section is rounded to int8, and whether it is with [`Rounding::vision`]. Others stay as in the file,
/// F16 as f32; norms, biases and position tables are never rounded.
const INT8: [(Section, bool, bool); 5] = [
    (Section::Vision, false, true),
    (Section::Abstractor, false, true),
    (Section::Embedding, false, false),
    (Section::Decoder, true, true),
    (Section::LmHead, true, true),
];

/// Shape of a projection and the checkpoint tensors it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Projection<'a> {
    /// Name within its layer, e.g. `q_proj`.
    pub name: &'a str,
    /// Label on the device, e.g. `decoder.3.q_proj`.
    pub label: String,
    pub section: Section,
    /// Output and input columns of the whole.
    pub n: usize,
    pub k: usize,
    /// `[set][half]`: modules (without `.weight`) joined along the output columns.
    pub modules: Vec<Vec<Vec<String>>>,
    /// First output columns that are the same modules in every set.
    pub shared: usize,
    pub bias: bool,
}

/// A matrix of the model as the converter writes it.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    /// Label on the device; what a converted file holds is [named](packed::weight_name) by it.
    pub label: String,
    pub layout: Layout,
    /// The same as [`Projection::modules`].
    pub modules: Vec<Vec<Vec<String>>>,
}

/// A tensor or matrix of a model, in the order in which they are loaded.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A packed projection.
    Matrix(Matrix),
    /// A table that is stored by rows, as in the checkpoint.
    Table {
        name: String,
        /// Whether it is rounded to bf16; else it is f32.
        bf16: bool,
    },
    /// A norm, bias or position table, stored as in the checkpoint.
    Vector(String),
}

/// The layers that take turns on the device, and so must be on the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streaming {
    /// Whether those of the vision tower and the abstractor do.
    pub vision: bool,
    /// Whether each layer of the decoder does.
    pub decoder: Vec<bool>,
}

/// Puts tensors on a device, or only declares them, for planning.
pub(crate) struct Loader<'a> {
    pub target: Target,
    pub rounding: Rounding,
    /// The dtype that projections round their rows to.
    pub activations: Activations,
    /// Without it dtypes are guessed: the published weights are 16-bit.
    pub weights: Option<&'a Weights>,
    /// Without it nothing is read.
    pub device: Option<Device<'a>>,
    /// Items asked for so far.
    pub items: Vec<Item>,
    pub streaming: Streaming,
    /// Whether what comes next stays on the host, to be streamed: within [`Loader::streamed`].
    pub on_host: bool,
}

/// The device that tensors go to, and the caller's progress.
pub(crate) struct Device<'a> {
    pub gpu: &'a Gpu,
    pub progress: &'a mut dyn FnMut(&Progress),
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Set by whoever wants no model any more.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Device<'_> {
    /// Tells what was read last, unless nobody wants more.
    pub(crate) fn tell(&mut self, what: &str) -> Result<()> {
        let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
        (self.progress)(&Progress { what: what.into(), done_bytes, total_bytes });
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// The tensor of that name.
pub(crate) fn view<'a>(weights: &'a Weights, name: &str) -> Result<View<'a>> {
    let missing = || Error::Tensor { name: name.into(), reason: "is not in the checkpoint".into() };
    weights.get(name).ok_or_else(missing)
}

fn read(weights: &Weights, name: &str) -> Result<Vec<f32>> {
    let values = view(weights, name)?.to_f32()?;
    check_finite(name, 0, &values)?;
    Ok(values)
}

/// Checks that values from element `first` on are neither NaN nor infinite.
pub(crate) fn check_finite(name: &str, first: usize, values: &[f32]) -> Result<()> {
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

impl Matrix {
    /// Checkpoint tensors it is made of, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![];
        for module in self.modules.iter().flatten().flatten() {
            let name = format!("{module}.weight");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// A reader of its rows, as [`strix_shaders::packing::pack`] takes it, that keeps the first error.
    pub(crate) fn rows<'a>(&self, weights: &'a Weights) -> Result<RowReader<'a>> {
        let views = |modules: &Vec<String>| -> Result<Vec<View<'a>>> {
            modules.iter().map(|module| view(weights, &format!("{module}.weight"))).collect()
        };
        let halves = self.modules.iter().flatten().map(views).collect::<Result<_>>()?;
        Ok(RowReader { views: halves, halves: self.modules[0].len(), error: Mutex::new(None) })
    }
}

/// Reads a [`Matrix`] by rows, from several threads at once.
pub(crate) struct RowReader<'a> {
    /// `[set · halves + half]`.
    views: Vec<Vec<View<'a>>>,
    halves: usize,
    error: Mutex<Option<Error>>,
}

impl RowReader<'_> {
    /// Fills `out` with a row. An error is kept for [`RowReader::finish`].
    pub(crate) fn fill(&self, set: u32, half: u32, row: u32, out: &mut [f32]) {
        let mut row = row as usize;
        for view in &self.views[set as usize * self.halves + half as usize] {
            let rows = view.num_rows();
            if row >= rows {
                row -= rows;
                continue;
            }
            let result = view
                .read_f32(row * out.len(), out)
                .and_then(|()| check_finite(view.name, row * out.len(), out));
            if let Err(error) = result {
                self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            return;
        }
    }

    /// The first error of the rows read, if there was one.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(error) = self.error.into_inner().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(());
        };
        // RowReader are read in parallel: which error came first is chance, so the first is looked for.
        self.views.iter().flatten().try_for_each(|view| check_finite(view.name, 0, &view.to_f32()?))?;
        Err(error)
    }
}

impl<'a> Loader<'a> {
    /// A loader that declares tensors without reading any.
    pub(crate) fn declare(target: Target, rounding: Rounding, weights: Option<&'a Weights>) -> Self {
        let streaming = Streaming::default();
        Self {
            target,
            rounding,
            weights,
            device: None,
            items: vec![],
            streaming,
            on_host: false,
            activations: Activations::F32,
        }
    }

    /// Runs `load`; if `stays`, what it asks for stays on the host, to be streamed.
    pub(crate) fn streamed<T>(&mut self, stays: bool, load: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.on_host, stays);
        let loaded = load(self);
        self.on_host = before;
        loaded
    }

    /// Notes that a tensor was read. Those of a converted file are read later, when they are placed.
    fn count(&mut self, name: &str) -> Result<()> {
        if let (Some(weights), Some(device)) = (self.weights.filter(|w| !w.is_packed()), &mut self.device) {
            device.done_bytes += view(weights, name)?.byte_len() as u64;
            device.tell(name)?;
        }
        Ok(())
    }

    /// The checkpoint and the device, where there are both.
    fn source(&self) -> Option<(&'a Weights, &'a Gpu)> {
        Some((self.weights?, self.device.as_ref()?.gpu))
    }

    /// Whether tensors are only declared: their content is not looked at, nor computed.
    pub(crate) fn is_declaring(&self) -> bool {
        self.source().is_none()
    }

    /// A vector or table of the checkpoint as f32, under any shape of as many elements.
    pub(crate) fn tensor<const R: usize>(
        &mut self,
        name: &str,
        label: &str,
        shape: [u32; R],
    ) -> Result<Resident<f32, R>> {
        self.stacked(&[name.into()], label, shape)
    }

    /// A vector of the checkpoint for the host; nothing where tensors are only declared.
    pub(crate) fn vector(&mut self, name: &str) -> Result<Vec<f32>> {
        self.items.push(Item::Vector(name.into()));
        let Some((weights, _)) = self.source() else { return Ok(vec![]) };
        let values = read(weights, name)?;
        self.count(name)?;
        Ok(values)
    }

    /// Several tensors one after the other, as one.
    pub(crate) fn stacked<const R: usize>(
        &mut self,
        names: &[String],
        label: &str,
        shape: [u32; R],
    ) -> Result<Resident<f32, R>> {
        self.items.extend(names.iter().cloned().map(Item::Vector));
        let Some((weights, _)) = self.source() else {
            return Ok(Resident::zeros(label, shape).with_texels());
        };
        let mut values = vec![];
        for name in names {
            values.extend(read(weights, name)?);
            self.count(name)?;
        }
        Ok(Resident::from_slice(label, shape, &values).with_texels())
    }

    /// Tables of `[rows, dim]` one below the other, each from the checkpoint where it holds it, else computed.
    pub(crate) fn joined(
        &mut self,
        names: &[String; 2],
        label: &str,
        rows: [usize; 2],
        dim: usize,
        computed: [&dyn Fn() -> Vec<f32>; 2],
    ) -> Result<Resident<f32, 2>> {
        let shape = [rows.iter().sum::<usize>() as u32, dim as u32];
        let stored = |name: &String| self.weights.filter(|weights| weights.get(name).is_some());
        let stored = [stored(&names[0]), stored(&names[1])];
        let named = names.iter().zip(stored).filter(|(_, stored)| stored.is_some());
        self.items.extend(named.map(|(name, _)| Item::Vector(name.clone())));
        if self.is_declaring() {
            return Ok(Resident::zeros(label, shape).with_texels());
        }
        let mut values = vec![];
        for (i, name) in names.iter().enumerate() {
            let Some(weights) = stored[i] else {
                values.extend(computed[i]());
                continue;
            };
            let table = read(weights, name)?;
            if table.len() != rows[i] * dim {
                let found = view(weights, name)?.shape;
                let reason = format!("config.json asks for [{}, {dim}], the file holds {found:?}", rows[i]);
                return Err(Error::Tensor { name: name.clone(), reason });
            }
            values.extend(table);
            self.count(name)?;
        }
        Ok(Resident::from_slice(label, shape, &values).with_texels())
    }

    /// Whether the checkpoint's weights and biases of these modules are the same bytes: MAM off.
    pub(crate) fn same(&self, a: &[String], b: &[String]) -> bool {
        let Some(weights) = self.weights else { return false };
        let same = |what: &str| {
            a.iter().zip(b).all(|(a, b)| weights.same(&format!("{a}.{what}"), &format!("{b}.{what}")))
        };
        // Biases first: they are small.
        a.iter().all(|module| weights.get(&format!("{module}.weight")).is_some())
            && same("bias")
            && same("weight")
    }

    /// Format of a matrix made of these modules.
    fn format(&self, section: Section, modules: &[Vec<Vec<String>>]) -> Format {
        let stored_bf16 = |module: &String| match self.weights {
            Some(weights) => {
                weights.get(&format!("{module}.weight")).is_some_and(|v| v.dtype == FileDtype::BF16)
            }
            // A plan has no file to ask; the published weights are 16-bit.
            None => true,
        };
        let as_stored = || match modules.iter().flatten().flatten().all(stored_bf16) {
            true => Format::Bf16,
            false => Format::F32,
        };
        let int8 = INT8
            .iter()
            .any(|&(of, always, vision)| of == section && (always || vision && self.rounding.vision));
        match self.rounding.dtype {
            Dtype::F32 => Format::F32,
            Dtype::Bf16 => Format::Bf16,
            Dtype::Int8 { group } if int8 => Format::Int8 { group },
            Dtype::Auto | Dtype::Int8 { .. } => as_stored(),
        }
    }

    /// A projection: packed now, or mapped from a file that holds it packed.
    pub(crate) fn linear(&mut self, s: &Projection<'_>) -> Result<Linear> {
        Ok(self.matrix(s)?.with_activations(self.activations))
    }

    fn matrix(&mut self, s: &Projection<'_>) -> Result<Linear> {
        let packed = match self.weights {
            Some(weights) => as_packed(weights, s)?,
            None => None,
        };
        let layout = packed.as_ref().map_or_else(
            || Layout {
                n: s.n as u32,
                k: s.k as u32,
                sets: s.modules.len() as u32,
                shared: shared(s),
                gated: s.modules[0].len() == 2,
                format: self.format(s.section, &s.modules),
            },
            |(layout, ..)| *layout,
        );
        let matrix = Matrix { label: s.label.clone(), layout, modules: s.modules.clone() };
        let bias_names = || s.modules.iter().flatten().flatten().map(|module| format!("{module}.bias"));
        self.items.push(Item::Matrix(matrix.clone()));
        if s.bias {
            self.items.extend(bias_names().map(Item::Vector));
        }
        let limit = self.target.max_binding_bytes;
        let Some((weights, gpu)) = self.source() else {
            return Ok(Linear::declare(s.name, &s.label, layout, s.bias, limit));
        };

        if let Some((layout, ..)) = &packed {
            check_scales(weights, s, layout)?;
            let sets = s.modules.iter().map(|halves| halves.concat()).collect::<Vec<_>>();
            let differ = |sets: &[Vec<String>]| {
                let mut biases = sets[0].iter().zip(&sets[1]);
                !biases.all(|(a, b)| weights.same(&format!("{a}.bias"), &format!("{b}.bias")))
            };
            if s.bias && layout.sets == 1 && sets.windows(2).any(differ) {
                let reason = "is one weight set, but its modalities have biases of their own: convert the \
                              checkpoint again";
                return Err(Error::Tensor { name: packed::weight_name(&s.label), reason: reason.into() });
            }
        }
        let halves = s.modules[0].len();
        let mut biases = vec![];
        for modules in s.modules.iter().flatten().filter(|_| s.bias) {
            let values: Result<Vec<_>> =
                modules.iter().map(|module| read(weights, &format!("{module}.bias"))).collect();
            biases.push(values?.concat());
        }
        let bias =
            |set: u32, half: u32, row: u32| biases[set as usize * halves + half as usize][row as usize];
        let bias: Option<Bias<'_>> = if s.bias { Some(&bias) } else { None };

        if let Some((_, weight, scale)) = packed {
            let linear = Linear::from_host(s.name, &s.label, layout, limit, &weight, scale.as_ref(), bias);
            return Ok(linear);
        }
        if weights.is_packed() {
            let reason = "is missing from this converted folder: convert the checkpoint again".into();
            return Err(Error::Tensor { name: packed::weight_name(&s.label), reason });
        }
        let rows = matrix.rows(weights)?;
        let cancel = self.device.as_ref().and_then(|device| device.cancel.clone());
        let is_cancelled = || cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        // Of a model that nobody wants the rest is packed as it lies, which is soon done, and not used.
        let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
            if !is_cancelled() {
                rows.fill(set, half, row, out);
            }
        };
        let contents = if self.on_host { Contents::OnHost } else { Contents::Upload(gpu) };
        let linear = Linear::pack(contents, s.name, &s.label, layout, limit, fill, bias)?;
        rows.finish()?;
        for name in matrix.names() {
            self.count(&name)?;
        }
        Ok(linear)
    }

    /// The embedding table, split over bindings; never int8.
    pub(crate) fn embedding(&mut self, name: &str, rows: usize, dim: usize) -> Result<Vec<EmbeddingPart>> {
        let module = name.trim_end_matches(".weight").to_owned();
        let bf16 = self.format(Section::Embedding, &[vec![vec![module]]]) == Format::Bf16;
        self.items.push(Item::Table { name: name.into(), bf16 });
        let words = if bf16 { dim.div_ceil(2) } else { dim } as u32;
        let split = EmbeddingPart::split(rows as u32, u64::from(words) * 4, self.target.max_binding_bytes);
        let mut parts = vec![];
        for (i, (first, count)) in split.into_iter().enumerate() {
            let label = format!("embed_tokens[{i}]");
            let range = first as usize * dim..(first + count) as usize * dim;
            let mapped = self.source().and_then(|(weights, _)| packed_rows(weights, name, bf16, dim, &range));
            let table = match (self.source(), mapped) {
                (None, _) if bf16 => Table::Bf16(Resident::zeros(&label, [count, words])),
                (None, _) => Table::F32(Resident::zeros(&label, [count, words])),
                (Some(_), Some(bytes)) if bf16 => {
                    Table::Bf16(Resident::from_host(&label, [count, words], bytes))
                }
                (Some(_), Some(bytes)) => Table::F32(Resident::from_host(&label, [count, words], bytes)),
                (Some((weights, gpu)), None) => {
                    let mut values = vec![0.0; range.len()];
                    view(weights, name)?.read_f32(range.start, &mut values)?;
                    check_finite(name, range.start, &values)?;
                    if bf16 {
                        Table::Bf16(Resident::upload(gpu, &label, [count, words], &bf16_pairs(&values, dim))?)
                    } else {
                        Table::F32(Resident::upload(gpu, &label, [count, words], &values)?)
                    }
                }
            };
            parts.push(EmbeddingPart { table, first, count });
        }
        self.count(name)?;
        Ok(parts)
    }
}

/// RowReader of `dim` values as pairs of bf16, each row in whole words.
fn bf16_pairs(values: &[f32], dim: usize) -> Vec<u32> {
    let bits = |v: Option<&f32>| v.map_or(0, |&v| u32::from(half::bf16::from_f32(v).to_bits()));
    let pair = |v: &[f32]| bits(v.first()) | bits(v.get(1)) << 16;
    values.chunks_exact(dim).flat_map(|row| row.chunks(2).map(pair)).collect()
}

/// RowReader of a table of a converted file, if they lie there as they do on the device.
fn packed_rows(
    weights: &Weights,
    name: &str,
    bf16: bool,
    dim: usize,
    elements: &std::ops::Range<usize>,
) -> Option<HostBytes> {
    let size = if bf16 { 2 } else { 4 };
    let as_is = weights.get(name)?.dtype == if bf16 { FileDtype::BF16 } else { FileDtype::F32 };
    let whole_words = (dim * size).is_multiple_of(4);
    let bytes = weights.host_bytes(name).filter(|_| as_is && whole_words && weights.is_packed())?;
    Some(bytes.slice(elements.start * size..elements.end * size))
}

/// Columns that the weight sets share in whole blocks; a block that one of them ends in is each set's own.
fn shared(s: &Projection<'_>) -> u32 {
    s.shared as u32 / BLOCK * BLOCK
}

/// A projection as a converted file holds it: weights of `[blocks of all sets, chunks, 16, elements of 16 bytes]` and, of
/// int8, scales of `[blocks of all sets, groups, 16]`.
fn as_packed(
    weights: &Weights,
    s: &Projection<'_>,
) -> Result<Option<(Layout, HostBytes, Option<HostBytes>)>> {
    let (name, scale_name) = (packed::weight_name(&s.label), packed::scale_name(&s.label));
    let Some(view) = weights.get(&name) else { return Ok(None) };
    let wrong = |name: &str, reason: String| Error::Tensor { name: name.into(), reason };
    let scale = weights.get(&scale_name);
    let mut layout = Layout {
        n: s.n as u32,
        k: s.k as u32,
        sets: s.modules.len() as u32,
        shared: shared(s),
        gated: s.modules[0].len() == 2,
        format: match view.dtype {
            FileDtype::F32 => Format::F32,
            FileDtype::BF16 => Format::Bf16,
            FileDtype::I8 => Format::Int8 { group: None },
            other => return Err(wrong(&name, format!("is {other}; packed weights are F32, BF16 or I8"))),
        },
    };
    // Weight sets that were equal are stored once.
    let once = Layout { sets: 1, ..layout };
    if view.shape.first() == Some(&(once.places() as usize)) {
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
    let scale = match layout.groups() {
        0 => None,
        _ if scale.is_some_and(|scale| scale.dtype != FileDtype::F32) => {
            return Err(wrong(&scale_name, "is not F32".into()));
        }
        _ => Some(weights.host_bytes(&scale_name).ok_or_else(missing)?),
    };
    Ok(Some((layout, weights.host_bytes(&name).ok_or_else(missing)?, scale)))
}

/// Checks that scales are magnitudes. Those of groups are too many to be looked at each time a model is loaded: one
/// below zero is computed with, as the number it is, one that is no number makes logits that are an error, and
/// [`verify`](crate::convert::verify) refuses both.
fn check_scales(weights: &Weights, s: &Projection<'_>, layout: &Layout) -> Result<()> {
    if layout.format != (Format::Int8 { group: None }) {
        return Ok(());
    }
    let name = packed::scale_name(&s.label);
    let scales = view(weights, &name)?.to_f32()?;
    match scales.iter().position(|scale| !(scale.is_finite() && *scale >= 0.0)) {
        Some(at) => {
            let reason =
                format!("element {at} is {}, which is no scale: convert the checkpoint again", scales[at]);
            Err(Error::Tensor { name, reason })
        }
        None => Ok(()),
    }
}
