//! Kernels of others on the device of this machine.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use strix_engine::wgpu::Features;
use strix_engine::{Gpu, GpuOptions};

use super::*;
use crate::run::Check;

const SAXPY: &str = include_str!("../../wgsl/saxpy.wgsl");

fn gpu() -> Gpu {
    let options = GpuOptions { more_features: FEATURES, ..GpuOptions::from_env() };
    Gpu::with(&options).expect("these tests need an adapter; lavapipe will do")
}

fn sources(texts: &[(&str, &str)]) -> Vec<Rc<Source>> {
    let source =
        |(name, text): &(&str, &str)| Source::parse(Path::new(name), (*text).to_owned()).map(Rc::new);
    texts.iter().map(|text| source(text).unwrap()).collect()
}

fn request(operands: &[&str], checks: &[&str]) -> Request {
    Request {
        operands: operands.iter().map(|text| Operand::parse(text).unwrap()).collect(),
        references: checks.iter().map(|text| Reference::parse(text).unwrap()).collect(),
        cold: false,
        ..Request::default()
    }
}

/// The rows of one run of a few times.
fn rows(request: &Request, texts: &[(&str, &str)]) -> Result<Vec<Row>> {
    let gpu = gpu();
    let (jobs, _) = plan_sources(request, &sources(texts), &gpu)?;
    let settings = Settings { runs: (3, 3), each: Duration::ZERO, ..Settings::new(true, 1 << 30) };
    let roof = Roofline { bytes_per_s: 1e10, flops_per_s: 1e11, ..Roofline::default() };
    run(&Clock::new(&gpu), &roof, &jobs, &settings, &mut |_| ControlFlow::Continue(()))
}

#[track_caller]
fn right(rows: &[Row]) {
    for row in rows {
        assert!(matches!(row.check, Check::Right { .. }) && row.figures.is_some(), "{row:?}");
        assert!(row.outside.is_empty(), "{row:?}");
    }
}

#[track_caller]
fn refused(request: &Request, text: &str) -> String {
    plan_sources(request, &sources(&[("a.wgsl", text)]), &gpu()).unwrap_err().to_string()
}

#[test]
fn a_kernel_is_swept_and_checked_and_its_work_is_counted() {
    let mut request =
        request(&["x=f32[n]:normal", "y=f32[n]:uniform(0, 2),out", "params.a=0.5"], &["0.5*x[i] + y[i]"]);
    request.overrides = vec![Sweep::parse("WG=16,64").unwrap()];
    request.variables = vec![Sweep::parse("n=1000,4096").unwrap()];
    request.flops = Some(Expression::parse("2*n").unwrap());
    let rows = rows(&request, &[("saxpy.wgsl", SAXPY)]).unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    let want =
        ["saxpy[WG=16, n=1000]", "saxpy[WG=16, n=4096]", "saxpy[WG=64, n=1000]", "saxpy[WG=64, n=4096]"];
    assert_eq!(names, want);
    right(&rows);
    // The operands once: x, y and the parameters.
    assert_eq!((rows[1].work.bytes, rows[1].work.flops), (2 * 4 * 4096 + 8, 8192));
    assert_eq!(rows[1].settings, [("WG".to_owned(), 16.0), ("n".to_owned(), 4096.0)].into());
}

#[test]
fn a_wrong_kernel_has_no_speed() {
    let wrong = SAXPY.replace("+ y[i]", "- y[i]");
    let mut request = request(&["x=f32[n]:normal", "y=f32[n]:normal,out", "params.a=2"], &["2*x[i] + y[i]"]);
    request.variables = vec![Sweep::parse("n=256").unwrap()];
    let rows = rows(&request, &[("right.wgsl", SAXPY), ("wrong.wgsl", &wrong)]).unwrap();
    right(&rows[..1]);
    assert!(
        rows[1].check.is_wrong() && rows[1].figures.is_none() && rows[1].times.wall_ns.is_empty(),
        "{rows:?}"
    );
    assert!(rows[1].remarks[0].contains("is expected"), "{rows:?}");
}

