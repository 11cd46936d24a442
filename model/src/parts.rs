//! The parts of a model: its tensors and matrices in the order in which they are loaded, each with what fills it.
//!
//! The list is made once, from a config and what is known of a checkpoint. Nothing is read for it. A plan sums it, loading
//! [places](crate::place) it, and a converter writes its [items](Parts::items).

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use strix_engine::{HostBytes, Resident, ResidentBytes, Target};
use strix_shaders::embedding::{EmbeddingStrip, Table};
use strix_shaders::{Activations, Format, Linear};

use crate::Result;
use crate::held::{Component, Held, PackedBytes, Projection};
use crate::matrix::Matrix;
use crate::packed::Rounding;
use crate::weights::FileDtype;

/// The parts of a model.
#[derive(Debug)]
pub(crate) struct Parts(Vec<Part>);

/// A part of a model.
#[derive(Debug)]
pub(crate) struct Part {
    pub section: Component,
    /// The layer of the section; `None` of what is in no layer.
    pub layer: Option<usize>,
    pub kind: PartKind,
}

/// A part's tensors on the device, and what fills them.
#[derive(Debug)]
pub(crate) enum PartKind {
    /// A packed projection.
    Matrix { matrix: Matrix, has_bias: bool, linear: Linear, filling: Filling<PackedBytes> },
    /// A table that is stored by rows, as in the checkpoint.
    Table {
        name: String,
        is_bf16: bool,
        dim: usize,
        strips: Vec<EmbeddingStrip>,
        filling: Filling<HostBytes>,
    },
    /// Norms and tables of positions, one behind the other.
    Values { values: Vec<Values>, resident: ResidentBytes },
    /// A vector of the host's.
    Host { name: String, vector: HostVector },
}

/// What fills a part when it is placed.
#[derive(Clone, Debug)]
pub(crate) enum Filling<B> {
    /// Bytes that lie in a file as they do on the device.
    Bytes(B),
    /// Tensors of the checkpoint, which are read and packed.
    Pack,
}

/// Numbers of a tensor that is never rounded.
pub(crate) enum Values {
    /// A tensor of the checkpoint of that shape.
    Stored { name: String, shape: Vec<usize> },
    /// They are computed.
    Computed(Box<dyn Fn() -> Vec<f32> + Send + Sync>),
}

/// A vector that stays on the host. It is empty until it is placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostVector(Arc<OnceLock<Vec<f32>>>);

/// A tensor or matrix of a model as the converter writes it.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A packed projection.
    Matrix(Matrix),
    /// A table that is stored by rows, as in the checkpoint.
    Table {
        name: String,
        /// Whether it is rounded to bf16; else it is f32.
        is_bf16: bool,
    },
    /// A norm, bias or position table, stored as in the checkpoint.
    Vector(String),
}

/// Declares the parts of a model.
pub(crate) struct Declaring<'a> {
    target: Target,
    rounding: Rounding,
    activations: Activations,
    stored: Held<'a>,
    parts: Vec<Part>,
}

/// Declares the parts of a section, or of one of its layers.
pub(crate) struct ComponentParts<'d, 'a> {
    declaring: &'d mut Declaring<'a>,
    section: Component,
    layer: Option<usize>,
}

impl<'a> Declaring<'a> {
    /// Declares parts for `target`. Projections round their matrices and the rows they are given as is said.
    pub(crate) fn new(
        target: Target,
        rounding: Rounding,
        activations: Activations,
        stored: Held<'a>,
    ) -> Self {
        Self { target, rounding, activations, stored, parts: vec![] }
    }

    /// A section outside its layers.
    pub(crate) fn section(&mut self, section: Component) -> ComponentParts<'_, 'a> {
        ComponentParts { declaring: self, section, layer: None }
    }

    /// A layer of a section.
    pub(crate) fn layer(&mut self, section: Component, layer: usize) -> ComponentParts<'_, 'a> {
        ComponentParts { declaring: self, section, layer: Some(layer) }
    }

