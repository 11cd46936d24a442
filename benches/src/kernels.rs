//! The benches of kernels: each at the shapes of the 8.2B model, or at one that the user names.

mod attention;
mod bench;
mod projections;
mod resize;
mod rows;

use strix_model::Config;

pub use bench::{Bench, Operands};

use crate::{Result, Shape};

impl Bench {
    /// The bench of a shape.
    ///
    /// # Errors
    ///
    /// If its kernel is none of [`SIGNATURES`](crate::shape::SIGNATURES).
    pub fn of(shape: Shape) -> Result<Self> {
        match shape.kernel.as_str() {
            name if name.starts_with("gem") => projections::bench(shape),
            name if name.contains("attention") => attention::bench(shape),
            name if name.starts_with("resize") => resize::bench(shape),
            _ => rows::bench(shape),
        }
    }
}

/// Every bench at the shapes of the 8.2B model.
///
/// # Panics
///
/// If a shape in the list is none of the kernel's: a bug.
pub fn kernels() -> Vec<Bench> {
    let config = Config::from_json(b"{}").expect("every key has a default");
    let mut list = vec![];
    projections::list(&config, &mut list);
    attention::list(&config, &mut list);
    rows::list(&config, &mut list);
    resize::list(&config, &mut list);
    let bench = |(shape, quick): (Shape, bool)| {
        let bench = Bench::of(shape).expect("the list is of kernels that have benches");
        bench.quick(quick)
    };
    list.into_iter().map(bench).collect()
}

#[cfg(test)]
mod tests {
    use super::bench::{CONTEXTS, PREFILL};
    use super::*;

    #[test]
    fn every_name_of_the_list_can_be_asked_for_and_is_there_once() {
        let mut names: Vec<_> = kernels().iter().map(Bench::name).collect();
        for name in &names {
            let shapes = Shape::parse(name).unwrap();
            assert_eq!(shapes.iter().map(Shape::to_string).collect::<Vec<_>>(), [name.as_str()]);
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(kernels().iter().any(|b| b.quick) && kernels().iter().all(|b| b.work.bytes > 0));
    }

    #[test]
    fn the_list_has_every_kernel_row_count_context_and_dtype() {
        let names: Vec<_> = kernels().iter().map(Bench::name).collect();
        let has = |part: &str| assert!(names.iter().any(|name| name.contains(part)), "{part} of {names:#?}");
        for signature in crate::shape::SIGNATURES {
            has(&format!("{}/", signature.kernel));
        }
        for dtype in ["bf16", "int8", "int8g128", "int8g64", "int8g32"] {
            for rows in PREFILL {
                has(&format!("gemm_swiglu/prefill/{rows}x11008x4096/{dtype}"));
            }
            has(&format!("gemv_swiglu/decode/11008x4096/{dtype}"));
        }
        for context in CONTEXTS {
            has(&format!("decode_attention/decode/1x{context}x32x128/f16"));
            has(&format!("attention/prefill/256x{context}x32x128/f32"));
        }
    }
}
