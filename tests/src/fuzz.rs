//! What the fuzz targets do with bytes that anyone may have written: all that a program does with such a file. Only
//! panics are faults; `tests/fuzz` runs these with a fuzzer, and the tests with what it found.

use strix_engine::Target as Limits;
use strix_model::image::{self, Exif, Preprocess};
use strix_model::tokenizer::Tokenizer;
use strix_model::{Activations, Config, Dtype, KvDtype, LoadOptions, Room, Weights, config};

/// A target by name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 13] = [
    ("safetensors", safetensors),
    ("torch_bin", torch_bin),
    ("tokenizer_model", tokenizer_model),
    ("config_json", config_json),
    ("plan", plan),
    ("tokenizer_json", tokenizer_json),
    ("image", picture),
    ("jpeg", jpeg),
    ("png", png),
    ("gif", gif),
    ("webp", webp),
    ("tiff", tiff),
    ("bmp", bmp),
];

/// A safetensors file; what begins with `{` is a header, to which length and data are added.
pub fn safetensors(bytes: &[u8]) {
    let file = match bytes.first() {
        Some(b'{') => [&(bytes.len() as u64).to_le_bytes(), bytes, &[60; 64]].concat(),
        _ => bytes.to_vec(),
    };
    checkpoint(file);
}

/// A file of `torch.save`; what does not begin like one is a pickle, around which a file of a storage `0` is made.
pub fn torch_bin(bytes: &[u8]) {
    let whole = bytes.starts_with(b"PK");
    checkpoint(if whole { bytes.to_vec() } else { zip(&[("t/data.pkl", bytes), ("t/data/0", &[60; 64])]) });
}

/// A SentencePiece model.
pub fn tokenizer_model(bytes: &[u8]) {
    tokenizer(bytes, Tokenizer::from_sentencepiece);
}

/// A `tokenizer.json`.
pub fn tokenizer_json(bytes: &[u8]) {
    tokenizer(bytes, Tokenizer::from_json);
}

fn tokenizer(bytes: &[u8], read: fn(&[u8], bool) -> strix_model::Result<Tokenizer>) {
    for legacy in [true, false] {
        let Ok(tokenizer) = read(bytes, legacy) else { return };
        for text in
            ["", "A cat, 2 dogs\u{301}\n\0 \u{10ffff}", "<s>USER: <|image|>  Hi</s> <unk>", "aaaaaaaaaaaa"]
        {
            let ids = tokenizer.encode(text, legacy);
            tokenizer.decode(&ids, !legacy);
            tokenizer.encode_prompt(text);
        }
        let mut stream = tokenizer.decode_stream();
        for id in (0..400).chain([u32::MAX]) {
            stream.push(id);
        }
        stream.finish();
    }
}

/// A `config.json`.
pub fn config_json(bytes: &[u8]) {
    let Ok(config) = Config::from_json(bytes) else { return };
    assert_eq!(config.parameters_by_part().iter().map(|(_, n)| n).sum::<u64>(), config.num_parameters());
    let _ =
        (config.num_image_tokens(), config.text.head_dim(), config.text.kv_dim(), config.vision.num_tokens());
}

/// A `config.json` that is planned. What does not begin with `{` is a list of changes to the smallest preset: a byte for
/// the key, eight for its number. Configs of many layers are left alone: they are allowed to cost time.
pub fn plan(bytes: &[u8]) {
    let json = if bytes.starts_with(b"{") { bytes.to_vec() } else { changed(bytes) };
    let Ok(config) = Config::from_json(&json) else { return };
    let layers =
        [config.text.num_hidden_layers, config.vision.num_hidden_layers, config.abstractor.num_hidden_layers];
    if layers.iter().sum::<usize>() > 64 {
        return;
    }
    let ctx = Some(config.text.max_position_embeddings.min(1 << 20) as u32);
    let plain = LoadOptions { ctx, ..LoadOptions::default() };
    let int8 = LoadOptions {
        dtype: Dtype::Int8 { group: Some(32) },
        activations: Activations::Int8,
        int8_vision: true,
        kv: KvDtype::F16,
        ..plain.clone()
    };
    let large = Limits { max_binding_bytes: 1 << 31, subgroup: Some(32), ..Limits::default() };
    for (target, options) in [(Limits::default(), plain), (large, int8)] {
        let Ok(report) = strix_model::plan(&config, &options, &target, None, Room::default()) else {
            continue;
        };
        assert!(report.memory.device_bytes() >= report.kv_cache_bytes);
    }
}

