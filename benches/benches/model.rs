//! The built-in model under criterion: load, image encode, prefill, and a decode step at some contexts.
//!
//! `cargo bench -p strix-benches --bench model -- [FILTER]`; `strix bench model` times any model, with the share of each
//! kernel.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::{Dtype, LoadOptions, Model, unwatched};

fn benches(criterion: &mut Criterion) {
    let dtypes = [("int8", Dtype::Int8 { group: None }), ("bf16", Dtype::Bf16), ("f32", Dtype::F32)];
    for (name, dtype) in dtypes {
        let options = LoadOptions { dtype, ..LoadOptions::default() };
        nano(criterion, name, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

fn nano(criterion: &mut Criterion, name: &str, options: &LoadOptions) -> strix_model::Result<()> {
    let model = Model::nano(options)?;
    let gpu = model.gpu().clone();
    let mut group = criterion.benchmark_group(format!("nano/{name}"));
    group.bench_function("load", |bencher| {
        bencher.iter(|| {
            Model::load_on(&gpu, strix_model::Source::Nano, options, &mut unwatched).expect("it loads")
        });
    });
    let picture = RgbImage::from_fn(640, 480, |x, y| [x as u8, y as u8, (x ^ y) as u8].into());
    let pixels = model.pixels(&picture)?;
    group.bench_function("image encode", |bencher| {
        bencher.iter(|| model.encode(&pixels).expect("the device works"));
    });
    let mut session = model.session()?;
    for length in [64, 256] {
        let ids: Vec<_> = (0..length).map(|i| PromptId::Token(3 + i)).collect();
        group.throughput(Throughput::Elements(ids.len() as u64));
        group.bench_function(format!("prefill/{length}"), |bencher| {
            bencher.iter(|| session.inspect().greedy(&ids, 1).expect("the device works"));
        });
    }
    for context in [128, 512] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("decode/{context}"), |bencher| {
            bencher.iter(|| {
                session.inspect().fill(context - 1).expect("the context holds it");
                session.inspect().step(1).expect("the device works")
            });
        });
    }
    group.finish();
    Ok(())
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = all; config = config(); targets = benches }
criterion_main!(all);