#[test]
fn what_is_written_beyond_an_operand_is_told() {
    // One element too far; far too far, though the kernel asks for the length; and not at all.
    for (index, guard, told) in [
        ("id.x + 1u", "", true),
        ("id.x + arrayLength(&y)", "", true),
        ("id.x", "", false),
        ("id.x + 1u", "if id.x + 1u < arrayLength(&y)", false),
    ] {
        let text = format!(
            "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
             @compute @workgroup_size(64)
             fn f(@builtin(global_invocation_id) id: vec3<u32>) {{ {guard} {{ y[{index}] = 7u; }} }}"
        );
        let rows = rows(&request(&["y=u32[256]:out"], &[]), &[("a.wgsl", &text)]).unwrap();
        assert_eq!(!rows[0].outside.is_empty(), told, "{index} {guard}: {rows:?}");
        if told {
            assert!(rows[0].outside[0].contains("outside of y"), "{rows:?}");
            assert!(rows[0].outside[0].contains("at element 256 of 256"), "{rows:?}");
        }
    }
}

#[test]
fn another_kernel_can_say_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let reference = dir.path().join("reference.wgsl");
    std::fs::write(&reference, SAXPY).unwrap();
    let vectors = "
        struct Params { n: u32, a: f32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
        @group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
        @compute @workgroup_size(64)
        fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < params.n / 4u { y[id.x] += params.a * x[id.x]; }
        }";
    let mut request =
        request(&["x=f32[n]:normal", "y=f32[n]:normal,out", "params.a=2"], &[reference.to_str().unwrap()]);
    request.variables = vec![Sweep::parse("n=1024").unwrap()];
    request.workgroups = Some(vec![Expression::parse("n/64").unwrap()]);
    right(&rows(&request, &[("vectors.wgsl", vectors)]).unwrap());
    std::fs::write(&reference, SAXPY.replace("+ y[i]", "")).unwrap();
    assert!(rows(&request, &[("vectors.wgsl", vectors)]).unwrap()[0].check.is_wrong());
}

#[test]
fn immediates_atomics_and_several_kernels_work() {
    let text = "
        struct Params { scale: u32, offset: u32 }
        var<immediate> params: Params;
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(1) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
        @compute @workgroup_size(64)
        fn histogram(@builtin(global_invocation_id) id: vec3<u32>) {
            atomicAdd(&counts[x[id.x] * params.scale + params.offset], 1u);
        }
        @compute @workgroup_size(1) fn other() {}";
    let mut request = request(
        &["x=u32[1024]:uniform(0, 4)", "counts=u32[16]:out", "params.scale=2", "params.offset=1"],
        &["sum(k, 1024, x[k]*2 + 1 == i)"],
    );
    request.workgroups = Some(vec![Expression::parse("x.len/wg.x").unwrap()]);
    if !gpu().device().features().contains(Features::IMMEDIATES) {
        request.entry = Some("histogram".into());
        assert!(refused(&request, text).contains("it needs immediates"));
        return;
    }
    assert!(refused(&request, text).contains("--entry: histogram, other"));
    request.entry = Some("histogram".into());
    let rows = rows(&request, &[("a.wgsl", text)]).unwrap();
    right(&rows);
    assert_eq!(rows[0].name, "a/histogram");
}

#[test]
fn textures_are_loaded_sampled_and_stored() {
    let text = "
        @group(0) @binding(0) var image: texture_2d<f32>;
        @group(0) @binding(1) var taken: sampler;
        @group(0) @binding(2) var stored: texture_storage_2d<r32float, write>;
        @compute @workgroup_size(8, 8)
        fn twice(@builtin(global_invocation_id) id: vec3<u32>) {
            let at = (vec2<f32>(id.xy) + 0.5) / vec2<f32>(textureDimensions(image));
            let both = textureLoad(image, id.xy, 0).x + textureSampleLevel(image, taken, at, 0.0).x;
            textureStore(stored, id.xy, vec4(both));
        }";
    let mut request = request(&["image=r32float[16x24]:normal", "stored=f32[16x24]:out"], &["2*image[i]"]);
    request.workgroups = Some(["3", "2"].map(|n| Expression::parse(n).unwrap()).to_vec());
    right(&rows(&request, &[("a.wgsl", text)]).unwrap());
    // Bytes become parts of 255; the sampler may interpolate.
    request = self::request(
        &["image=rgba8unorm[16x24]:uniform", "taken=linear", "stored=f32[16x24]:out"],
        &["2*image[4*i]/255"],
    );
    request.workgroups = Some(["3", "2"].map(|n| Expression::parse(n).unwrap()).to_vec());
    right(&rows(&request, &[("a.wgsl", text)]).unwrap());
}

