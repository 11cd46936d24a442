//! The weights of a projection on the device, in parts that fit a binding.

use bytemuck::Pod;
use strix_engine::{Gpu, HostBytes, Resident, ResidentBytes, Result};

use crate::packing::{BLOCK, Format, Layout, Packed, Part, pack};

/// Bias of an output: `bias(set, half, row)`.
pub type Bias<'a> = &'a dyn Fn(u32, u32, u32) -> f32;

/// Where a matrix goes when it has been packed.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// To the device, at once.
    Upload(&'a Gpu),
    /// It stays on the host until a program uses it.
    OnHost,
}

/// What a projection makes of the rows it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Nothing.
    #[default]
    F32,
    /// Each row becomes multiples of a 127th of its largest magnitude, where the weights are int8: sums of products are
    /// then exact, and what is lost is lost in the rounding.
    Int8,
}

/// The weights of one projection on the device: one matrix, or one a modality.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Name of the projection within its layer, e.g. `q_proj`; names its dispatches.
    pub name: String,
    /// Shape and format of the whole.
    pub layout: Layout,
    /// Its parts, each within the device's binding limit, in the order in which they are run.
    pub parts: Vec<LinearPart>,
    /// What becomes of the rows it is given; of no effect where the weights are not int8.
    pub activations: Activations,
}

/// Some output columns of a [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearPart {
    /// Which, and their shape.
    pub part: Part,
    /// The packed weights.
    pub weight: Resident<u32, 1>,
    /// Their scales; floats have none.
    pub scale: Option<Resident<f32, 1>>,
    /// Bias of each packed row, `[blocks of all sets, 16]`.
    pub bias: Option<Resident<f32, 1>>,
}

impl Linear {
    /// The same projection of rows that are rounded so.
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// Whether its rows are rounded.
    pub(crate) fn rounds(&self) -> bool {
        self.activations == Activations::Int8 && matches!(self.layout.format, Format::Int8 { .. })
    }

    /// The projection of rows that are all text: of the weights only those of the first set are bound.
    #[must_use]
    pub fn of_text(&self) -> Self {
        let parts = self
            .parts
            .iter()
            .filter_map(|part| Some(LinearPart { part: part.part.of_text()?, ..part.clone() }));
        Self { layout: self.layout.of_one(), parts: parts.collect(), ..self.clone() }
    }

    /// The shape alone, with no content, for planning.
    pub fn declare(name: &str, label: &str, layout: Layout, bias: bool, max_binding_bytes: u64) -> Self {
        let declared = |(i, part @ Part { layout, .. }): (usize, Part)| {
            let words = u32::try_from(layout.words()).expect("a part is within a binding");
            let zeros = |what, elements| Resident::zeros(&format!("{label}.{what}[{i}]"), [elements]);
            LinearPart {
                part,
                weight: Resident::zeros(&format!("{label}.weight[{i}]"), [words]).with_texels(),
                scale: (layout.scales() > 0).then(|| zeros("scale", layout.scales())),
                bias: bias.then(|| zeros("bias", layout.places() * BLOCK)),
            }
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(declared).collect();
        Self { name: name.into(), layout, parts, activations: Activations::F32 }
    }

    /// Packs and uploads a matrix, part by part. `fill` as for [`pack`]; `bias(set, half, row)` likewise.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn upload(
        gpu: &Gpu,
        name: &str,
        label: &str,
        layout: Layout,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<Bias<'_>>,
    ) -> Result<Self> {
        let limit = gpu.target().max_binding_bytes;
        Self::pack(Contents::Upload(gpu), name, label, layout, limit, fill, bias)
    }

