//! From a checkpoint's tensors to the device: which are joined, how they are stored, what is wrong with them.

use std::sync::Mutex;

use strix_engine::{Gpu, Resident, Target};
use strix_shaders::embedding::{EmbeddingPart, Table};
use strix_shaders::{Format, Layout, Linear};

use crate::weights::{Dtype as Stored, View, Weights};
use crate::{Error, Result};

/// What matrices are stored as on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtype {
    /// As in the file; F16 becomes f32, which holds it exactly.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// Every matrix rounded to bf16.
    Bf16,
    /// The decoder's matrices and `lm_head` rounded to int8; the rest as in the file.
    Int8 {
        /// Columns that share a scale: 32, 64 or 128; `None`: one scale an output channel.
        group: Option<u32>,
    },
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::F32 => f.write_str("f32"),
            Self::Bf16 => f.write_str("bf16"),
            Self::Int8 { group: None } => f.write_str("int8"),
            Self::Int8 { group: Some(group) } => write!(f, "int8 group {group}"),
        }
    }
}

/// How far loading has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The tensor that was read last.
    pub what: String,
    /// Bytes of the checkpoint read so far.
    pub done_bytes: u64,
    /// Bytes of the checkpoint that will be read.
    pub total_bytes: u64,
}

/// Which part of the model a matrix belongs to: int8 is the decoder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Vision,
    Decoder,
}

/// Shape of a projection and the checkpoint tensors it is made of.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    /// Name within its layer, e.g. `q_proj`.
    pub name: &'a str,
    /// Label on the device, e.g. `decoder.3.q_proj`.
    pub label: String,
    pub part: Part,
    /// Output and input columns of the whole.
    pub n: usize,
    pub k: usize,
    /// `[set][half]`: modules (without `.weight`) joined along the output columns.
    pub modules: Vec<Vec<Vec<String>>>,
    pub bias: bool,
}

/// Puts tensors on a device, or only declares them, for planning.
pub(crate) struct Loader<'a> {
    pub target: Target,
    pub dtype: Dtype,
    pub from: Option<From<'a>>,
}

/// A checkpoint, the device it goes to and who wants to know how far it is.
pub(crate) struct From<'a> {
    pub gpu: &'a Gpu,
    pub weights: &'a Weights,
    pub progress: &'a mut dyn FnMut(&Progress),
    pub done_bytes: u64,
    pub total_bytes: u64,
}

impl From<'_> {
    fn view(&self, name: &str) -> Result<View<'_>> {
        let missing = || Error::Tensor { name: name.into(), reason: "is not in the checkpoint".into() };
        self.weights.get(name).ok_or_else(missing)
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let values = self.view(name)?.to_f32()?;
        check_finite(name, 0, &values)?;
        self.count(name)?;
        Ok(values)
    }

    fn count(&mut self, name: &str) -> Result<()> {
        self.done_bytes += self.view(name)?.byte_len() as u64;
        let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
        (self.progress)(&Progress { what: name.into(), done_bytes, total_bytes });
        Ok(())
    }
}

fn check_finite(name: &str, first: usize, values: &[f32]) -> Result<()> {
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let reason = format!(
        "element {} is {}; the checkpoint is damaged: download or save it again",
        first + at,
        values[at]
    );
    Err(Error::Tensor { name: name.into(), reason })
}

