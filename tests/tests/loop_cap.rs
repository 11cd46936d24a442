//! One invocation runs at most 65,535 loop iterations on Mesa 22.3's lavapipe; the driver skips the rest
//! without a word. Three things keep every kernel below that, and these tests hold two of them:
//!
//! 1. every loop states its bound: `shaders/build.rs` counts the loops of each specialisation in naga's
//!    module and stops `cargo build` where a `//~ trips:` annotation is missing, so there is no test;
//! 2. `Graph::push` adds the bounds up and refuses a step above the cap;
//! 3. the bounds are true: `strix_tests::run_on` runs every kernel with counters in its loops.

use std::sync::Arc;

use strix_engine::{Access, Arg, Binding, Graph, MAX_TRIPS, Program, Shader, Step, Tensor};
use strix_tests::gpu;

static BINDINGS: &[Binding] = &[Binding { number: 0, name: "y", access: Access::ReadWrite }];

/// A kernel of one workgroup of 4 lanes: lane l loops `outer + l` times, within that `inner` times, then
/// `after` times, and writes how often it did. What it states is up to the test.
fn nested(outer: u32, inner: u32, after: u32) -> Arc<Shader> {
    let wgsl = format!(
        "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(4)
        fn nested(@builtin(local_invocation_index) lane: u32) {{
            var count = 0u;
            //~ trips: stated by the test
            for (var i = 0u; i < {outer}u + lane; i++) {{
                count++;
                //~ trips: stated by the test
                for (var j = 0u; j < {inner}u; j++) {{
                    count++;
                }}
            }}
            var left = {after}u;
            //~ trips: stated by the test
            while left > 0u {{
                left--;
                count++;
            }}
            y[lane] = count;
        }}"
    );
    let label = format!("nested[{outer}, {inner}, {after}]");
    Arc::new(Shader {
        name: "nested",
        label,
        variants: vec![],
        wgsl: wgsl.into(),
        bindings: BINDINGS.to_vec(),
    })
}

/// A graph of that kernel alone.
fn record(shader: Arc<Shader>, trips: u64) -> (Graph, Tensor<u32, 1>) {
    let mut g = Graph::new(gpu().target());
    let y = g.activation("y", [4]);
    g.push(Step {
        label: String::new(),
        shader,
        params: vec![],
        args: vec![Arg { id: y.id(), access: Access::ReadWrite }],
        groups: [1, 1, 1],
        trips,
        reference: None,
    });
    let y = g.output(y);
    (g, y)
}

#[test]
fn a_step_above_the_cap_is_refused_by_name_and_number() {
    let refused = std::panic::catch_unwind(|| drop(record(nested(1, 1, 1), MAX_TRIPS + 1)));
    let message = *refused.expect_err("the step is above the cap").downcast::<String>().expect("a message");
    assert!(
        message.contains("nested[1, 1, 1]") && message.contains(&(MAX_TRIPS + 1).to_string()),
        "{message}"
    );
    record(nested(1, 1, 1), MAX_TRIPS);
}

/// The same through a kernel's own annotations: a row so long that 64 lanes cannot walk it.
#[test]
#[should_panic(expected = "rms_norm")]
fn a_kernel_on_a_row_too_long_is_refused() {
    let mut g = Graph::new(strix_engine::Target::default());
    let dim = 4 * 64 * 40_000;
    let x = g.input("x", [1, dim]);
    let gain = strix_engine::Resident::zeros("gain", [1, dim]);
    strix_shaders::rms_norm(&mut g, "y", x, &gain, None, 1e-6);
}

#[test]
fn the_audit_counts_the_busiest_invocation() {
    for (outer, inner, after) in [(0, 0, 0), (5, 0, 0), (5, 7, 0), (5, 7, 11), (0, 1000, 3)] {
        // Lane 3 loops most.
        let want = u64::from((outer + 3) * (1 + inner) + after);
        let (g, y) = record(nested(outer, inner, after), want);
        let mut program = Program::compile_audited(gpu(), g).expect("the kernel compiles");
        program.run(&[y.id()]).expect("the kernel runs");
        let [(_, counted, bound)] = program.trips().expect("the counts can be read")[..] else {
            panic!("one step, one count")
        };
        assert_eq!((counted, bound), (want, want), "nested {outer} {inner} {after}");
        assert_eq!(u64::from(program.read(y).unwrap()[3]), want, "what the lane says itself");
    }
}

/// Whatever the loops look like: one long one, many short ones, many of a single iteration.
#[test]
fn a_step_at_the_cap_runs_every_iteration() {
    let cap = MAX_TRIPS as u32;
    for (outer, inner) in
        [(0, 0), (cap / 2 - 3, 1), (cap / 3 - 3, 2), (cap / 100 - 3, 99), (97, cap / 100 - 1)]
    {
        let after = cap - (outer + 3) * (1 + inner);
        let (g, y) = record(nested(outer, inner, after), MAX_TRIPS);
        let mut program = Program::compile(gpu(), g).expect("the kernel compiles");
        program.run(&[y.id()]).expect("the kernel runs");
        assert_eq!(program.read(y).unwrap()[3], cap, "{outer} times {inner}, then {after}");
    }
}

/// Prints what this device really does near the cap and beyond; asserts nothing of it.
///
/// Mesa 22.3.6 counts for a vector of lanes together, dead lanes included, and counts the test that ends a
/// loop at each entry as well: of 700 times 99 it runs 648 whole rounds of 1 + 99 + 1. `MAX_TRIPS` is half
/// its cap for that.
#[test]
fn this_device_beyond_the_cap() {
    for (outer, inner, after) in [(0, 0, 65_500), (0, 0, 65_532), (0, 0, 69_997), (697, 99, 0)] {
        let want = (outer + 3) * (1 + inner) + after;
        // Stated as less than it may be, or it would be refused.
        let (g, y) = record(nested(outer, inner, after), MAX_TRIPS);
        let mut program = Program::compile(gpu(), g).expect("the kernel compiles");
        program.run(&[y.id()]).expect("the kernel runs");
        let got = program.read(y).unwrap()[3];
        let name = gpu().name();
        println!("{name}: {got} of {want} iterations{}", if got < want { ", the rest dropped" } else { "" });
    }
}