    /// All that was declared.
    pub(crate) fn finish(self) -> Parts {
        Parts(self.parts)
    }
}

impl ComponentParts<'_, '_> {
    fn push(&mut self, kind: PartKind) {
        self.declaring.parts.push(Part { section: self.section, layer: self.layer, kind });
    }

    /// A projection.
    ///
    /// # Errors
    ///
    /// If a converted file holds another in its place.
    pub(crate) fn linear(&mut self, p: &Projection<'_>) -> Result<Linear> {
        let Declaring { target, rounding, activations, stored, .. } = &*self.declaring;
        let (layout, bytes) = stored.layout(self.section, *rounding, p)?;
        let linear = Linear::declare(p.name, &p.label, layout, p.bias, target.max_binding_bytes)
            .with_activations(*activations);
        self.push(PartKind::Matrix {
            matrix: Matrix { label: p.label.clone(), layout, modules: p.modules.clone() },
            has_bias: p.bias,
            linear: linear.clone(),
            filling: bytes.map_or(Filling::Pack, Filling::Bytes),
        });
        Ok(linear)
    }

    /// Whether the weights and biases of these modules are the same bytes: MAM off.
    pub(crate) fn same(&self, a: &[String], b: &[String]) -> bool {
        self.declaring.stored.same(a, b)
    }

    /// A tensor of the checkpoint as f32.
    pub(crate) fn tensor<const R: usize>(
        &mut self,
        name: &str,
        label: &str,
        shape: [u32; R],
    ) -> Resident<f32, R> {
        let stored = Values::Stored { name: name.into(), shape: shape.map(|n| n as usize).into() };
        self.values(vec![stored], Resident::zeros(label, shape).with_texels())
    }

    /// Tensors of `[rows, dim]` one below the other.
    pub(crate) fn stacked(&mut self, values: Vec<Values>, label: &str, shape: [u32; 2]) -> Resident<f32, 2> {
        self.values(values, Resident::zeros(label, shape).with_texels())
    }

    /// A tensor that is computed.
    pub(crate) fn computed<const R: usize>(
        &mut self,
        label: &str,
        shape: [u32; R],
        compute: impl Fn() -> Vec<f32> + Send + Sync + 'static,
    ) -> Resident<f32, R> {
        self.values(vec![Values::Computed(Box::new(compute))], Resident::zeros(label, shape))
    }

    fn values<const R: usize>(
        &mut self,
        values: Vec<Values>,
        resident: Resident<f32, R>,
    ) -> Resident<f32, R> {
        self.push(PartKind::Values { values, resident: resident.untyped() });
        resident
    }

    /// A table of the checkpoint of that shape where it holds it. Else it is computed.
    pub(crate) fn table_or(
        &self,
        name: &str,
        shape: [usize; 2],
        compute: impl Fn() -> Vec<f32> + Send + Sync + 'static,
    ) -> Values {
        match self.declaring.stored.holds(name) {
            true => Values::Stored { name: name.into(), shape: shape.into() },
            false => Values::Computed(Box::new(compute)),
        }
    }

    /// A vector of the checkpoint for the host.
    pub(crate) fn vector(&mut self, name: &str) -> HostVector {
        let vector = HostVector::default();
        self.push(PartKind::Host { name: name.into(), vector: vector.clone() });
        vector
    }

