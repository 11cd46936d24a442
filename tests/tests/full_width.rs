//! One decoder layer and `lm_head` at the width of the 8.2B model. `cargo xtask full-size --only 5` has the rest.

use strix_engine::{Gpu, GpuOptions};
use strix_model::weights::FileDtype;
use strix_model::{Activity, Dtype, Error, Inspect, LoadOptions, Model, Room, Source, Weights, unwatched};
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

/// 16 conversations of 200 positions lease 13 pages each, and what is left of these is for 8 tokens more. With 32 MiB a
/// binding the keys of a layer, 52 MiB, are in two.
#[test]
fn sixteen_conversations_of_200_positions_take_the_pages_of_208_each() {
    let options = GpuOptions { max_binding_bytes: Some(32 << 20), ..GpuOptions::from_env() };
    let gpu = Gpu::with(&options).unwrap();
    let config = config(1, 1, 1);
    // Keys and values of a position, in f32.
    let position = 2 * 4 * config.text.kv_dim() as u64;
    let kv_memory = Some(16 * 208 * position);
    let dtype = Dtype::Int8 { group: None };
    let options = LoadOptions { dtype, ctx: Some(256), chunk: 16, kv_memory, ..LoadOptions::default() };
    let plan = strix_model::plan(&config, &options, &gpu.target(), None, Room::default()).unwrap();
    assert_eq!((plan.kv_cache_positions, plan.kv_cache_bindings), (16 * 208, 2));
    let weights = Weights::synthetic(&config, FileDtype::BF16, 1).into();
    let source = Source::Weights { config: &config, weights: &weights, tokenizer: None };
    let model = Model::load_on(&gpu, source, &options, &mut unwatched).unwrap();
    let mut sessions: Vec<_> = (0..16).map(|_| model.session().unwrap()).collect();
    for (number, session) in (1..).zip(&mut sessions) {
        session.inspect().fill(200).unwrap();
        let Activity { kv_positions, kv_positions_left, .. } = model.activity();
        assert_eq!((kv_positions, kv_positions_left), (16 * 208, (16 - number) * 208));
    }
    let error = model.session().unwrap().inspect().fill(1).unwrap_err();
    assert!(matches!(error, Error::PoolFull { needed: 1, left: 0, total: 208, .. }), "{error}");
    for _ in 0..2 {
        assert_eq!(Inspect::step_together(&mut sessions, &[5; 16]).unwrap().len(), 16);
    }
    drop(sessions);
    assert_eq!(model.activity().kv_positions_left, 16 * 208);
}
