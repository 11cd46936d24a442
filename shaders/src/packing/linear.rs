//! The weights of a projection on the device, in strips that fit a binding.

use strix_engine::{Gpu, HostBytes, Resident, ResidentBytes, Result, Target};

use crate::packing::{BLOCK, Format, Layout, Packed, Strip, pack_blocks};

/// Bias of an output: `bias(set, half, row)`.
pub type Bias<'a> = &'a dyn Fn(u32, u32, u32) -> f32;

/// What a projection makes of the rows it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Nothing.
    #[default]
    F32,
    /// Products of more than 16 rows are of f16, where the weights are not f32, and those of 32 columns are summed in f16;
    /// their sums are f32. Rows whose magnitudes exceed 2,047 may overflow. It needs a device with
    /// [`Target::f16`](strix_engine::Target::f16).
    F16,
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
    /// Its strips, each within the device's binding limit, in the order in which they are run.
    pub strips: Vec<LinearStrip>,
    /// What becomes of the rows it is given; int8 is of no effect where the weights are not.
    pub activations: Activations,
}

/// Some output columns of a [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearStrip {
    /// The columns, and their layout.
    pub shape: Strip,
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

    /// Whether products of many of its rows are of f16 on such a device.
    pub(crate) fn halves(&self, target: &Target) -> bool {
        self.activations == Activations::F16 && target.f16 && self.layout.format != Format::F32
    }

    /// The projection of rows that are all text: of the weights only those of the first set are bound.
    #[must_use]
    pub fn of_text(&self) -> Self {
        let of_text =
            |strip: &LinearStrip| Some(LinearStrip { shape: strip.shape.of_text()?, ..strip.clone() });
        Self {
            layout: self.layout.of_one(),
            strips: self.strips.iter().filter_map(of_text).collect(),
            ..self.clone()
        }
    }

    /// A projection whose content is set later, strip by strip. `bias` says whether it has one.
    pub fn declare(name: &str, label: &str, layout: Layout, bias: bool, max_binding_bytes: u64) -> Self {
        let declared = |(i, shape @ Strip { layout, .. }): (usize, Strip)| {
            let words = u32::try_from(layout.words()).expect("a strip is within a binding");
            let zeros = |what, elements| Resident::zeros(&format!("{label}.{what}[{i}]"), [elements]);
            LinearStrip {
                shape,
                weight: Resident::zeros(&format!("{label}.weight[{i}]"), [words]).with_texels(),
                scale: (layout.scales() > 0).then(|| zeros("scale", layout.scales())),
                bias: bias.then(|| zeros("bias", layout.num_blocks() * BLOCK)),
            }
        };
        let strips = layout.split(max_binding_bytes).into_iter().enumerate().map(declared).collect();
        Self { name: name.into(), layout, strips, activations: Activations::F32 }
    }

    /// Packs and uploads a matrix, strip by strip. `fill` as for [`pack_blocks`]; `bias(set, half, row)` likewise.
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
        Self::upload_within(gpu, name, label, layout, gpu.target().max_binding_bytes, fill, bias)
    }

    /// The same in strips of at most `max_binding_bytes`.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn upload_within(
        gpu: &Gpu,
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<Bias<'_>>,
    ) -> Result<Self> {
        let linear = Self::declare(name, label, layout, bias.is_some(), max_binding_bytes);
        for strip in &linear.strips {
            strip.write(gpu, &pack_blocks(&layout, strip.shape.blocks(), &fill))?;
            if let Some(bias) = bias {
                strip.give_bias(bias);
            }
        }
        Ok(linear)
    }

    /// Bytes that a row of text reads: the first set's, where there are several.
    pub fn text_bytes(&self) -> u64 {
        let bias = |strip: &LinearStrip| {
            if strip.bias.is_some() { u64::from(strip.shape.layout.packed_rows()) * 4 } else { 0 }
        };
        self.of_text().strips.iter().map(|strip| strip.shape.layout.bytes() + bias(strip)).sum()
    }

    /// Its tensors.
    pub fn residents(&self) -> impl Iterator<Item = ResidentBytes> {
        self.strips.iter().flat_map(|strip| {
            let others = [&strip.scale, &strip.bias].into_iter().flatten().map(Resident::untyped);
            [strip.weight.untyped()].into_iter().chain(others)
        })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.strips.iter().map(LinearStrip::bytes).sum()
    }
}

impl LinearStrip {
    /// Writes its packed blocks to the device.
    ///
    /// # Errors
    ///
    /// If the device has no room for them.
    pub fn write(&self, gpu: &Gpu, packed: &Packed) -> Result<()> {
        self.weight.write(gpu, &packed.words)?;
        self.scale.as_ref().map_or(Ok(()), |scale| scale.write(gpu, &packed.scales))
    }

    /// Keeps its packed blocks on the host until a program uses them.
    ///
    /// # Panics
    ///
    /// If they are not as long as its layout says.
    pub fn give(&self, packed: Packed) {
        self.weight.give(HostBytes::from_vec(packed.words));
        if let Some(scale) = &self.scale {
            scale.give(HostBytes::from_vec(packed.scales));
        }
    }

    /// Takes its blocks of a matrix that was packed before: of all words, and of all scales. Nothing is copied before
    /// they come to the device.
    ///
    /// # Panics
    ///
    /// If they are not as long as the layout says.
    pub fn give_range(&self, words: &HostBytes, scales: Option<&HostBytes>) {
        let (layout, blocks) = (self.shape.layout, self.shape.blocks());
        let range = |block: u32| {
            let [first, end] = [blocks.start, blocks.end].map(|at| at as usize * block as usize * 4);
            first..end
        };
        self.weight.give(words.slice(range(layout.block_words())));
        if let (Some(scale), Some(scales)) = (&self.scale, scales) {
            scale.give(scales.slice(range(layout.block_scales())));
        }
    }

    /// Sets its biases.
    pub fn give_bias(&self, bias: Bias<'_>) {
        let Some(resident) = &self.bias else { return };
        let layout = self.shape.layout;
        let value = |i: u32| {
            let (block, set) = layout.at_index(i / BLOCK);
            match layout.source(block * BLOCK + i % BLOCK) {
                (half, row) if row < layout.n => {
                    let (set, row) = self.shape.source(set, row);
                    bias(set, half, row)
                }
                _ => 0.0,
            }
        };
        let values: Vec<f32> = (0..layout.num_blocks() * BLOCK).map(value).collect();
        resident.give(HostBytes::from_vec(values));
    }

    fn bytes(&self) -> u64 {
        let others = [&self.scale, &self.bias].into_iter().flatten().map(Resident::bytes);
        self.weight.bytes() + others.sum::<u64>()
    }
}