/// The smallest preset with numbers of its config replaced.
fn changed(bytes: &[u8]) -> Vec<u8> {
    const SECTIONS: [&str; 3] = ["", "/visual_config/visual_model", "/visual_config/visual_abstractor"];
    let preset = strix_model::convert::preset("8m").expect("a preset");
    let mut config: serde_json::Value = serde_json::from_str(preset).expect("a config");
    for change in bytes.chunks_exact(9) {
        let (at, number) =
            (usize::from(change[0]), u64::from_le_bytes(change[1..].try_into().expect("eight")));
        let section = config.pointer_mut(SECTIONS[at % 3]).and_then(serde_json::Value::as_object_mut);
        let mut numbers: Vec<_> =
            section.into_iter().flatten().map(|(_, value)| value).filter(|value| value.is_number()).collect();
        let len = numbers.len();
        *numbers[at / 3 % len] = number.into();
    }
    config.to_string().into_bytes()
}

/// A picture of one format: behind its magic number anything may follow. A panic of its decoder, which is only an error
/// to a program, is printed.
fn of_format(magic: &[u8], bytes: &[u8]) {
    let mut file = magic.to_vec();
    file.extend(bytes.get(magic.len()..).unwrap_or_default());
    let before = image::num_decoder_panics();
    picture(&file);
    if image::num_decoder_panics() > before {
        let error = image::decode("picture", &file, Exif::Ignore).map(drop);
        eprintln!("decoder panic {}: {error:?}", image::num_decoder_panics());
    }
}

/// A JPEG.
pub fn jpeg(bytes: &[u8]) {
    of_format(b"\xff\xd8\xff", bytes);
}

/// A PNG, still or animated.
pub fn png(bytes: &[u8]) {
    of_format(b"\x89PNG\r\n\x1a\n", bytes);
}

/// A GIF.
pub fn gif(bytes: &[u8]) {
    of_format(b"GIF89a", bytes);
}

/// A WebP, still or animated.
pub fn webp(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    if file.len() >= 12 {
        file[8..12].copy_from_slice(b"WEBP");
    }
    of_format(b"RIFF", &file);
}

/// A TIFF, of either byte order.
pub fn tiff(bytes: &[u8]) {
    let big = bytes.starts_with(b"MM");
    of_format(if big { b"MM" } else { b"II" }, bytes);
}

/// A BMP.
pub fn bmp(bytes: &[u8]) {
    of_format(b"BM", bytes);
}

/// A picture or an animation. Those with a side above 1024 are only decoded: they are allowed to cost memory and, made
/// square, time.
pub fn picture(bytes: &[u8]) {
    let small = |(width, height): (u32, u32)| width.max(height) <= 1024;
    let config = config::PreprocessorConfig::new(28);
    for exif in [Exif::Ignore, Exif::Honour] {
        let Ok(picture) = image::decode("picture", bytes, exif) else { break };
        if !small(picture.dimensions()) {
            break;
        }
        for mode in [Preprocess::Resize, Preprocess::Pad, Preprocess::Crop] {
            let _ = image::preprocess(&picture, mode, &config);
        }
    }
    let options = image::Options::default();
    if let Ok(frames) = image::frames("picture", bytes, &options)
        && small(frames.size())
    {
        frames.take(4).for_each(drop);
        let _ = image::sample("picture", bytes, 2, &options);
    }
}

fn checkpoint(file: Vec<u8>) {
    let Ok(weights) = Weights::from_bytes(file) else { return };
    let _ = weights.check(&Config::from_json(b"{}").expect("the defaults"));
    for name in weights.names() {
        let view = weights.get(name).expect("it is listed");
        // Repeated elements may be many, of few bytes.
        if view.num_elements() > 1 << 20 {
            continue;
        }
        let mut rows = vec![];
        let _ = (view.to_f32(), view.first_non_finite(), view.rows_f32(0..view.num_rows(), &mut rows));
        if view.dtype.bitsize().is_multiple_of(8) {
            let mut bytes = vec![0; view.byte_len()];
            view.read_bytes(0, &mut bytes).expect("it is in memory");
            assert!(view.contiguous().is_none_or(|stored| stored == bytes));
        }
        assert!(view.same(&view).expect("it is in memory"));
        let shared = weights.shared(name).map(|(file, range)| (*file).as_ref()[range].len());
        assert_eq!(shared, view.contiguous().map(<[u8]>::len));
    }
}

/// A zip file of stored entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut central) = (vec![], vec![]);
    for (name, bytes) in entries {
        let at = (file.len() as u32).to_le_bytes();
        let len = (bytes.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        file.extend(
            [b"PK\x03\x04", &[0; 14][..], &len, &len, &name_len, &[0; 2], name.as_bytes(), bytes].concat(),
        );
        central.extend(
            [b"PK\x01\x02", &[0; 16][..], &len, &len, &name_len, &[0; 12], &at, name.as_bytes()].concat(),
        );
    }
    let (start, len) = ((file.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(central);
    file.extend([b"PK\x05\x06", &[0; 4][..], &count, &count, &len, &start, &[0; 2]].concat());
    file
}
