//! Brings the parts of a model to a device: each is filled from the checkpoint, one after the other.

use strix_engine::{Gpu, HostBytes, ResidentBytes, Stream};
use strix_shaders::embedding::{EmbeddingStrip, Table};
use strix_shaders::{Format, Linear};

use crate::held::{Component, PackedBytes};
use crate::matrix::Matrix;
use crate::options::LoadOptions;
use crate::packed;
use crate::parts::{Filling, Part, PartKind, Parts, Values};
use crate::progress::{OnProgress, Progress};
use crate::weights::Weights;
use crate::{Error, Result};

/// The layers that take turns on the device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streaming {
    /// Whether those of the vision tower and the abstractor do.
    pub vision: bool,
    /// Whether each layer of the decoder does.
    pub decoder: Vec<bool>,
}

impl Streaming {
    /// Whether a layer of a section does.
    fn has(&self, section: Component, layer: usize) -> bool {
        match section {
            Component::Vision | Component::Abstractor => self.vision,
            Component::Decoder => self.decoder.get(layer).copied().unwrap_or_default(),
            Component::Embedding | Component::Head => false,
        }
    }

    /// The tensors of each layer of a section that does.
    pub(crate) fn groups(&self, parts: &Parts, section: Component) -> Vec<Vec<ResidentBytes>> {
        let layers = parts.layers(section).into_iter().enumerate();
        layers.filter(|(layer, _)| self.has(section, *layer)).map(|(_, tensors)| tensors).collect()
    }

    /// Whether a part does.
    fn takes_turns(&self, part: &Part) -> bool {
        part.layer.is_some_and(|layer| self.has(part.section, layer))
    }
}

/// Where parts go, and who is told of it.
pub(crate) struct Placing<'a> {
    pub gpu: &'a Gpu,
    pub weights: &'a Weights,
    pub progress: OnProgress<'a>,
    pub options: &'a LoadOptions,
}

/// Fills all parts. Those that take turns stay on the host, and are streamed from there.
///
/// # Errors
///
/// If a tensor is missing, damaged or does not fit, the device has no room, or nobody wants the model any more.
pub(crate) fn place(parts: &Parts, streaming: &Streaming, placing: Placing<'_>) -> Result<Vec<Stream>> {
    let Placing { gpu, weights, progress, options } = placing;
    let read = |part: &Part| match part.is_mapped() && streaming.takes_turns(part) {
        // It is read when its turn comes.
        true => 0,
        false => part.read_bytes(weights),
    };
    let total_bytes = parts.iter().map(read).sum();
    let filler = Filler { gpu, weights, options };
    let mut done_bytes = 0;
    for part in parts.iter() {
        filler.fill(part, !streaming.takes_turns(part))?;
        done_bytes += read(part);
        if progress(&Progress { what: part.label().into(), done_bytes, total_bytes }).is_break() {
            return Err(Error::Interrupted);
        }
        options.go_on()?;
    }
    weights.forget();
    let mut streams = vec![];
    for section in [Component::Vision, Component::Abstractor, Component::Decoder] {
        let groups = streaming.groups(parts, section);
        if !groups.is_empty() {
            streams.push(Stream::new(gpu, &groups)?);
        }
    }
    Ok(streams)
}

impl Part {
    /// Whether its content lies in a file as it does on the device.
    fn is_mapped(&self) -> bool {
        match &self.kind {
            PartKind::Matrix { filling, .. } => matches!(filling, Filling::Bytes(_)),
            PartKind::Table { filling, .. } => matches!(filling, Filling::Bytes(_)),
            PartKind::Values { .. } | PartKind::Host { .. } => false,
        }
    }

