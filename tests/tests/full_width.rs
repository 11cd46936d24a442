//! One decoder layer and `lm_head` at the width of the 8.2B model. `cargo xtask full-size --only 5` has the rest.

use strix_engine::{Gpu, GpuOptions};
use strix_model::weights::FileDtype;
use strix_model::{Dtype, LoadOptions};
use strix_tests::full_width::{BOUND, FullWidth, config};

/// 32 MiB a binding: the MLP, `lm_head` and the embedding are cut.
#[test]
fn an_int8_decoder_layer_of_full_width_is_the_cpus_with_its_matrices_cut() {
    let options = GpuOptions { max_binding_bytes: Some(32 << 20), ..GpuOptions::from_env() };
    let gpu = Gpu::with(&options).unwrap();
    assert_eq!(gpu.target().max_binding_bytes, 32 << 20);
    let int8 = Dtype::Int8 { group: None };
    let options = LoadOptions { dtype: int8, ctx: Some(256), chunk: 16, ..LoadOptions::default() };
    let mut full = FullWidth::new(&gpu, config(1, 1, 1), FileDtype::BF16, &options).unwrap();
    println!("{}", full.report());
    full.check_end(150).unwrap();
    let report = full.report();
    for (name, error) in &report.errors {
        println!("{error:.1e}  {name}");
    }
    assert_eq!(report.errors.len(), 12, "{report}");
    assert!(report.good(), "above {BOUND:.0e}: {report}");
}
