//! Checkpoints whose files are in no folder: in memory, behind readers, or had from a callback.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use strix_engine::{Gpu, wgpu};
use strix_model::convert::{WriteOptions, convert, export};
use strix_model::{
    Dtype, Error, FileContent, Files, GenerateOptions, LoadOptions, Model, Result, Rounding, Source, Weights,
    nano_files, unwatched,
};
use strix_tests::golden::root;
use strix_tests::{gpu, prompt_ids};

/// Files by name.
type Map = HashMap<String, FileContent>;

fn options() -> LoadOptions {
    LoadOptions { ctx: Some(160), ..LoadOptions::default() }
}

fn load(source: Source<'_>) -> Result<Model> {
    Model::load_on(gpu(), source, &options(), &mut unwatched)
}

/// Logits of a few greedy steps after a picture and a question.
fn logits(model: &Model) -> Vec<Vec<f32>> {
    let c = model.config();
    let size = c.vision.image_size;
    let pixels: Vec<f32> =
        (0..c.vision.num_channels * size * size).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let mut session = model.session().unwrap();
    session.add_embeds(model.encode(&pixels).unwrap().into());
    session.inspect().greedy(&prompt_ids([1, 40, -200, 41, 42, 43]), 3).unwrap()
}

/// The files of a folder, each as `content` makes it of its path.
fn folder(dir: &Path, content: impl Fn(&Path) -> FileContent) -> Map {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), content(&path))).collect()
}

fn in_memory(path: &Path) -> FileContent {
    FileContent::from_bytes(fs::read(path).unwrap())
}

fn opened(path: &Path) -> FileContent {
    FileContent::from_reader(File::open(path).unwrap())
}

fn cursor(path: &Path) -> FileContent {
    FileContent::from_reader(Cursor::new(fs::read(path).unwrap()))
}

fn nano() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano"))
}

/// nano in several files, plain.
fn shards() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { shard_bytes: 1 << 20, ..WriteOptions::default() };
    export(nano(), &dir.path().join("out"), None, &options, &mut unwatched).unwrap();
    dir
}

