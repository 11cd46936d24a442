//! No device here has cooperative matrices, so their operations are written out: what is left of the kernel, its tiles,
//! addresses and epilogue, runs on any device.

use std::sync::Arc;

use strix_engine::{Access, Arg, Graph, Resident, Shader, Step};
use strix_shaders::gemm::Activation;
use strix_shaders::gemm_coop::{self, Params};
use strix_shaders::generated::variants::{Matrix, Weights, X};
use strix_shaders::{Format, Layout, Routing, Variants as _};
use strix_tests::{assert_close, gpu, run_for, uniform};

use crate::gemm::{Case, layout};

/// What the operations on matrices of f32, 8 by 8, are by definition. A matrix to multiply is where it begins in its tile;
/// of one of sums each of LANES threads has a number or two.
const MATRICES: &str = "
    var<private> lane: u32;
    fn product(a: u32, b: u32, number: u32) -> f32 {
        var sum = 0.0;
        for (var k = 0u; k < 8u; k++) {
            sum += x_tile[a + number / 8u * STRIDE + k] * w_tile[b + number % 8u * STRIDE + k];
        }
        return sum;
    }
    fn multiply_add(a: u32, b: u32, c: vec2<f32>) -> vec2<f32> {
        return c + vec2(product(a, b, lane), product(a, b, (lane + LANES) % 64u));
    }
    fn put_sums(sums: vec2<f32>, at: u32) {
        y_tile[at + lane / 8u * ACROSS + lane % 8u] = sums.x;
        if LANES < 64u {
            y_tile[at + (lane + LANES) / 8u * ACROSS + lane % 8u] = sums.y;
        }
    }";

/// The kernel's text with every operation on matrices written out, for subgroups of so many lanes.
fn written_out(wgsl: &str, lanes: u32) -> String {
    let mut text = format!("const LANES = {lanes}u;\n");
    for line in wgsl.lines().filter(|line| !line.starts_with("enable ")) {
        let code = line.trim();
        if code.starts_with("alias ") && code.contains("coop_mat8x8") {
            let name = code.split_whitespace().nth(1).expect("a name");
            text += &format!("alias {name} = {};\n", if name == "Sums" { "vec2<f32>" } else { "u32" });
        } else if let Some(call) = code.strip_prefix("coopStoreT(") {
            let (sums, rest) = call.split_once(", &y_tile[").expect("a tile");
            let at = rest.strip_suffix("], ACROSS);").expect("its stride");
            text += &format!("put_sums({sums}, {at});\n");
        } else if code.contains("coopLoad") {
            let code =
                code.replace("coopLoadT<Left>(&x_tile[", "u32(").replace("coopLoad<Right>(&w_tile[", "u32(");
            text += &code.replace("], STRIDE);", ");");
            text.push('\n');
        } else if code.starts_with("@builtin(subgroup_id)") || code.starts_with("@builtin(num_subgroups)") {
            continue;
        } else {
            text += &line.replace("coopMultiplyAdd(", "multiply_add(");
            text.push('\n');
            if code.starts_with("let tile = tile_of(") {
                text += "let subgroup = thread / LANES;\nlane = thread % LANES;\n";
                text += "let subgroups = THREADS / LANES;\n";
            }
        }
    }
    let left = ["coop_mat", "coopLoad", "coopStore", "coopMultiply"].map(|word| text.contains(word));
    assert_eq!(left, [false; 4], "{text}");
    text + MATRICES
}