    /// Bytes of the checkpoint that fill it.
    fn read_bytes(&self, weights: &Weights) -> u64 {
        let of = |name: &str| weights.get(name).map_or(0, |view| view.byte_len() as u64);
        match &self.kind {
            PartKind::Matrix { filling: Filling::Bytes(bytes), .. } => {
                let scales = bytes.scales.as_ref().map_or(0, |scales| scales.len());
                (bytes.words.len() + scales) as u64
            }
            PartKind::Matrix { matrix, .. } => matrix.names().iter().map(|name| of(name)).sum(),
            PartKind::Table { name, .. } | PartKind::Host { name, .. } => of(name),
            PartKind::Values { values, .. } => values
                .iter()
                .map(|values| match values {
                    Values::Stored { name, .. } => of(name),
                    Values::Computed(_) => 0,
                })
                .sum(),
        }
    }

    /// Its name, for people.
    fn label(&self) -> &str {
        match &self.kind {
            PartKind::Matrix { matrix, .. } => &matrix.label,
            PartKind::Values { resident, .. } => resident.label(),
            PartKind::Table { name, .. } | PartKind::Host { name, .. } => name,
        }
    }
}

struct Filler<'a> {
    gpu: &'a Gpu,
    weights: &'a Weights,
    options: &'a LoadOptions,
}

