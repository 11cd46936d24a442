//! What is kept of a device between processes: choices and pipelines. A file that cannot be used is as good as none.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strix_engine::{Gpu, GpuOptions, Program};
use strix_model::cache::{Chosen, DeviceCache, Measured, Tuning};
use strix_model::tune::{Progress, tune};
use strix_model::{Config, LoadOptions, Model, Source, unwatched};
use strix_tests::gpu;

/// A device of its own: choices and pipelines are the device's.
fn own_gpu() -> Gpu {
    Gpu::with(&GpuOptions::from_env()).expect("an adapter")
}

fn pairs(way: &[(&str, &str)]) -> Vec<(String, String)> {
    way.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// Two measurements, and a choice that is not the default where the device has subgroups.
fn tuning() -> Tuning {
    let (kernel, situation, way) = ("gemm", "f32 rows=one", pairs(&[("family", "plain")]));
    let measured = |result| Measured {
        kernel: kernel.into(),
        situation: situation.into(),
        way: way.clone(),
        subject: "gemm f32 rows=one 64x64".into(),
        result,
    };
    Tuning {
        measured: vec![measured(Ok(1250.5)), measured(Err("it is wrong".into()))],
        chosen: vec![Chosen { kernel: kernel.into(), situation: situation.into(), way: way.clone() }],
    }
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None, "and nothing half written beside it");
    file
}

/// An app tunes by the library alone: each run goes on where the one before ended.
#[test]
fn an_app_tunes_a_little_at_a_time() {
    let gpu = own_gpu();
    if gpu.target().forced {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = DeviceCache::new(dir.path());
    for run in 0..2 {
        // One is measured, whatever the budget.
        let mut go_on = |_: &Progress| ControlFlow::Continue(());
        let outcome = tune(&gpu, &cache, &Config::nano(), Duration::ZERO, &mut go_on).unwrap();
        assert_eq!((outcome.measured, outcome.tuning.measured.len()), (1, run + 1));
        assert_eq!(cache.tuning(&gpu), outcome.tuning);
        assert!(outcome.left > 1 && !outcome.interrupted, "{outcome:?}");
    }
}

#[test]
fn a_tuning_is_read_as_it_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DeviceCache::new(dir.path());
    assert!(cache.is_new(gpu()));
    assert_eq!(cache.tuning(gpu()), Tuning::default());
    for _ in 0..2 {
        cache.store_tuning(gpu(), &tuning()).unwrap();
        assert_eq!(cache.tuning(gpu()), tuning());
        only_file(&cache.folder(gpu()));
    }
    assert!(!cache.is_new(gpu()));
    cache.clear(gpu()).unwrap();
    cache.clear(gpu()).unwrap();
    assert!(cache.is_new(gpu()));
}

#[test]
fn a_tuning_that_cannot_be_used_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DeviceCache::new(dir.path());
    cache.store_tuning(gpu(), &tuning()).unwrap();
    let path = only_file(&cache.folder(gpu()));
    let text = fs::read_to_string(&path).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to).into_bytes()
    };
    let bad = [
        ("nothing", vec![]),
        ("half of it", text.as_bytes()[..text.len() / 2].to_vec()),
        ("no JSON", b"\x00\xff\x13".to_vec()),
        ("other JSON", b"[1, 2]".to_vec()),
        ("another form", replaced("\"format\": 1", "\"format\": 2")),
        ("another device", replaced("\"adapter\": \"", "\"adapter\": \"another ")),
        ("another driver", replaced("\"driver_version\": \"", "\"driver_version\": \"1")),
        ("another engine", replaced("\"engine\": \"", "\"engine\": \"1")),
        ("another naga", replaced("\"naga\": \"", "\"naga\": \"1")),
        ("other kernels", replaced("\"kernels\": \"", "\"kernels\": \"1")),
        ("a time that is none", replaced("1250.5", "-1.0")),
    ];
    for (what, bytes) in bad {
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.tuning(gpu()), Tuning::default(), "{what}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(cache.tuning(gpu()), Tuning::default(), "a folder");
    fs::write(path.with_extension("tmp"), b"of a process that was killed").unwrap();
    fs::remove_dir(&path).unwrap();
    cache.store_tuning(gpu(), &tuning()).unwrap();
    assert_eq!(cache.tuning(gpu()), tuning(), "and is replaced by the next");
}

