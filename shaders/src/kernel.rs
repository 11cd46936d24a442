//! A kernel as `build.rs` describes it, and its specialisations.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use strix_engine::{Binding, Shader, Target};

use crate::template;

/// A WGSL kernel with everything it can be specialised by. Every specialisation was validated at build.
#[derive(Debug)]
pub struct Kernel {
    /// Name of the kernel, its files and its entry point.
    pub name: &'static str,
    /// Its text with its imports, before specialisation.
    pub template: &'static str,
    /// What it can be specialised by, each with its values.
    pub variants: &'static [(&'static str, &'static [&'static str])],
    /// Its bindings, by the values of the variants that they depend on.
    pub bindings: &'static [Bindings],
    /// Fields of its `Params`, and whether each is a u32 (else f32).
    pub fields: &'static [(&'static str, bool)],
}

/// Bindings of the specialisations that have some values, `Params` first.
pub type Bindings = (&'static [(&'static str, &'static str)], &'static [Binding]);

/// The rendered specialisations, by label.
static SHADERS: LazyLock<Mutex<HashMap<String, Arc<Shader>>>> = LazyLock::new(Mutex::default);

/// Bounds of loops that were counted, by label and `Params`: the layers of a model ask for the same ones.
static TRIPS: LazyLock<Mutex<HashMap<Dispatched, u64>>> = LazyLock::new(Mutex::default);

/// Label of a shader, and the bytes of its `Params`.
type Dispatched = (String, Vec<u8>);

/// Bounds that are kept at most.
const MOST_TRIPS: usize = 4096;

impl Kernel {
    /// The specialisation with these values, one for each of [`Kernel::variants`].
    ///
    /// # Panics
    ///
    /// If a variant is missing, unknown or has no such value, or the kernel rules the choice out.
    pub fn shader(&'static self, chosen: &[(&str, &str)]) -> Arc<Shader> {
        assert_eq!(
            chosen.len(),
            self.variants.len(),
            "{}: {chosen:?} against {:?}",
            self.name,
            self.variants
        );
        for (name, value) in chosen {
            let known = self.variants.iter().any(|(n, values)| n == name && values.contains(value));
            assert!(known, "{}: no {name} = {value} in {:?}", self.name, self.variants);
        }
        let choice: Vec<_> = chosen.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let label = if choice.is_empty() {
            self.name.into()
        } else {
            format!("{}[{}]", self.name, choice.join(", "))
        };
        let mut shaders = SHADERS.lock().unwrap_or_else(PoisonError::into_inner);
        let shader = shaders.entry(label.clone()).or_insert_with(|| {
            assert!(self.is_legal(chosen), "{}: {chosen:?} is ruled out", self.name);
            let text = template::render(self.template, chosen);
            let wgsl = text.unwrap_or_else(|e| panic!("{label}: {e}")).into();
            let fit = |(values, _): &&Bindings| values.iter().all(|value| chosen.contains(value));
            let (_, bindings) = self.bindings.iter().find(fit).expect("those of each legal choice");
            Arc::new(Shader { name: self.name, label, wgsl, bindings })
        });
        shader.clone()
    }

    /// Every choice of values, for tests that visit all specialisations.
    pub fn choices(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let all: Vec<Vec<_>> = self.variants.iter().fold(vec![vec![]], |all, &(name, values)| {
            let with = |chosen: &Vec<_>| -> Vec<Vec<_>> {
                values.iter().map(|&v| [chosen.as_slice(), &[(name, v)]].concat()).collect()
            };
            all.iter().flat_map(with).collect()
        });
        all.into_iter().filter(|chosen| self.is_legal(chosen)).collect()
    }