#[track_caller]
fn says<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("it is refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn files_in_memory_and_behind_readers_answer_as_their_folder() {
    let want = logits(&load(Source::Dir(nano())).unwrap());
    for (name, content) in
        [("memory", in_memory as fn(&Path) -> FileContent), ("files", opened), ("cursors", cursor)]
    {
        let files = folder(nano(), content);
        let model = load(Source::Provided(&files)).unwrap();
        assert_eq!(logits(&model), want, "{name}");
        assert_eq!(model.tokenizer().unwrap().vocab_size(), 1024, "{name}");
        // What was provided is there for another model.
        assert_eq!(logits(&load(Source::Provided(&files)).unwrap()), want, "{name}, again");
    }

    let dir = shards();
    let out = dir.path().join("out");
    assert!(fs::read_dir(&out).unwrap().count() > 6, "it is in shards");
    let by_name = |name: &str| match File::open(out.join(name)) {
        Ok(file) => Ok(Some(FileContent::from_reader(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    assert_eq!(logits(&load(Source::Provided(&by_name)).unwrap()), want, "a callback, of shards");
}

/// Files of torch, one with a transposed matrix: their directories are read, and then a tensor at a time.
#[test]
fn torch_files_behind_readers_are_what_they_are_in_their_folder() {
    for set in ["tiny", "f16", "release"] {
        let dir = root().join(set).join("hf");
        let largest = Arc::new(AtomicUsize::new(0));
        let watched = |path: &Path| {
            let inner = Cursor::new(&*fs::read(path).unwrap().leak());
            FileContent::from_reader(Watched { inner, largest: largest.clone(), fails_at: None })
        };
        let (mine, want) = (Weights::provided(&folder(&dir, watched)).unwrap(), Weights::open(&dir).unwrap());
        assert!(mine.names().eq(want.names()), "{set}");
        let mut tensor = 0;
        for name in want.names() {
            let (mine, want) = (mine.get(name).unwrap(), want.get(name).unwrap());
            tensor = tensor.max(want.byte_len());
            assert!(mine.same(&want).unwrap(), "{set}: {name}");
            if mine.dtype.bitsize() <= 32 && mine.to_f32().is_ok() {
                assert_eq!(mine.to_f32().unwrap(), want.to_f32().unwrap(), "{set}: {name}");
            }
        }
        // The end of a zip file is looked for in its last 64 KiB.
        let (largest, most) = (largest.load(Ordering::Relaxed), tensor.max((64 << 10) + 41));
        assert!(largest <= most, "{set}: {largest} bytes at once, tensors have up to {tensor}");
    }
}

#[test]
fn a_model_of_torch_files_behind_readers_answers_as_its_folder() {
    let dir = root().join("release/hf");
    let files = folder(&dir, opened);
    let (mine, want) = (load(Source::Provided(&files)).unwrap(), load(Source::Dir(&dir)).unwrap());
    assert_eq!(logits(&mine), logits(&want));
}

/// nano, converted: its folder, and the least device memory, with which its layers take turns.
fn streamed() -> (tempfile::TempDir, PathBuf, u64) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let rounding = Rounding { dtype: Dtype::Int8 { group: None }, vision: true };
    convert(nano(), &out, rounding, &WriteOptions::default(), &mut unwatched).unwrap();
    let options = LoadOptions { device_memory: Some(1 << 20), ..options() };
    match Model::load_on(gpu(), Source::Dir(&out), &options, &mut unwatched) {
        Err(Error::DeviceMemory(short)) => (dir, out, short.needed_bytes),
        other => panic!("{other:?}"),
    }
}

/// Packed weights come to the device as they lie, and layers that take turns come again and again.
#[test]
fn a_converted_checkpoint_behind_readers_streams_as_its_folder() {
    let (_dir, out, least) = streamed();
    for device_memory in [None, Some(least)] {
        let load = |source: Source<'_>| {
            let options = LoadOptions { device_memory, ..options() };
            Model::load_on(gpu(), source, &options, &mut unwatched).unwrap()
        };
        let want = logits(&load(Source::Dir(&out)));
        for content in [in_memory as fn(&Path) -> FileContent, opened] {
            let model = load(Source::Provided(&folder(&out, content)));
            assert_eq!(model.memory().streams(), device_memory.is_some());
            assert_eq!(logits(&model), want, "{device_memory:?}");
        }
    }
}

/// A reader that notes the largest of its reads, and fails from a byte on.
struct Watched {
    inner: Cursor<&'static [u8]>,
    largest: Arc<AtomicUsize>,
    fails_at: Option<(u64, fn() -> io::Error)>,
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.largest.fetch_max(bytes.len(), Ordering::Relaxed);
        match self.fails_at {
            Some((at, error)) if self.inner.position() + bytes.len() as u64 > at => Err(error()),
            _ => self.inner.read(bytes),
        }
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn nano_file(name: &str) -> &'static [u8] {
    nano_files().into_iter().find(|(held, _)| *held == name).unwrap().1
}

/// nano with other weights.
fn with_weights(weights: impl Fn() -> Option<FileContent>) -> impl Files {
    move |name: &str| {
        Ok(match name {
            "model.safetensors" => weights(),
            _ => nano_files()
                .into_iter()
                .find(|(held, _)| *held == name)
                .map(|(_, bytes)| FileContent::from_bytes(bytes)),
        })
    }
}

#[test]
fn weights_behind_a_reader_are_read_tensor_by_tensor() {
    let largest = Arc::new(AtomicUsize::new(0));
    let files = with_weights(|| {
        let inner = Cursor::new(nano_file("model.safetensors"));
        Some(FileContent::from_reader(Watched { inner, largest: largest.clone(), fails_at: None }))
    });
    let model = load(Source::Provided(&files)).unwrap();
    let weights = Weights::open(nano()).unwrap();
    let tensor = weights.names().map(|name| weights.get(name).unwrap().byte_len()).max().unwrap();
    let largest = largest.load(Ordering::Relaxed);
    assert!(largest <= tensor && tensor < nano_file("model.safetensors").len() / 4, "{largest} of {tensor}");
    assert!(logits(&model).len() == 3);
}

#[test]
fn a_reader_that_fails_midway_is_an_error_with_its_name() {
    let len = nano_file("model.safetensors").len() as u64;
    for at in [3, 100, len / 2, len - 5] {
        let files = with_weights(|| {
            let inner = Cursor::new(nano_file("model.safetensors"));
            let fails_at: Option<(u64, fn() -> io::Error)> =
                Some((at, || io::Error::other("the card was pulled out")));
            Some(FileContent::from_reader(Watched { inner, largest: Arc::default(), fails_at }))
        });
        match load(Source::Provided(&files)) {
            Err(Error::Io { path, source }) => {
                assert_eq!(path, Path::new("model.safetensors"), "from byte {at}");
                assert_eq!(source.to_string(), "the card was pulled out");
            }
            other => panic!("from byte {at}: {other:?}"),
        }
    }
    let fails = |name: &str| match name {
        "tokenizer.model" => Err(io::Error::other("the server is away")),
        _ => Ok(nano_files().into_iter().find(|f| f.0 == name).map(|f| FileContent::from_bytes(f.1))),
    };
    says(load(Source::Provided(&fails)), &["tokenizer.model: the server is away"]);
}

/// A file whose reads fail while it is told to.
struct Failing {
    file: File,
    fails: Arc<AtomicBool>,
}

impl Read for Failing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the cable is out")),
            false => self.file.read(bytes),
        }
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The prompt of a run that failed must not be what the next one reads.
#[test]
fn after_a_read_that_fails_while_layers_take_turns_answers_are_right_again() {
    let (_dir, out, least) = streamed();
    let fails = Arc::new(AtomicBool::new(false));
    let content = |path: &Path| {
        FileContent::from_reader(Failing { file: File::open(path).unwrap(), fails: fails.clone() })
    };
    let options = LoadOptions { device_memory: Some(least), ..options() };
    let files = folder(&out, content);
    let model = Model::load_on(gpu(), Source::Provided(&files), &options, &mut unwatched).unwrap();
    assert!(model.memory().streams());
    let ask = |question: &str| {
        let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
        model.session()?.ask(question, &options)?.finish().map(|answer| answer.ids)
    };
    let want = ask("What is 3 + 4?").unwrap();
    fails.store(true, Ordering::Relaxed);
    says(ask("What are the seven colors of the rainbow?"), &["the cable is out"]);
    says(ask("Hello!"), &["the cable is out"]);
    fails.store(false, Ordering::Relaxed);
    assert_eq!(ask("What is 3 + 4?").unwrap(), want);
}

#[test]
fn a_provided_file_that_is_cut_says_so() {
    let whole = nano_file("model.safetensors");
    let cut = &whole[..whole.len() - 8];
    let words = [
        "model.safetensors: holds ",
        &cut.len().to_string(),
        "its header describes",
        &whole.len().to_string(),
    ];
    says(load(Source::Provided(&with_weights(|| Some(FileContent::from_bytes(cut))))), &words);
    says(load(Source::Provided(&with_weights(|| Some(FileContent::from_reader(Cursor::new(cut)))))), &words);

    // It was whole when it was opened.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights");
    fs::write(&path, whole).unwrap();
    let files = with_weights(|| Some(opened(&path)));
    let mut is_cut = false;
    let loaded = Model::load_on(gpu(), Source::Provided(&files), &options(), &mut |_| {
        if !std::mem::replace(&mut is_cut, true) {
            File::options().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
        }
        ControlFlow::Continue(())
    });
    says(
        loaded,
        &["model.safetensors: ends before byte", &format!("had {} when it was opened", whole.len())],
    );
}

#[test]
fn a_file_that_is_not_provided_is_named() {
    let without = |missing: &'static str| {
        move |name: &str| {
            let held = nano_files().into_iter().find(|(held, _)| *held == name && name != missing);
            Ok(held.map(|(_, bytes)| FileContent::from_bytes(bytes)))
        }
    };
    says(load(Source::Provided(&without("config.json"))), &["config.json: is not among the files"]);
    says(
        load(Source::Provided(&without("model.safetensors"))),
        &["model.safetensors: is not among the files", "model.safetensors.index.json", "pytorch_model.bin"],
    );
    let model = load(Source::Provided(&without("tokenizer.model"))).unwrap();
    assert!(matches!(model.tokenizer(), Err(Error::NoTokenizer)));

    let dir = shards();
    let mut files = folder(&dir.path().join("out"), in_memory);
    let shard = files.keys().filter(|name| name.contains("-of-")).min().unwrap().clone();
    files.remove(&shard);
    says(
        load(Source::Provided(&files)),
        &[&format!("{shard}: is not among the files"), "model.safetensors.index.json names it"],
    );
    files.insert("config.json".into(), FileContent::from_bytes(b"<!DOCTYPE html><title>404</title>"));
    says(load(Source::Provided(&files)), &["config.json: is a page of HTML"]);
    files.insert("config.json".into(), FileContent::from_bytes(br#"{"model_type": "qwen2_vl"}"#));
    says(load(Source::Provided(&files)), &["config.json: is the config of another model, Qwen2-VL"]);
}

/// Live objects by wgpu's own count, and bytes of buffers.
fn alive(gpu: &Gpu) -> [isize; 6] {
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let hal = gpu.device().get_internal_counters().hal;
    [
        hal.buffers.read(),
        hal.bind_groups.read(),
        hal.compute_pipelines.read(),
        hal.shader_modules.read(),
        hal.textures.read(),
        hal.buffer_memory.read(),
    ]
}

/// Whatever becomes of a model, nothing of it stays: on the device, and of what was provided.
#[test]
fn models_from_memory_that_are_dropped_leave_nothing() {
    let gpu = Gpu::new().unwrap();
    let bytes: Arc<Vec<u8>> = Arc::new(nano_file("model.safetensors").to_vec());
    struct Held(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let from_bytes = with_weights(|| Some(FileContent::from_bytes(Held(bytes.clone()))));
    let from_reader = with_weights(|| Some(FileContent::from_reader(Cursor::new(Held(bytes.clone())))));
    let load = |files: &dyn Files| Model::load_on(&gpu, Source::Provided(files), &options(), &mut unwatched);
    let mut first = None;
    for round in 0..6 {
        let files: &dyn Files = if round % 2 == 0 { &from_bytes } else { &from_reader };
        let model = load(files).unwrap();
        let mut session = model.session().unwrap();
        let answer = session.ask("What is 3 + 4?", &Default::default()).unwrap().finish().unwrap();
        assert_eq!(answer.text, "7");
        drop((model, session));
        let broken_off = Model::load_on(&gpu, Source::Provided(files), &options(), &mut |progress| {
            let is_late = progress.done_bytes * 2 > progress.total_bytes;
            if is_late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(broken_off, Err(Error::Interrupted)));
        assert_eq!(Arc::strong_count(&bytes), 1, "round {round}: the weights are held");
        let now = alive(&gpu);
        assert!(now[0] > 0, "wgpu counts nothing: {now:?}");
        assert_eq!(now, *first.get_or_insert(now), "round {round}");
    }
}