    /// The embedding table, split over bindings; never int8.
    pub(crate) fn embedding(&mut self, name: &str, rows: usize, dim: usize) -> Vec<EmbeddingStrip> {
        let Declaring { target, rounding, stored, .. } = &*self.declaring;
        let module = name.trim_end_matches(".weight").to_owned();
        let is_bf16 = stored.format(self.section, *rounding, [&module].into_iter()) == Format::Bf16;
        let words = if is_bf16 { dim.div_ceil(2) } else { dim } as u32;
        let split = EmbeddingStrip::split(rows as u32, u64::from(words) * 4, target.max_binding_bytes);
        let strip = |(i, (first, count)): (usize, (u32, u32))| {
            let (label, shape) = (format!("embed_tokens[{i}]"), [count, words]);
            let table = match is_bf16 {
                true => Table::Bf16(Resident::zeros(&label, shape)),
                false => Table::F32(Resident::zeros(&label, shape)),
            };
            EmbeddingStrip { table, first, count }
        };
        let strips: Vec<_> = split.into_iter().enumerate().map(strip).collect();
        let bytes = stored.rows(name, if is_bf16 { FileDtype::BF16 } else { FileDtype::F32 }, dim);
        self.push(PartKind::Table {
            name: name.into(),
            is_bf16,
            dim,
            strips: strips.clone(),
            filling: bytes.map_or(Filling::Pack, Filling::Bytes),
        });
        strips
    }
}

impl Parts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    /// The parts of a section.
    pub(crate) fn of(&self, section: Component) -> impl Iterator<Item = &Part> {
        self.iter().filter(move |part| part.section == section)
    }

    /// The tensors of each layer of a section.
    pub(crate) fn layers(&self, section: Component) -> Vec<Vec<ResidentBytes>> {
        let mut layers: Vec<Vec<ResidentBytes>> = vec![];
        for part in self.of(section) {
            let Some(layer) = part.layer else { continue };
            layers.resize(layers.len().max(layer + 1), vec![]);
            layers[layer].extend(part.residents());
        }
        layers
    }

    /// Everything that a converter writes, each once.
    pub(crate) fn items(&self) -> Vec<Item> {
        let mut items: Vec<Item> = self.iter().flat_map(Part::items).collect();
        let mut names = HashSet::new();
        items.retain(|item| match item {
            Item::Matrix(matrix) => names.insert(matrix.label.clone()),
            Item::Table { name, .. } | Item::Vector(name) => names.insert(name.clone()),
        });
        items
    }
}

impl Part {
    /// Its tensors on the device.
    pub(crate) fn residents(&self) -> Vec<ResidentBytes> {
        match &self.kind {
            PartKind::Matrix { linear, .. } => linear.residents().collect(),
            PartKind::Table { strips, .. } => strips.iter().map(EmbeddingStrip::untyped).collect(),
            PartKind::Values { resident, .. } => vec![resident.clone()],
            PartKind::Host { .. } => vec![],
        }
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.residents().iter().map(ResidentBytes::bytes).sum()
    }

    /// Those that a decoded token reads. It is text.
    pub(crate) fn text_bytes(&self) -> u64 {
        match &self.kind {
            PartKind::Matrix { linear, .. } => linear.text_bytes(),
            _ => self.bytes(),
        }
    }

    /// What a converter writes of it.
    fn items(&self) -> Vec<Item> {
        match &self.kind {
            PartKind::Matrix { matrix, has_bias, .. } => {
                let modules = matrix.modules.iter().flatten().flatten().filter(|_| *has_bias);
                let biases = modules.map(|module| Item::Vector(format!("{module}.bias")));
                [Item::Matrix(matrix.clone())].into_iter().chain(biases).collect()
            }
            PartKind::Table { name, is_bf16, .. } => {
                vec![Item::Table { name: name.clone(), is_bf16: *is_bf16 }]
            }
            PartKind::Values { values, .. } => values.iter().filter_map(Values::item).collect(),
            PartKind::Host { name, .. } => vec![Item::Vector(name.clone())],
        }
    }
}

impl Values {
    fn item(&self) -> Option<Item> {
        match self {
            Self::Stored { name, .. } => Some(Item::Vector(name.clone())),
            Self::Computed(_) => None,
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored { name, shape } => write!(f, "{name} {shape:?}"),
            Self::Computed(_) => f.write_str("computed"),
        }
    }
}

impl HostVector {
    /// The values.
    pub(crate) fn get(&self) -> &[f32] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// Sets the values, once.
    pub(crate) fn set(&self, values: Vec<f32>) {
        self.0.set(values).expect("a part is placed once");
    }
}
