//! Every bench of `strix bench kernels` under criterion, which keeps its own history and statistics.
//!
//! `cargo bench -p strix-benches --bench kernels -- [FILTER] [--list] [--save-baseline NAME] …`
//!
//! Times are the device's, as [`strix_benches::Clock`] takes them. Rates are of bytes where the memory bounds a kernel,
//! and of FLOPs where arithmetic does.

use std::cell::RefCell;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strix_benches::{Bench, Clock, Operands, Roofline, kernels, prepare};
use strix_engine::Gpu;

fn benches(criterion: &mut Criterion) {
    let clock = Clock::new(&Gpu::new().unwrap_or_else(|e| panic!("{e}")));
    // Only which of the two bounds a kernel is asked of it, and the ridge of most devices is near this.
    let roof = Roofline { bytes_per_s: 1.0, flops_per_s: 16.0, ..Roofline::default() };
    for bench in kernels() {
        let mut group = criterion.benchmark_group(&bench.shape.kernel);
        group.throughput(match roof.is_memory_bound(bench.work, bench.arithmetic) {
            true => Throughput::Bytes(bench.work.bytes),
            false => Throughput::Elements(bench.work.flops),
        });
        let name = bench.name();
        let id = name.split_once('/').map_or("", |(_, rest)| rest);
        // Only what the filter lets through comes to the device, once.
        let timed = RefCell::new(None);
        group.bench_function(id, |bencher| {
            let mut timed = timed.borrow_mut();
            let timed = timed.get_or_insert_with(|| on_device(&clock, &bench));
            bencher.iter_custom(|passes| {
                let ns = timed.passes_ns(passes).unwrap_or_else(|e| panic!("{name}: {e}"));
                Duration::from_secs_f64(ns / 1e9)
            });
        });
        group.finish();
    }
}

/// A wrong result has no speed: it ends the benches.
fn on_device(clock: &Clock, bench: &Bench) -> strix_benches::Timed {
    let prepared = prepare(clock, bench, &mut Operands::new(clock.gpu()), true);
    let (row, timed) = prepared.unwrap_or_else(|e| panic!("{}: {e}", bench.name()));
    assert!(!row.check.is_wrong(), "{} is WRONG: {:?}", row.name, row.check);
    timed
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! { name = all; config = config(); targets = benches }
criterion_main!(all);