impl Loader<'_> {
    /// A vector or table of the checkpoint as f32, under any shape of as many elements.
    pub(crate) fn tensor<const R: usize>(
        &mut self,
        name: &str,
        label: &str,
        shape: [u32; R],
    ) -> Result<Resident<f32, R>> {
        self.stacked(&[name.into()], label, shape)
    }

    /// Several tensors one after the other, as one.
    pub(crate) fn stacked<const R: usize>(
        &mut self,
        names: &[String],
        label: &str,
        shape: [u32; R],
    ) -> Result<Resident<f32, R>> {
        let Some(from) = &mut self.from else { return Ok(Resident::zeros(label, shape)) };
        let mut values = vec![];
        for name in names {
            values.extend(from.read(name)?);
        }
        Ok(Resident::upload(from.gpu, label, shape, &values)?)
    }

    /// Tables of `dim` columns one below the other, each from the checkpoint where it holds it, else computed.
    pub(crate) fn joined(
        &mut self,
        names: &[String; 2],
        label: &str,
        dim: u32,
        computed: [&[f32]; 2],
    ) -> Result<Resident<f32, 2>> {
        let mut values = vec![];
        for (name, computed) in names.iter().zip(computed) {
            match &mut self.from {
                Some(from) if from.weights.get(name).is_some() => values.extend(from.read(name)?),
                _ => values.extend_from_slice(computed),
            }
        }
        Ok(Resident::from_slice(label, [values.len() as u32 / dim, dim], &values))
    }

    /// Whether the checkpoint's tensors of these modules are the same bytes: MAM off.
    pub(crate) fn same(&self, a: &[String], b: &[String]) -> bool {
        let Some(from) = &self.from else { return false };
        let view = |name: &String| from.weights.get(&format!("{name}.weight"));
        a.iter().zip(b).all(|(a, b)| view(a).zip(view(b)).is_some_and(|(a, b)| a.same(&b)))
    }

    fn format(&self, part: Part, modules: &[Vec<Vec<String>>]) -> Format {
        let stored_bf16 = |module: &String| {
            let from = self.from.as_ref();
            from.and_then(|f| f.weights.get(&format!("{module}.weight")))
                .is_some_and(|v| v.dtype == Stored::BF16)
        };
        let as_stored = || match modules.iter().flatten().flatten().all(stored_bf16) {
            true => Format::Bf16,
            false => Format::F32,
        };
        match (self.dtype, part) {
            (Dtype::F32, _) => Format::F32,
            (Dtype::Bf16, _) => Format::Bf16,
            (Dtype::Int8 { group }, Part::Decoder) => Format::Int8 { group },
            // A plan has no file to ask; the published weights are 16-bit.
            (Dtype::Auto | Dtype::Int8 { .. }, _) if self.from.is_none() => Format::Bf16,
            (Dtype::Auto | Dtype::Int8 { .. }, _) => as_stored(),
        }
    }

    /// A projection, packed.
    pub(crate) fn linear(&mut self, s: &Sources<'_>) -> Result<Linear> {
        let layout = Layout {
            n: s.n as u32,
            k: s.k as u32,
            sets: s.modules.len() as u32,
            gated: s.modules[0].len() == 2,
            format: self.format(s.part, &s.modules),
        };
        let Some(from) = &mut self.from else {
            return Ok(Linear::declare(s.name, &s.label, layout, s.bias, self.target.max_binding_bytes));
        };
        let mut views = vec![];
        let mut biases = vec![];
        for halves in &s.modules {
            for modules in halves {
                let weights: Result<Vec<_>> =
                    modules.iter().map(|m| from.view(&format!("{m}.weight"))).collect();
                views.push(weights?);
                let mut bias = vec![];
                for module in modules.iter().filter(|_| s.bias) {
                    let name = format!("{module}.bias");
                    let values = from.view(&name)?.to_f32()?;
                    check_finite(&name, 0, &values)?;
                    bias.extend(values);
                }
                biases.push(bias);
            }
        }
        let halves = s.modules[0].len();
        let bad = Mutex::new(None);
        let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
            let mut row = row as usize;
            for view in &views[set as usize * halves + half as usize] {
                let rows = view.num_rows();
                if row >= rows {
                    row -= rows;
                    continue;
                }
                let result = view
                    .read_f32(row * out.len(), out)
                    .and_then(|()| check_finite(view.name, row * out.len(), out));
                if let Err(error) = result {
                    bad.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                }
                return;
            }
        };
        let bias =
            |set: u32, half: u32, row: u32| biases[set as usize * halves + half as usize][row as usize];
        let bias: Option<&dyn Fn(u32, u32, u32) -> f32> = if s.bias { Some(&bias) } else { None };
        let linear = Linear::upload(from.gpu, s.name, &s.label, layout, fill, bias)?;
        if let Some(error) = bad.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            // Rows are read in parallel: which error came first is chance, so the first is looked for.
            views.iter().flatten().try_for_each(|view| check_finite(view.name, 0, &view.to_f32()?))?;
            return Err(error);
        }
        for module in s.modules.iter().flatten().flatten() {
            from.count(&format!("{module}.weight"))?;
        }
        Ok(linear)
    }

    /// The embedding table, split over bindings; never int8.
    pub(crate) fn embedding(&mut self, name: &str, rows: usize, dim: usize) -> Result<Vec<EmbeddingPart>> {
        let module = name.trim_end_matches(".weight").to_owned();
        let bf16 = self.format(Part::Vision, &[vec![vec![module]]]) == Format::Bf16;
        let words = if bf16 { dim.div_ceil(2) } else { dim } as u32;
        let split = EmbeddingPart::split(rows as u32, u64::from(words) * 4, self.target.max_binding_bytes);
        let mut parts = vec![];
        for (i, (first, count)) in split.into_iter().enumerate() {
            let label = format!("embed_tokens[{i}]");
            let table = match &mut self.from {
                None if bf16 => Table::Bf16(Resident::zeros(&label, [count, words])),
                None => Table::F32(Resident::zeros(&label, [count, words])),
                Some(from) => {
                    let view = from.view(name)?;
                    let mut values = vec![0.0; count as usize * dim];
                    view.read_f32(first as usize * dim, &mut values)?;
                    check_finite(name, first as usize * dim, &values)?;
                    if bf16 {
                        let pair = |v: &[f32]| {
                            let bits = |i: usize| {
                                v.get(i).map_or(0, |&v| u32::from(half::bf16::from_f32(v).to_bits()))
                            };
                            bits(0) | bits(1) << 16
                        };
                        let packed: Vec<u32> =
                            values.chunks_exact(dim).flat_map(|row| row.chunks(2).map(pair)).collect();
                        Table::Bf16(Resident::upload(from.gpu, &label, [count, words], &packed)?)
                    } else {
                        Table::F32(Resident::upload(from.gpu, &label, [count, words], &values)?)
                    }
                }
            };
            parts.push(EmbeddingPart { table, first, count });
        }
        if let Some(from) = &mut self.from {
            from.count(name)?;
        }
        Ok(parts)
    }
}
