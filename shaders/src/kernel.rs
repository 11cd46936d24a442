//! A kernel as `cargo xtask kernels` describes it, and its specialisations.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use strix_engine::{Access, Binding, Shader, Target};

use crate::bound::Bound;
use crate::template;

/// A WGSL kernel with everything it can be specialised by. Tests validate every specialisation.
#[derive(Debug)]
pub struct Kernel {
    /// Name of the kernel, its files and its entry point.
    pub name: &'static str,
    /// Its text with its imports, before specialisation.
    pub template: &'static str,
    /// What it can be specialised by, each with its values.
    pub variants: &'static [(&'static str, &'static [Value])],
    /// Fields of its `Params`, and whether each is a u32 (else f32).
    pub fields: &'static [(&'static str, bool)],
}

/// Value of a variant, as it is printed and as templates read it. A kernel's own `Variants` holds it by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A word; `yes` or `no` for a bool.
    Word(&'static str),
    /// A number.
    Number(u32),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Word(if value { "yes" } else { "no" })
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.pad(word),
            Self::Number(number) => fmt::Display::fmt(number, f),
        }
    }
}

/// Values of a kernel's variants. `cargo xtask kernels` writes an implementation, `Variants`, for each kernel.
pub trait Variants {
    /// The kernel.
    const KERNEL: &'static Kernel;

    /// A value for each of [`Kernel::variants`].
    fn values(&self) -> Vec<Value>;

    /// The specialisation with these values.
    ///
    /// # Panics
    ///
    /// If the kernel rules the choice out.
    fn specialisation(&self) -> Arc<Specialisation> {
        Self::KERNEL.specialisation(&self.values())
    }

    /// The specialisation over so many workgroups.
    ///
    /// # Panics
    ///
    /// If the kernel rules the choice out.
    fn over(&self, groups: [u32; 3]) -> Dispatch {
        Dispatch { specialisation: self.specialisation(), groups }
    }
}

/// A specialisation, and its workgroups along x, y, z.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub(crate) specialisation: Arc<Specialisation>,
    pub(crate) groups: [u32; 3],
}

/// A kernel specialised: its text, and the bounds of its loops.
#[derive(Debug)]
pub struct Specialisation {
    /// The text.
    pub shader: Arc<Shader>,
    bounds: Vec<Bound>,
}

impl Specialisation {
    /// Loops of the text, each of which states its bound.
    pub fn num_loops(&self) -> usize {
        self.bounds.len()
    }

    /// Upper bound on the loop iterations of one invocation with these `Params`: the sum of the text's `//~ trips`
    /// annotations.
    pub fn trips(&self, params: &[u8]) -> u64 {
        let words: Vec<_> =
            params.as_chunks().0.iter().map(|&bytes: &[u8; 4]| u32::from_le_bytes(bytes)).collect();
        self.bounds.iter().map(|bound| bound.value(&words).ceil() as u64).sum()
    }
}

/// Specialisations rendered so far, by kernel and values.
static SPECIALISATIONS: LazyLock<Mutex<HashMap<Chosen, Arc<Specialisation>>>> = LazyLock::new(Mutex::default);

/// Name of a kernel, and a value for each of its variants.
type Chosen = (&'static str, Vec<Value>);

impl Kernel {
    /// The specialisation with these values, one for each of [`Kernel::variants`]. It is rendered once.
    ///
    /// # Panics
    ///
    /// If there are not as many values, a variant has no such value, or the kernel rules the choice out.
    pub fn specialisation(&'static self, values: &[Value]) -> Arc<Specialisation> {
        let mut known = SPECIALISATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = (self.name, values.to_vec());
        known.entry(chosen).or_insert_with(|| Arc::new(self.specialised(values))).clone()
    }

    fn specialised(&self, values: &[Value]) -> Specialisation {
        assert_eq!(values.len(), self.variants.len(), "{}: {values:?} of {:?}", self.name, self.variants);
        for ((name, known), value) in self.variants.iter().zip(values) {
            assert!(known.contains(value), "{}: no {name} = {value} in {known:?}", self.name);
        }
        let names = self.variants.iter().map(|(name, _)| *name);
        let words: Vec<_> = names.zip(values).map(|(name, value)| (name, value.to_string())).collect();
        let label = self.label(&words);
        assert!(self.is_legal(values), "{label} is ruled out");
        let wgsl = template::render(self.template, &words).unwrap_or_else(|e| panic!("{label}: {e}"));
        let bounds = template::trips(&wgsl).map(|bound| Bound::parse(bound, self.fields));
        let bounds = bounds.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{label}: {e}"));
        let bindings = self.bindings(&wgsl);
        let shader = Shader { name: self.name, label, variants: words, wgsl: wgsl.into(), bindings };
        Specialisation { shader: Arc::new(shader), bounds }
    }

    /// The bindings of a rendered text, each of which a line declares, by rising numbers.
    fn bindings(&self, wgsl: &str) -> Vec<Binding> {
        let binding = |line: &str| {
            let (number, rest) = line.strip_prefix("@group(0) @binding(")?.split_once(") var")?;
            let (declared, _) = rest.split_once(": ")?;
            let (space, name) = declared.rsplit_once(' ')?;
            let access = match space {
                "<uniform>" => Access::Uniform,
                "<storage, read>" => Access::Read,
                "<storage, read_write>" => Access::ReadWrite,
                _ => Access::Texels,
            };
            // Templates make up no names, so this one stands in the kernel's text, which is never freed.
            let at = self.template.find(name)?;
            Some(Binding { number: number.parse().ok()?, name: &self.template[at..][..name.len()], access })
        };
        let mut bindings: Vec<_> = wgsl.lines().filter_map(binding).collect();
        bindings.sort_by_key(|binding| binding.number);
        bindings
    }

    fn label(&self, chosen: &[(&str, String)]) -> String {
        let chosen: Vec<_> = chosen.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if chosen.is_empty() { self.name.into() } else { format!("{}[{}]", self.name, chosen.join(", ")) }
    }

    /// Every choice of values that the kernel does not rule out, for those that visit all specialisations.
    pub fn choices(&self) -> Vec<Vec<Value>> {
        let all: Vec<Vec<_>> = self.variants.iter().fold(vec![vec![]], |all, (_, values)| {
            let with = |chosen: &Vec<_>| -> Vec<Vec<_>> {
                values.iter().map(|&value| [chosen.as_slice(), &[value]].concat()).collect()
            };
            all.iter().flat_map(with).collect()
        });
        all.into_iter().filter(|values| self.is_legal(values)).collect()
    }

    /// Whether the kernel can be specialised so.
    fn is_legal(&self, values: &[Value]) -> bool {
        let chosen = self.variants.iter().zip(values).map(|((name, _), value)| (*name, value.to_string()));
        let legal = template::is_legal(self.template, &chosen.collect::<Vec<_>>());
        legal.unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }
}

/// Lanes of a subgroup, for kernels that share by broadcasts; `None` where they must do without.
/// Subgroups of 4 (SwiftShader) are too narrow for the kernels' tiles and take the plain path as well.
pub fn lanes(target: &Target) -> Option<u32> {
    target.subgroup.filter(|lanes| matches!(lanes, 8 | 16 | 32 | 64))
}

/// Whether kernels of so many lanes come with loads of texels: those for software devices do.
pub(crate) fn read_texels(lanes: u32) -> bool {
    matches!(lanes, 8 | 16)
}

/// Value of the `width` variant for rows of `dim` elements: what one load moves.
pub(crate) fn width(dim: u32) -> u32 {
    if dim.is_multiple_of(4) { 4 } else { 1 }
}