    /// Whether the kernel can be specialised so.
    fn is_legal(&self, chosen: &[(&str, &str)]) -> bool {
        template::is_legal(self.template, chosen).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Upper bound on the loop iterations of one invocation: the sum of the text's `//~ trips` annotations.
    pub fn trips(&self, shader: &Shader, params: &[u8], chosen: &[(&str, &str)]) -> u64 {
        let mut known = TRIPS.lock().unwrap_or_else(PoisonError::into_inner);
        let dispatched = (shader.label.clone(), params.to_vec());
        if let Some(&trips) = known.get(&dispatched) {
            return trips;
        }
        if known.len() >= MOST_TRIPS {
            known.clear();
        }
        let trips = self.count_trips(shader, params, chosen);
        known.insert(dispatched, trips);
        trips
    }

    fn count_trips(&self, shader: &Shader, params: &[u8], chosen: &[(&str, &str)]) -> u64 {
        let words = params.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
        let numbers: Vec<_> = self
            .fields
            .iter()
            .zip(words)
            .filter(|((_, is_u32), _)| *is_u32)
            .map(|((n, _), v)| (*n, v))
            .collect();
        template::count_trips(&shader.wgsl, chosen, &numbers)
            .unwrap_or_else(|e| panic!("{}: {e}", shader.label))
    }
}

/// A specialisation of some family's kernel, and its workgroups.
pub(crate) struct Specialised {
    pub(crate) kernel: &'static Kernel,
    pub(crate) chosen: Vec<(&'static str, &'static str)>,
    pub(crate) groups: [u32; 3],
}

/// Value of the `lanes` variant for a device: its subgroup size, or `plain` where kernels must do without.
/// Subgroups of 4 (SwiftShader) are too narrow for the kernels' tiles and take the plain path as well.
pub fn lanes(target: &Target) -> &'static str {
    match target.subgroup {
        Some(8) => "8",
        Some(16) => "16",
        Some(32) => "32",
        Some(64) => "64",
        _ => "plain",
    }
}

/// Whether kernels of so many lanes come with loads of texels: those for software devices do.
pub(crate) fn read_texels(lanes: &str) -> bool {
    matches!(lanes, "8" | "16")
}

/// Value of the `width` variant for rows of `dim` elements: what one load moves.
pub(crate) fn width(dim: u32) -> &'static str {
    if dim.is_multiple_of(4) { "4" } else { "1" }
}

/// Records one dispatch of a kernel with its CPU reference.
///
/// `dispatch!(g, KERNEL, [("lanes", "8")], Params { .. }, [x, gain => y], [rows, 1, 1], reference)`: tensors
/// in the order of the bindings, read ones before the arrow, written ones after it. `reference` is a function
/// of `&Params`, a slice for each tensor read and a mutable slice for each written, in that order; slices may
/// be padded at their end to a multiple of 16 bytes.
#[macro_export]
macro_rules! dispatch {
    ($g:expr, $kernel:expr, $chosen:expr, $params:expr, [$($read:expr),* => $($write:expr),+], $groups:expr, $reference:expr) => {{
        let reference: strix_engine::Reference = |args| {
            let params = bytemuck::pod_read_unaligned(args.params);
            let mut tensors = args.tensors.iter_mut();
            $reference(
                &params,
                $({ let _ = stringify!($read); bytemuck::cast_slice(tensors.next().expect("a tensor a binding").as_slice()) },)*
                $({ let _ = stringify!($write); bytemuck::cast_slice_mut(tensors.next().expect("a tensor a binding").as_mut_slice()) },)+
            );
        };
        let chosen: &[(&str, &str)] = &$chosen;
        let params = bytemuck::bytes_of(&$params).to_vec();
        let shader = $kernel.shader(chosen);
        let trips = $kernel.trips(&shader, &params, chosen);
        let read = |id| strix_engine::Arg { id, access: strix_engine::Access::Read };
        let write = |id| strix_engine::Arg { id, access: strix_engine::Access::ReadWrite };
        let _ = &read;
        $g.push(strix_engine::Step {
            label: String::new(),
            shader,
            params,
            args: vec![$(read($read.id()),)* $(write($write.id()),)+],
            groups: $groups,
            trips,
            reference: Some(reference),
        });
    }};
}