#[test]
fn pipelines_are_taken_back_by_their_device_and_by_no_other() {
    let gpu = own_gpu();
    let Some(data) = gpu.pipeline_data() else {
        println!("{} keeps no pipelines: nothing to restore", gpu.name());
        assert!(gpu.restore_pipelines(&[0; 64]).is_err());
        return;
    };
    own_gpu().restore_pipelines(&data).unwrap();
    let flipped = |at: usize| {
        let mut bytes = data.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (what, bytes) in [
        ("nothing", vec![]),
        ("no header", data[..20].to_vec()),
        ("another magic", flipped(0)),
        ("another version", flipped(7)),
        ("another sum", flipped(8)),
        ("a damaged end", flipped(data.len() - 1)),
        ("half of it", data[..data.len() - 1].to_vec()),
        ("more than it", [data.as_slice(), &[0]].concat()),
    ] {
        assert!(gpu.restore_pipelines(&bytes).is_err(), "{what}");
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = DeviceCache::new(dir.path());
    assert!(cache.store_pipelines(&gpu).unwrap());
    assert!(cache.restore(&gpu).pipelines);
    fs::write(only_file(&cache.folder(&gpu)), b"strixpl").unwrap();
    assert!(!cache.restore(&gpu).pipelines);
}

#[test]
fn kernels_compiled_ahead_are_not_compiled_again() {
    let gpu = own_gpu();
    let model = Model::load_on(&gpu, Source::Nano, &LoadOptions::default(), &mut unwatched).unwrap();
    let ahead = gpu.created().pipelines;
    assert!(ahead > 0);
    let mut session = model.session().unwrap();
    let sample = strix_tests::nano::samples().remove(0);
    sample.run(&mut session, &strix_model::GenerateOptions::default());
    assert_eq!(gpu.created().pipelines, ahead);
}

#[test]
fn compiling_ahead_can_be_given_up() {
    let gpu = own_gpu();
    let mut g = strix_engine::Graph::new(gpu.target());
    let x = g.input::<f32, 2>("x", [4, 64]);
    let index = g.input("index", [2]);
    let y = strix_shaders::take_rows(&mut g, "y", x, index);
    let y = g.output(y);
    drop(gpu.compile_ahead(g.steps().iter().map(|step| step.shader.clone())));
    let mut program = Program::compile(&gpu, g).unwrap();
    program.write(x, &(0..256).map(|i| i as f32).collect::<Vec<_>>());
    program.write(index, &[3, 1]);
    program.run(&[y.id()]).unwrap();
    assert_eq!(program.read(y).unwrap()[..2], [192.0, 193.0]);
}

#[test]
fn a_model_uses_the_choices_of_its_cache() {
    if gpu().target().subgroup.is_none() {
        println!("without subgroups there is one way only");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let decode_kernels = |cached: bool, stored: bool| {
        let gpu = own_gpu();
        let cache_dir = cached.then(|| dir.path().to_owned());
        if stored {
            DeviceCache::new(dir.path()).store_tuning(&gpu, &tuning()).unwrap();
        }
        let options = LoadOptions { cache_dir, dtype: strix_model::Dtype::F32, ..LoadOptions::default() };
        let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched).unwrap();
        let steps = model.session().unwrap().inspect().profile().unwrap();
        steps.into_iter().map(|s| s.kernel).filter(|k| k.starts_with("gemm[")).collect::<Vec<_>>()
    };
    let plain = |kernels: &[String]| kernels.iter().filter(|k| k.contains("lanes=plain")).count();
    let untuned = decode_kernels(true, false);
    assert_eq!(plain(&untuned), 0, "{untuned:?}");
    let tuned = decode_kernels(true, true);
    assert_eq!(plain(&tuned), tuned.len(), "{tuned:?}");
    assert_eq!(decode_kernels(false, false), untuned, "without a cache nothing is read");
}