    /// The same in parts of at most `max_binding_bytes`, each to where `contents` says.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn pack(
        contents: Contents<'_>,
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<Bias<'_>>,
    ) -> Result<Self> {
        let mut parts = vec![];
        for (i, part) in layout.split(max_binding_bytes).into_iter().enumerate() {
            let packed = pack(&part.layout, |set, half, row, out| {
                let (set, row) = part.source(set, row);
                fill(set, half, row, out);
            });
            let Packed { words, scales } = packed;
            let [weight, scale] = ["weight", "scale"].map(|what| format!("{label}.{what}[{i}]"));
            let (words_len, scales_len) = ([words.len() as u32], [scales.len() as u32]);
            let weight = match contents {
                Contents::Upload(gpu) => {
                    Resident::zeros(&weight, words_len).with_texels().filled(gpu, &words)?
                }
                Contents::OnHost => weight_on_host(&weight, HostBytes::from_vec(words)),
            };
            let scale = match contents {
                _ if scales.is_empty() => None,
                Contents::Upload(gpu) => Some(Resident::upload(gpu, &scale, scales_len, &scales)?),
                Contents::OnHost => Some(on_host(&scale, HostBytes::from_vec(scales))),
            };
            parts.push(LinearPart {
                part,
                weight,
                scale,
                bias: bias.map(|b| pack_bias(b, &format!("{label}.bias[{i}]"), &part)),
            });
        }
        Ok(Self { name: name.into(), layout, parts, activations: Activations::F32 })
    }

    /// A matrix that was packed before: `weight` is all of [`pack`]'s words and `scale` all of its scales. Parts
    /// are ranges of them; nothing is copied before they come to the device.
    ///
    /// # Panics
    ///
    /// If they are not as long as `layout` says.
    pub fn from_host(
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        weight: &HostBytes,
        scale: Option<&HostBytes>,
        bias: Option<Bias<'_>>,
    ) -> Self {
        let [block, block_scales] = [layout.block_words(), layout.block_scales()].map(|n| n as usize * 4);
        assert_eq!(weight.get().len(), layout.places() as usize * block, "{label}: bytes of {layout:?}");
        let mapped = |(i, part): (usize, Part)| {
            let (first, count) = (part.place as usize, part.layout.places() as usize);
            let words = weight.slice(first * block..(first + count) * block);
            let scale = scale.map(|scale| {
                let bytes = scale.slice(first * block_scales..(first + count) * block_scales);
                on_host(&format!("{label}.scale[{i}]"), bytes)
            });
            LinearPart {
                part,
                weight: weight_on_host(&format!("{label}.weight[{i}]"), words),
                scale,
                bias: bias.map(|b| pack_bias(b, &format!("{label}.bias[{i}]"), &part)),
            }
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(mapped).collect();
        Self { name: name.into(), layout, parts, activations: Activations::F32 }
    }

    /// Bytes that a row of text reads: the first set's, where there are several.
    pub fn text_bytes(&self) -> u64 {
        let bias = |part: &LinearPart| {
            if part.bias.is_some() { u64::from(part.part.layout.packed_rows()) * 4 } else { 0 }
        };
        self.of_text().parts.iter().map(|part| part.part.layout.bytes() + bias(part)).sum()
    }

    /// Its tensors.
    pub fn residents(&self) -> impl Iterator<Item = ResidentBytes> {
        self.parts.iter().flat_map(|part| {
            let others = [&part.scale, &part.bias].into_iter().flatten().map(Resident::untyped);
            [part.weight.untyped()].into_iter().chain(others)
        })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(LinearPart::bytes).sum()
    }
}

impl LinearPart {
    fn bytes(&self) -> u64 {
        let others = [&self.scale, &self.bias].into_iter().flatten().map(Resident::bytes);
        self.weight.bytes() + others.sum::<u64>()
    }
}

/// Biases of a part.
fn pack_bias(bias: Bias<'_>, label: &str, part: &Part) -> Resident<f32, 1> {
    let layout = part.layout;
    let value = |i: u32| {
        let (block, set) = layout.at_place(i / BLOCK);
        match layout.source(block * BLOCK + i % BLOCK) {
            (half, row) if row < layout.n => {
                let (set, row) = part.source(set, row);
                bias(set, half, row)
            }
            _ => 0.0,
        }
    };
    let values: Vec<f32> = (0..layout.places() * BLOCK).map(value).collect();
    on_host(label, HostBytes::from_vec(values))
}

/// Content that lies on the host.
fn on_host<T: Pod>(label: &str, content: HostBytes) -> Resident<T, 1> {
    let elements = u32::try_from(content.get().len() / size_of::<T>()).expect("a part is within a binding");
    Resident::from_host(label, [elements], content)
}

fn weight_on_host(label: &str, words: HostBytes) -> Resident<u32, 1> {
    on_host(label, words).with_texels()
}