#[test]
fn halves_and_subgroups_work_or_are_refused_by_name() {
    let gpu = gpu();
    let texts = [
        (Features::SHADER_F16, "16-bit floats", "enable f16;
          @group(0) @binding(0) var<storage, read> x: array<f16>;
          @group(0) @binding(1) var<storage, read_write> y: array<f16>;
          @compute @workgroup_size(64) fn f(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = x[id.x] * 2h; }"),
        (Features::SUBGROUP, "operations of subgroups", "enable subgroups;
          @group(0) @binding(0) var<storage, read> x: array<u32>;
          @group(0) @binding(1) var<storage, read_write> y: array<u32>;
          @compute @workgroup_size(64) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
              y[id.x] = 2u * subgroupBroadcastFirst(x[0]) + 0u * subgroupAdd(x[id.x]); }"),
    ];
    for (feature, words, text) in texts {
        let request = match feature {
            Features::SHADER_F16 => request(&["x=f16[256]:normal", "y=f16[256]:out"], &["2*x[i]"]),
            _ => request(&["x=u32[256]:uniform(1, 9)", "y=u32[256]:out"], &["2*x[0]"]),
        };
        match gpu.device().features().contains(feature) {
            true => right(&rows(&request, &[("a.wgsl", text)]).unwrap()),
            false => assert!(refused(&request, text).contains(words)),
        }
    }
}

#[test]
fn points_that_a_device_has_no_room_for_are_left_out() {
    let text = "override WG: u32; @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(WG) fn f(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = id.x; }";
    let mut request = request(&["y=u32[65536]:out"], &["i"]);
    request.overrides = vec![Sweep::parse("WG=64,4096,1048576").unwrap()];
    let (jobs, notes) = plan_sources(&request, &sources(&[("a.wgsl", text)]), &gpu()).unwrap();
    assert_eq!((jobs.len(), notes.len()), (1, 2));
    assert!(notes[0].starts_with("a[WG=4096] is left out: its workgroups are of"), "{notes:?}");
    assert!(notes[1].starts_with("a[WG=1048576] is left out: "), "{notes:?}");
    request.overrides = vec![Sweep::parse("WG=4096").unwrap()];
    assert!(refused(&request, text).contains("4096 invocations, and this device allows"));
    request.overrides = vec![];
    assert!(refused(&request, text).contains("say --override NAME=VALUE"));
}

#[test]
fn what_cannot_be_benched_is_refused_with_what_would_do() {
    let two = "@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn f(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = x[id.x / 4u].x; }";
    for (operands, checks, part) in [
        (
            &["x=f32[64]"] as &[&str],
            &[] as &[&str],
            "binding y (@group(0) @binding(1)) is given nothing: say y=f32[4096]:normal",
        ),
        (&["x=f32[64]", "y=f32[64]", "z=f32[1]"], &[], "it binds no z; it binds x, y"),
        (
            &["x=f32[66]", "y=f32[64]"],
            &[],
            "operand x: f32[66] is 264 bytes, and the kernel's type takes a multiple of 16",
        ),
        (&["x=u32[64]", "y=f32[64]"], &[], "operand x: the kernel has f32 there, not u32"),
        (&["x=f32[64]:out", "y=f32[64]"], &[], "operand x: it is no output: the kernel only reads it"),
        (&["x=f32[64]", "y=f32[M]"], &[], "M has no value"),
        (&["x=f32[..]", "y=f32[64]"], &[], "operand x: the kernel leaves its length open"),
        (&["x=f32[1e12]", "y=f32[64]"], &[], "are more than the"),
        (&["x=f32[64]", "y=f32[64]:out"], &["z=1"], "check of z: it is no output; outputs are y"),
        (&["x=f32[64]", "y=1"], &[], "operand y: it is no number"),
        (&["x=f32[64]", "y=linear"], &[], "operand y: it is no number"),
        (&["x=/no/such.npy", "y=f32[64]"], &[], "/no/such.npy"),
    ] {
        let error = refused(&request(operands, checks), two);
        assert!(error.contains(part), "{operands:?}: {error}");
    }
    let mut request = request(&["x=f32[64]", "y=f32[64]"], &[]);
    request.overrides = vec![Sweep::parse("TILE=1,2").unwrap()];
    assert!(refused(&request, two).contains("it has no override TILE; there are none"));
    request.overrides = vec![];
    request.workgroups = Some(vec![Expression::parse("70000").unwrap()]);
    assert!(refused(&request, two).contains("70000 workgroups along one axis"));
    request.workgroups = Some(vec![Expression::parse("0").unwrap()]);
    assert!(refused(&request, two).contains("no number of them"));
}

#[test]
fn more_bindings_than_the_device_has_are_refused_with_both_numbers() {
    let small = GpuOptions { webgpu_limits: true, ..GpuOptions::from_env() };
    let small = Gpu::with(&small).unwrap();
    let most = small.device().limits().max_storage_buffers_per_shader_stage;
    let bindings: String = (0..=most)
        .map(|i| format!("@group(0) @binding({i}) var<storage, read_write> b{i}: array<f32>;"))
        .collect();
    let uses: String = (0..=most).map(|i| format!("b{i}[0] = 1.0;")).collect();
    let text = format!("{bindings} @compute @workgroup_size(1) fn f() {{ {uses} }}");
    let error =
        plan_sources(&request(&[], &[]), &sources(&[("a.wgsl", &text)]), &small).unwrap_err().to_string();
    let words = format!("it binds {} storage buffers, and this device allows {most}", most + 1);
    assert!(error.contains(&words), "{error}");
}

#[test]
fn the_matmuls_of_the_tutorial_are_right() {
    let texts = [
        ("matmul_1_single.wgsl", include_str!("../../wgsl/matmul_1_single.wgsl")),
        ("matmul_2_line.wgsl", include_str!("../../wgsl/matmul_2_line.wgsl")),
        ("matmul_3_square.wgsl", include_str!("../../wgsl/matmul_3_square.wgsl")),
        ("matmul_4_strip.wgsl", include_str!("../../wgsl/matmul_4_strip.wgsl")),
        ("matmul_5_unrolled.wgsl", include_str!("../../wgsl/matmul_5_unrolled.wgsl")),
    ];
    let operands = ["a=f32[MxK]:normal", "b=f32[KxN]:normal", "c=f32[MxN]:out"];
    let mut request = request(&operands, &["sum(k, K, a[i0*K + k]*b[k*N + i1])"]);
    request.overrides = ["M=40", "N=64", "K=24"].map(|text| Sweep::parse(text).unwrap()).to_vec();
    let grid = ["N/COLUMNS/wg.x", "M/ROWS/wg.y"].map(|text| Expression::parse(text).unwrap());
    request.workgroups = Some(grid.to_vec());
    let rows = rows(&request, &texts).unwrap();
    assert_eq!(rows.len(), texts.len());
    right(&rows);
}

#[test]
fn reduction_histogram_and_softmax_are_right() {
    let mut sums =
        request(&["x=f32[WG*PER*8]:normal", "sums=f32[8]:out"], &["sum(k, WG*PER, x[i*WG*PER + k])"]);
    sums.workgroups = Some(vec![Expression::parse("8").unwrap()]);
    right(&rows(&sums, &[("reduction.wgsl", include_str!("../../wgsl/reduction.wgsl"))]).unwrap());
    let mut counts =
        request(&["x=u32[256*PER*2]:uniform(0, 256)", "counts=u32[256]:out"], &["sum(k, x.len, x[k] == i)"]);
    counts.workgroups = Some(vec![Expression::parse("2").unwrap()]);
    counts.overrides = vec![Sweep::parse("PER=8").unwrap()];
    right(&rows(&counts, &[("histogram.wgsl", include_str!("../../wgsl/histogram.wgsl"))]).unwrap());
    let mut softmax = request(
        &["x=f32[4xCOLUMNS]:normal(0, 3)", "y=f32[4xCOLUMNS]:out"],
        &["exp(x[i])/sum(k, COLUMNS, exp(x[i0*COLUMNS + k]))"],
    );
    softmax.workgroups = Some(vec![Expression::parse("4").unwrap()]);
    right(&rows(&softmax, &[("softmax.wgsl", include_str!("../../wgsl/softmax.wgsl"))]).unwrap());
}
