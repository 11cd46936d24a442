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

/// Where the first legal way of a class's own family is not the best.
pub static DEFAULTS: &[Default] = &[];
