//! Harness of the tests: one device a process, seeded data, comparisons that print their worst element.

pub mod checkpoints;
pub mod checks;
pub mod command;
pub mod full_size;
pub mod full_width;
pub mod fuzz;
pub mod fuzz_folders;
pub mod golden;
#[cfg(target_os = "linux")]
pub mod gpus;
pub mod nano;
pub mod pictures;
pub mod reference;
pub mod schedules;

use std::sync::OnceLock;

use bytemuck::Pod;
use strix_engine::{
    Choices, Decision, Family, Gpu, GpuOptions, Graph, Program, Resident, Specialisation, Target, Tensor,
    TensorId,
};
use strix_model::tokenizer::PromptId;

/// The device under test: the one `STRIX_ADAPTER` names, else the best.
///
/// # Panics
///
/// If there is none: a test that silently skips proves nothing.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::new().unwrap_or_else(|e| panic!("these tests need an adapter; lavapipe will do: {e}"))
    })
}

/// The same adapter with subgroups switched off.
pub fn plain_gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::with(&GpuOptions { no_subgroups: true, ..GpuOptions::from_env() }).expect("an adapter")
    })
}

/// A prompt's ids as the original code has them: -200 where a picture goes.
///
/// # Panics
///
/// If another is negative.
pub fn prompt_ids<const N: usize>(ids: [i64; N]) -> [PromptId; N] {
    ids.map(|id| id.try_into().expect("an id or -200"))
}

/// Uniform in [-1, 1), the same for the same seed on every machine.
pub fn uniform(seed: u64, n: usize) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Asserts that no element is further off than `rel`, relative to the largest expected value or 1.
///
/// # Panics
///
/// If one is, naming the worst.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], rel: f32) {
    assert_eq!(got.len(), want.len(), "{what}: elements");
    let scale = want.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let errors = got.iter().zip(want).map(|(g, w)| (g - w).abs() / scale).enumerate();
    let (i, error) = errors.fold((0, 0.0), |a, b| if b.1 > a.1 || b.1.is_nan() { b } else { a });
    assert!(
        error <= rel,
        "{what}: worst element {i}: got {} want {} (error {error:e} of {scale} > {rel:e})",
        got[i],
        want[i]
    );
}

/// Largest error of products of many rows on such a device, as [`assert_close`] has it: matrices of f16 keep 11 bits of what
/// is multiplied by weights.
pub fn product_bound(target: &Target) -> f32 {
    if target.coop.is_some_and(|coop| coop.f16) { 1e-3 } else { 1e-5 }
}

/// `data` as a tensor of the graph.
pub fn constant<T: Pod + Send + Sync, const R: usize>(
    g: &mut Graph,
    shape: [u32; R],
    data: &[T],
) -> Tensor<T, R> {
    g.bind(&Resident::from_slice("constant", shape, data))
}

/// Records a kernel for `gpu`, runs it and reads the result back. `feed` sets the inputs.
///
/// The run counts every loop of every kernel and fails if one iterates more often than its text declares.
///
/// # Panics
///
/// If the device fails, or a loop outruns its declared bound.
pub fn run_on<T: Pod, const R: usize>(
    gpu: &Gpu,
    record: impl FnOnce(&mut Graph) -> Tensor<T, R>,
    feed: impl FnOnce(&mut Program),
) -> Vec<T> {
    run_for(gpu, gpu.target(), record, feed)
}

/// [`run_on`] with kernels chosen for another target than the device's own.
///
/// # Panics
///
/// As [`run_on`].
pub fn run_for<T: Pod, const R: usize>(
    gpu: &Gpu,
    target: Target,
    record: impl FnOnce(&mut Graph) -> Tensor<T, R>,
    feed: impl FnOnce(&mut Program),
) -> Vec<T> {
    let mut g = Graph::new(target);
    let result = record(&mut g);
    let result = g.output(result);
    run_graph(gpu, g, &[result.id()], feed).read(result).unwrap()
}

/// The target of `gpu` with every choice that is legal while `record` runs, one after the other, and the choice in words.
pub fn every_way(gpu: &Gpu, record: impl FnOnce(&mut Graph)) -> Vec<(Target, String)> {
    let free = Target { forced: false, ..gpu.target() };
    let mut g = Graph::new(free.clone());
    record(&mut g);
    let of = |decision: &Decision| -> Vec<_> {
        let one = |way: &Specialisation| {
            let mut choices = Choices::default();
            choices.set(&decision.kernel, &decision.situation, way.clone());
            (free.with_choices(choices), format!("{} {way:?}", decision.kernel))
        };
        decision.legal.iter().map(one).collect()
    };
    g.decisions().iter().flat_map(of).collect()
}

/// [`run_on`] of a graph with several results: `reads` can be read from the program returned.
///
/// # Panics
///
/// If the device fails, or a loop outruns its declared bound.
pub fn run_graph(gpu: &Gpu, g: Graph, reads: &[TensorId], feed: impl FnOnce(&mut Program)) -> Program {
    let mut program = Program::compile_audited(gpu, g).expect("the kernel compiles");
    feed(&mut program);
    program.run(reads).expect("the kernel runs");
    for (label, counted, bound) in program.trips().expect("the counts can be read") {
        assert!(
            counted <= bound,
            "{label}: {counted} loop iterations in one invocation, its text declares {bound}"
        );
    }
    program
}

/// The device under test with the kernels of one family; `None` where it cannot run them.
pub fn family_gpu(family: Family) -> Option<&'static Gpu> {
    static GPUS: [OnceLock<Option<Gpu>>; Family::ALL.len()] = [const { OnceLock::new() }; Family::ALL.len()];
    let at = Family::ALL.iter().position(|&f| f == family)?;
    let open = || {
        Gpu::with(&GpuOptions { family: Some(family.name().into()), ..GpuOptions::from_env() })
            .inspect_err(|e| println!("{family}: {e}"))
            .ok()
    };
    GPUS[at].get_or_init(open).as_ref()
}

/// Runs `check` with the kernels of every family that the device can run.
///
/// # Panics
///
/// If it cannot run those that every device can.
pub fn on_all(check: impl Fn(&Gpu)) {
    for family in Family::ALL {
        match family_gpu(family) {
            Some(gpu) => check(gpu),
            None => assert!(matches!(family, Family::Subgroup | Family::Coop), "no kernels of {family}"),
        }
    }
}

/// Runs `check` on the device as it is and, if it has subgroups, with them switched off.
pub fn on_both(check: impl Fn(&Gpu)) {
    check(gpu());
    if plain_gpu().target() != gpu().target() {
        check(plain_gpu());
    }
}
