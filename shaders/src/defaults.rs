//! What is best on devices of each class, as `strix tune` found it there.

use strix_engine::Family;

/// A way that is best in a situation on devices of a class.
#[derive(Clone, Copy, Debug)]
pub struct Default {
    /// The class, by the family that suits it: CPU drivers, GPUs, devices without subgroups.
    pub class: Family,
    /// The kernel.
    pub kernel: &'static str,
    /// The class of shapes.
    pub situation: &'static str,
    /// Variants, each with its value.
    pub way: &'static [(&'static str, &'static str)],
}

/// Where the first legal way of a class's own family is not the best. CPU drivers: lavapipe of Mesa 22.3 with vectors of
/// 512 bits, 2026-11-25; with vectors of 256 bits those of eight rows come first anyway.
pub static DEFAULTS: &[Default] = &[
    cpu("gemm", "int8 rows=few", &[SUBGROUP, ("rows", "8"), TEXELS]),
    cpu("gemm", "int8 rows=many", &[SUBGROUP, ("rows", "8"), TEXELS]),
    cpu("gemm", "int8_group rows=many", &[SUBGROUP, ("rows", "8"), TEXELS]),
    cpu("attention", "vec4 dims=64", &[SUBGROUP, ("queries", "32"), ("keys", "2"), TEXELS]),
];

const SUBGROUP: (&str, &str) = ("family", "subgroup");
const TEXELS: (&str, &str) = ("loads", "texels");

const fn cpu(
    kernel: &'static str,
    situation: &'static str,
    way: &'static [(&'static str, &'static str)],
) -> Default {
    Default { class: Family::Subgroup, kernel, situation, way }
}