impl Filler<'_> {
    /// Fills a part and, if it stays on the device, brings it there.
    fn fill(&self, part: &Part, stays: bool) -> Result<()> {
        match &part.kind {
            PartKind::Matrix { matrix, has_bias, linear, filling } => {
                if *has_bias {
                    self.give_bias(matrix, linear)?;
                }
                match filling {
                    Filling::Bytes(bytes) => self.give_packed(matrix, *has_bias, linear, bytes)?,
                    Filling::Pack => self.pack(matrix, linear, stays)?,
                }
            }
            PartKind::Table { name, is_bf16, dim, strips, filling } => match filling {
                Filling::Bytes(bytes) => give_rows(strips, bytes, if *is_bf16 { 2 } else { 4 } * dim),
                Filling::Pack => self.write_rows(name, strips, *dim)?,
            },
            PartKind::Values { values, resident } => {
                let all = values.iter().map(|values| self.values(values)).collect::<Result<Vec<_>>>()?;
                resident.give(HostBytes::from_vec(all.concat()));
            }
            PartKind::Host { name, vector } => vector.set(self.weights.view(name)?.finite_values()?),
        }
        for resident in part.residents().iter().filter(|_| stays) {
            resident.allocate(self.gpu)?;
            self.options.go_on()?;
        }
        Ok(())
    }

    /// Packs a matrix, strip by strip, so that no more than one of them is in memory.
    fn pack(&self, matrix: &Matrix, linear: &Linear, stays: bool) -> Result<()> {
        if self.weights.is_packed() {
            let reason = "is missing from this converted folder: convert the checkpoint again".into();
            return Err(Error::Tensor { name: packed::weight_name(&matrix.label), reason });
        }
        for strip in &linear.strips {
            let packed = matrix.pack(self.weights, strip.shape.blocks(), &|| self.options.go_on().is_ok())?;
            self.options.go_on()?;
            if stays { strip.write(self.gpu, &packed)? } else { strip.give(packed) }
        }
        Ok(())
    }

    /// Takes a matrix as a file holds it.
    fn give_packed(
        &self,
        matrix: &Matrix,
        has_bias: bool,
        linear: &Linear,
        bytes: &PackedBytes,
    ) -> Result<()> {
        self.check_packed(matrix, has_bias)?;
        linear.strips.iter().for_each(|strip| strip.give_range(&bytes.words, bytes.scales.as_ref()));
        Ok(())
    }

    /// Reads a table and writes it to the device, strip by strip.
    fn write_rows(&self, name: &str, strips: &[EmbeddingStrip], dim: usize) -> Result<()> {
        let view = self.weights.view(name)?;
        for strip in strips {
            let mut values = vec![0.0; strip.count as usize * dim];
            view.read_finite(strip.first as usize * dim, &mut values)?;
            match &strip.table {
                Table::Bf16(table) => table.write(self.gpu, &bf16_pairs(&values, dim))?,
                Table::F32(table) => table.write(self.gpu, &values)?,
            }
            self.options.go_on()?;
        }
        Ok(())
    }

    fn values(&self, values: &Values) -> Result<Vec<f32>> {
        match values {
            Values::Computed(compute) => Ok(compute()),
            Values::Stored { name, shape } => {
                let view = self.weights.view(name)?;
                if view.num_elements() != shape.iter().product::<usize>() {
                    let found = view.shape;
                    let reason = format!("config.json asks for {shape:?}, the file holds {found:?}");
                    return Err(Error::Tensor { name: name.clone(), reason });
                }
                view.finite_values()
            }
        }
    }

    fn give_bias(&self, matrix: &Matrix, linear: &Linear) -> Result<()> {
        let halves = matrix.modules[0].len();
        let mut biases = vec![];
        for modules in matrix.modules.iter().flatten() {
            let bias = |module: &String| self.weights.view(&format!("{module}.bias"))?.finite_values();
            biases.push(modules.iter().map(bias).collect::<Result<Vec<_>>>()?.concat());
        }
        let bias =
            |set: u32, half: u32, row: u32| biases[set as usize * halves + half as usize][row as usize];
        linear.strips.iter().for_each(|strip| strip.give_bias(&bias));
        Ok(())
    }

    /// Checks what a converter would not have written. Scales must be magnitudes; those of groups are too many to be
    /// looked at each time a model is loaded: one below zero is computed with, as the number it is, one that is no number
    /// makes logits that are an error, and [`verify`](crate::convert::verify) refuses both.
    fn check_packed(&self, matrix: &Matrix, has_bias: bool) -> Result<()> {
        let Matrix { label, layout, modules } = matrix;
        if layout.format == (Format::Int8 { group: None }) {
            let name = packed::scale_name(label);
            let scales = self.weights.view(&name)?.to_f32()?;
            if let Some(at) = scales.iter().position(|scale| !(scale.is_finite() && *scale >= 0.0)) {
                let reason = format!(
                    "element {at} is {}, which is no scale: convert the checkpoint again",
                    scales[at]
                );
                return Err(Error::Tensor { name, reason });
            }
        }
        let sets = modules.iter().map(|halves| halves.concat()).collect::<Vec<_>>();
        let differ = |sets: &[Vec<String>]| {
            let mut biases = sets[0].iter().zip(&sets[1]);
            !biases.all(|(a, b)| self.weights.same(&format!("{a}.bias"), &format!("{b}.bias")))
        };
        if has_bias && layout.sets == 1 && sets.windows(2).any(differ) {
            let reason = "is one weight set, but its modalities have biases of their own: convert the checkpoint again";
            return Err(Error::Tensor { name: packed::weight_name(label), reason: reason.into() });
        }
        Ok(())
    }
}

/// Takes the rows of a table as a file holds them.
fn give_rows(strips: &[EmbeddingStrip], bytes: &HostBytes, row_bytes: usize) {
    for strip in strips {
        let (first, end) = (strip.first as usize, (strip.first + strip.count) as usize);
        let rows = bytes.slice(first * row_bytes..end * row_bytes);
        match &strip.table {
            Table::Bf16(table) => table.give(rows),
            Table::F32(table) => table.give(rows),
        }
    }
}

/// Rows of `dim` values as pairs of bf16, each row in whole words.
fn bf16_pairs(values: &[f32], dim: usize) -> Vec<u32> {
    let bits = |v: Option<&f32>| v.map_or(0, |&v| u32::from(half::bf16::from_f32(v).to_bits()));
    let pair = |v: &[f32]| bits(v.first()) | bits(v.get(1)) << 16;
    values.chunks_exact(dim).flat_map(|row| row.chunks(2).map(pair)).collect()
}