/// Of the kernel that expects subgroups of `expected` lanes, on a device whose subgroups have `lanes`.
fn check(case: &Case, expected: u32, lanes: u32) {
    let Layout { n, k, sets, format, .. } = case.layout;
    let rows = case.modality.len() as u32;
    let (x, residual) = (uniform(9, (rows * k) as usize), uniform(10, (rows * n) as usize));
    let w = case.upload(gpu(), None);
    let [strip] = &w.strips[..] else { panic!("one strip") };
    let adds = case.activation == Activation::None;
    let variants = gemm_coop::Variants {
        weights: match format {
            Format::F32 => Weights::F32,
            Format::Bf16 => Weights::Bf16,
            Format::Int8 { group: None } => Weights::Int8,
            Format::Int8 { .. } => Weights::Int8Group,
        },
        matrix: Matrix::F32x8,
        lanes: expected,
        x: match k {
            k if k.is_multiple_of(32) => X::Whole,
            k if k.is_multiple_of(4) => X::Vec4,
            _ => X::Scalar,
        },
        bias: true,
        residual: adds,
    };
    let shader = &variants.specialisation().shader;
    let shader = Arc::new(Shader {
        name: shader.name,
        label: format!("{} written out", shader.label),
        variants: shader.variants.clone(),
        wgsl: written_out(&shader.wgsl, lanes).into(),
        bindings: shader.bindings.clone(),
    });
    let params = Params {
        k,
        n,
        stride: n,
        blocks: case.layout.blocks(),
        sets,
        group_steps: if let Format::Int8 { group: Some(group) } = format { group / 32 } else { 0 },
        activation: case.activation as u32,
        ..Params::default()
    };
    let record = |g: &mut Graph| {
        let x = g.bind(&Resident::from_slice("x", [rows, k], &x));
        let routing = g.bind(&Resident::from_slice("routing", [rows + 2], &Routing::of(&case.modality)));
        let residual = g.bind(&Resident::from_slice("residual", [rows, n], &residual));
        let (weight, scale) = (g.bind(&strip.weight), strip.scale.as_ref().map(|scale| g.bind(scale).id()));
        let bias = g.bind(strip.bias.as_ref().expect("a bias"));
        let y = g.activation::<f32, 2>("y", [rows, n]);
        let residual = adds.then_some(residual.id());
        let read = [Some(x.id()), Some(routing.id()), Some(weight.id()), scale, Some(bias.id()), residual];
        let read = read.into_iter().flatten();
        let mut args: Vec<_> = read.map(|id| Arg { id, access: Access::Read }).collect();
        args.push(Arg { id: y.id(), access: Access::ReadWrite });
        let groups = [rows.div_ceil(64) + sets - 1, case.layout.packed_rows().div_ceil(64), 1];
        let params = bytemuck::bytes_of(&params).to_vec();
        let trips = strix_engine::MAX_TRIPS;
        g.push(Step {
            label: String::new(),
            shader: shader.clone(),
            params,
            args,
            groups,
            trips,
            reference: None,
        });
        y
    };
    let got = run_for(gpu(), gpu().target(), record, |_| ());
    let what = format!("{rows} rows, {:?}, {lanes} lanes where {expected} are expected", case.layout);
    assert_close(&what, &got, &case.expected(&x, &residual), 1e-5);
}

#[test]
fn gemm_coop_matches_unpacked_weights_where_its_matrices_are_written_out() {
    // No device of OpenGL has such matrices, and its software driver compiles this for minutes.
    if gpu().info().backend == strix_engine::wgpu::Backend::Gl {
        return;
    }
    let formats = [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }];
    for format in formats {
        check(&Case::new(layout(100, 72, format), &[0; 70], Activation::None, true), 32, 32);
    }
    check(&Case::new(layout(64, 96, formats[2]), &[0; 33], Activation::None, true), 64, 64);
    let modality: Vec<u32> = (0..75).map(|r| u32::from(r % 3 == 1)).collect();
    let split = Layout { sets: 2, ..layout(40, 33, formats[2]) };
    check(&Case::new(split, &modality, Activation::None, true), 32, 32);
    let gated = Layout { gated: true, ..layout(92, 44, formats[3]) };
    check(&Case::new(gated, &[0; 9], Activation::SwiGlu, false), 64, 64);
}

#[test]
fn gemm_coop_is_right_whatever_a_device_says_of_its_subgroups() {
    if gpu().info().backend == strix_engine::wgpu::Backend::Gl {
        return;
    }
    let case = Case::new(layout(100, 72, Format::Int8 { group: None }), &[0; 70], Activation::None, true);
    // Half as many as there are parts, and twice as many.
    check(&case, 32, 64);
    check(&case, 64, 32);
}
