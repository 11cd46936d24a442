//! What a device says of its subgroups' size is not trusted by the kernels that GPUs get.

use strix_engine::{Family, Graph, Resident, Target};
use strix_model::{Config, LoadOptions};
use strix_shaders::{layer_norm, rms_norm};
use strix_tests::{assert_close, constant, gpu, run_for, uniform};

/// GPUs that say nothing of one size, as RDNA, Adreno, Intel and Metal do, or what is not true of the device at hand.
fn claims() -> [Target; 4] {
    [None, Some(4), Some(32), Some(64)].map(|subgroup| Target {
        subgroup,
        subgroups: true,
        is_cpu: false,
        family: Family::Tiled,
        forced: false,
        ..gpu().target()
    })
}

#[test]
fn norms_are_right_whatever_a_device_says_of_its_subgroups() {
    if !gpu().device().features().contains(strix_engine::wgpu::Features::SUBGROUP) {
        println!("{} has no subgroups", gpu().name());
        return;
    }
    assert!(gpu().target().subgroups, "subgroups of a device that has them may be used");
    for (rows, dim) in [(2, 4096), (3, 1000), (2, 33), (1, 1)] {
        let x = uniform(1, (rows * dim) as usize);
        let (gain, bias) = (uniform(2, dim as usize), uniform(3, dim as usize));
        let [mut rms, mut layer] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        rms_norm::reference(&rms_norm::Params { rows, dim, eps: 1e-5 }, &x, &gain, &[], &[], &mut rms);
        let p = layer_norm::Params { rows, dim, first_row: 0, eps: 1e-5 };
        layer_norm::reference(&p, &x, &gain, &bias, &mut layer);
        let bias = Resident::from_slice("bias", [dim], &bias);
        for target in claims() {
            let what = format!("{rows}x{dim}, said to have {:?}", target.subgroup);
            let record = |g: &mut Graph| {
                let (x, gain) = (constant(g, [rows, dim], &x), Resident::from_slice("gain", [1, dim], &gain));
                let y = strix_shaders::rms_norm(g, "y", x, &gain, None, 1e-5);
                assert!(g.steps()[0].shader.label.contains("lanes=team"), "{}", g.steps()[0].shader.label);
                y
            };
            assert_close(&what, &run_for(gpu(), target.clone(), record, |_| ()), &rms, 1e-5);
            let record = |g: &mut Graph| {
                let (x, gain) = (constant(g, [rows, dim], &x), Resident::from_slice("gain", [dim], &gain));
                strix_shaders::layer_norm(g, "y", x, &gain, &bias, 1e-5)
            };
            assert_close(&what, &run_for(gpu(), target, record, |_| ()), &layer, 5e-6);
        }
    }
}

#[test]
fn no_kernel_of_a_gpu_is_made_for_one_size_of_subgroup() {
    let config = Config::from_json(b"{}").unwrap();
    for target in claims() {
        for shader in strix_model::shaders(&config, &LoadOptions::default(), &target).unwrap() {
            let fixed =
                ["lanes=8", "lanes=16", "lanes=32", "lanes=64"].iter().any(|l| shader.label.contains(l));
            assert!(!fixed, "{} where subgroups are said to have {:?}", shader.label, target.subgroup);
        }
    }
}
