//! The program as its user meets it: what it prints where, and its exit codes.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use common::{output, prints, strix};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples");
const CMYK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/decode/cmyk_32x24.jpg");

/// Its one line of error, once it has ended with code 2 and an empty stdout.
#[track_caller]
fn refuses(args: &[&str]) -> String {
    let out = output(args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(out.stdout.is_empty(), "{args:?}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {stderr}");
    errors[0].to_owned()
}

fn sample(name: &str) -> String {
    format!("{SAMPLES}/{name}")
}

/// A file of this test run.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    path
}

/// A PNG that ends after its header.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for &byte in &chunk {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", chunk.as_slice(), &(!crc).to_be_bytes()].concat()
}

#[test]
fn help_documents_exit_codes_and_examples() {
    let help = prints(&["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("130  interrupted"), "{help}");
    for command in [
        "ask",
        "bench",
        "demo",
        "devices",
        "plan",
        "convert",
        "verify",
        "inspect",
        "export",
        "synth",
        "completions",
        "tune",
        "shader",
        "isa",
    ] {
        assert!(help.contains(command), "{help}");
        assert!(prints(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    assert!(prints(&["--version"]).starts_with("strix "));
}

#[test]
fn wrong_arguments_are_refused() {
    for args in [
        &["dance"] as &[&str],
        &["ask"],
        &["ask", "--dtype", "f8", "hi"],
        &["ask", "--frames", "4", "hi"],
        &["ask", "--max-tokens", "many", "hi"],
        &["ask", "--group", "64", "hi"],
        &["ask", "--temperature", "-1", "hi"],
        &["ask", "--temperature=-1", "hi"],
        &["ask", "--top-p", "2", "hi"],
        &["plan"],
        &["completions", "cmd"],
    ] {
        refuses(args);
    }
    assert_eq!(output(&[]).status.code(), Some(2));
    let log = strix(&["ask", "hi"]).env("STRIX_LOG", "=,[").output().unwrap();
    assert_eq!(log.status.code(), Some(2));
}

#[test]
fn numbers_out_of_their_range_are_refused_with_the_range_before_anything_is_loaded() {
    for (args, words) in [
        (&["--temperature", "-1"] as &[&str], "temperature is -1; it can be 0 or more"),
        (&["--top-p", "-0.5"], "--top-p is -0.5"),
        (&["--repetition-penalty", "0"], "--repetition-penalty is 0"),
        (&["--stop", ""], "stop string 0 of 1 is empty"),
        (&["--ctx", "-1"], "-1 is not in 1..=1048576"),
        (&["--ctx", "1048577"], "is not in 1..=1048576"),
        (&["--seed", "-1"], "invalid value '-1' for '--seed"),
        (&["--device-memory", "much"], "no size such as 4GiB"),
        (&["--device-memory", "8"], "that is 8 bytes; did you mean 8GiB?"),
        (&["--raw", "--image", &sample("pair_1.png")], "0 <|image|> places"),
    ] {
        // Were the model opened first, it would be what is wrong.
        let error = refuses(&[&["ask", "--model", "/no/such", "hi"], args].concat());
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let places = refuses(&["ask", "--model", "/no/such", "<|image|><|image|>?"]);
    assert!(places.contains("2 <|image|> places"), "{places}");
    for chunk in ["-1", "1", "4097"] {
        let error = refuses(&["plan", "--model", "/no/such", "--chunk", chunk]);
        assert!(error.contains("is not in 2..=4096"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn input_without_an_end_is_refused() {
    let endless = || Stdio::from(fs::File::open("/dev/zero").unwrap());
    let out = strix(&["ask", "--model", "/no/such", "-"]).stdin(endless()).output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && stderr.contains("above 1048576 bytes"), "{stderr}");
    let pipe = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-pipe", std::process::id()));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in ["/dev/zero", pipe.to_str().unwrap(), SAMPLES] {
        assert!(refuses(&["plan", "--config", path]).contains("name a file"));
    }
    for option in ["--image", "--video"] {
        let error = refuses(&["ask", option, SAMPLES, "hi"]);
        assert!(error.contains(SAMPLES) && error.contains("name a file"), "{error}");
        let error = refuses(&["ask", option, "/dev/zero", "hi"]);
        assert!(error.contains("/dev/zero: holds more than 536870912 bytes"), "{error}");
    }
    fs::remove_file(pipe).unwrap();
}

#[test]
fn the_first_line_is_of_strix_whatever_the_runtime_folder_is() {
    for dir in [None, Some(""), Some("relative"), Some("/no/such")] {
        let mut command = strix(&["ask", "What is 3 + 4?"]);
        match dir {
            None => command.env_remove("XDG_RUNTIME_DIR"),
            Some(dir) => command.env("XDG_RUNTIME_DIR", dir),
        };
        let stderr = String::from_utf8(command.output().unwrap().stderr).unwrap();
        assert!(stderr.starts_with("no --model"), "{dir:?}: {stderr}");
    }
}

#[test]
fn completions_name_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(prints(&["completions", shell]).contains("devices"), "{shell}");
    }
}

#[test]
fn devices_are_listed_and_one_is_chosen() {
    let list: Value = serde_json::from_str(&prints(&["devices", "--json"])).unwrap();
    let list = list.as_array().unwrap();
    assert_eq!(list.iter().filter(|d| d["chosen"] == true).count(), 1, "{list:?}");
    for device in list {
        assert!(device["name"].is_string() && device["limits"]["buffer_bytes"].is_u64(), "{device}");
    }
    let name = list[0]["name"].as_str().unwrap();
    assert!(prints(&["devices"]).contains(name));
}

#[test]
fn a_new_account_has_its_kernels_kept_too() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-home", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    let mut strix = strix(&["devices"]);
    for name in ["MESA_SHADER_CACHE_DIR", "XDG_CACHE_HOME", "LP_NATIVE_VECTOR_WIDTH"] {
        strix.env_remove(name);
    }
    let out = strix.env("HOME", home).output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success() && !stderr.contains("shader cache"), "{stderr}");
}

#[test]
fn an_adapter_that_is_not_there_is_refused_with_those_that_are() {
    let list: Value = serde_json::from_str(&prints(&["devices", "--json"])).unwrap();
    let error = refuses(&["ask", "--adapter", "nonsense", "hi"]);
    assert!(error.contains("\"nonsense\"") && error.contains(list[0]["name"].as_str().unwrap()), "{error}");
    assert_eq!(output(&["devices", "--adapter", "nonsense"]).status.code(), Some(2));
}

#[test]
fn plan_needs_no_weights() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano/config.json");
    let plan: Value = serde_json::from_str(&prints(&["plan", "--config", config, "--json"])).unwrap();
    assert!(plan["weight_bytes"]["f32"].as_u64() > plan["weight_bytes"]["bf16"].as_u64(), "{plan}");
    assert!(plan["decode_dispatches_per_layer"].as_u64() <= Some(9), "{plan}");
    assert_eq!(plan["programs"].as_array().unwrap().len(), 3);
    let half = prints(&["plan", "--config", config, "--kv", "f16", "--json"]);
    let half: Value = serde_json::from_str(&half).unwrap();
    assert_eq!(half["kv_cache_bytes"].as_u64().map(|bytes| 2 * bytes), plan["kv_cache_bytes"].as_u64());
    assert_eq!((&half["kv_dtype"], &plan["kv_dtype"]), (&json!("f16"), &json!("f32")));
    assert!(prints(&["plan", "--config", config]).contains("dispatches a decoder layer"));
    assert!(refuses(&["plan", "--config", "/no/config.json"]).contains("/no/config.json"));
    refuses(&["plan", "--config", file("config.json", b"{").to_str().unwrap()]);
}

#[test]
fn plan_takes_a_preset_and_says_what_it_passes_over() {
    let plan: Value =
        serde_json::from_str(&prints(&["plan", "--preset", "8.2b", "--ctx", "2048", "--json"])).unwrap();
    assert_eq!(plan["kv_cache_bytes"].as_u64(), Some(32 * 2 * 2048 * 4096 * 4), "{plan}");
    assert_eq!(plan["kv_cache_bindings"].as_u64(), Some(1), "{plan}");
    let pool = prints(&["plan", "--preset", "8.2b", "--ctx", "2048", "--kv-memory", "12GiB"]);
    assert!(
        pool.contains("KV cache, 12288 positions") && pool.contains("a layer's keys in 2 bindings"),
        "{pool}"
    );
    let said = |args: &[&str]| {
        let out = output(args);
        assert_eq!(out.status.code(), Some(0));
        String::from_utf8(out.stderr).unwrap()
    };
    assert_eq!(said(&["plan", "--preset", "8m"]), "");
    let beyond = said(&["plan", "--preset", "8m", "--ctx", "1025"]);
    assert!(beyond.starts_with("note: a context of 1025 positions") && beyond.contains("1024"), "{beyond}");
    let config = file("keys.json", br#"{"model_type": "mplug_owl2", "my_key": 1, "top_p": 0.9}"#);
    let notes = said(&["plan", "--config", config.to_str().unwrap()]);
    assert!(notes.contains("passes over: my_key\n") && notes.contains("decide: top_p 0.9\n"), "{notes}");
}

#[test]
fn plan_refuses_sizes_with_the_numbers() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/plan");
    let refuses = |name: &str| refuses(&["plan", "--config", &format!("{corpus}/{name}")]);
    assert!(refuses("queries_65536").ends_with("num_learnable_queries is 65536, above 65535"));
    assert!(refuses("vocab_16777216").ends_with("vocab_size is 16777216, above 8379136"));
}

#[test]
fn the_demo_gives_its_expected_answers() {
    let text = prints(&["demo", "--all"]);
    assert!(text.contains("22 of 22 as expected") && text.contains("tokens/s"), "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe");
}

#[test]
fn the_demo_draws_itself() {
    let path = file("demo.svg", b"");
    let text = prints(&["demo", "--svg", path.to_str().unwrap()]);
    assert!(text.contains("48;2;"), "no picture in {text}");
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.contains("<rect") && svg.contains("A red circle to the left of a blue triangle."));
}

#[test]
fn a_question_about_a_picture_is_answered() {
    let out = output(&["ask", "--image", &sample("drawing_640x480.png"), "Describe the image."]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "A red circle to the left of a blue triangle.\n");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.starts_with("no --model: asking nano"), "{stderr}");
    assert!(stderr.lines().count() == 2 && stderr.contains("tokens/s") && stderr.contains("eos"), "{stderr}");
}

#[test]
fn int8_answers_too() {
    let image = sample("drawing_640x480.png");
    for group in [&[] as &[&str], &["--group", "32"]] {
        let args = ["ask", "--dtype", "int8", "--image", &image, "Describe the image."];
        assert_eq!(prints(&[&args[..], group].concat()), "A red circle to the left of a blue triangle.\n");
    }
}

#[test]
fn two_pictures_keep_their_order() {
    let (first, second) = (sample("pair_1.png"), sample("pair_2.png"));
    let ask = |a, b| prints(&["ask", "--image", a, "--image", b, "What is the difference?"]);
    assert_eq!(ask(&first, &second), "The red circle became green.\n");
    assert_ne!(ask(&second, &first), "The red circle became green.\n");
}

#[test]
fn a_video_is_its_frames() {
    let args = ["ask", "--video", &sample("video.gif"), "Which way does the circle move?"];
    assert_eq!(prints(&args), "to the right\n");
}

#[test]
fn the_question_can_come_from_stdin() {
    let mut child = strix(&["ask", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"What is 3 + 4?\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"7\n");
}

#[test]
fn a_raw_prompt_is_run_as_it_is() {
    let prompt =
        "USER: <|image|>What shape is in the image? ASSISTANT: star</s>USER: What color is it? ASSISTANT:";
    assert_eq!(prints(&["ask", "--raw", "--image", &sample("dark_200x150.png"), prompt]), "orange\n");
}

#[test]
fn json_holds_the_whole_answer() {
    let json = prints(&["ask", "--json", "--profile", "What is 3 + 4?"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["answer"], "7");
    assert_eq!(answer["finish_reason"], "eos");
    assert_eq!(answer["model"], "nano");
    assert_eq!(answer["ids"].as_array().unwrap().last().unwrap(), 2);
    assert!(answer["timing"]["prefill_ms"].as_f64() > Some(0.0), "{answer}");
    assert!(answer["adapter"].is_string());
    for program in ["prefill_chunk", "decode_step"] {
        assert!(!answer["profile"][program].as_array().unwrap().is_empty(), "{program}");
    }
}

#[test]
fn stop_texts_and_token_limits_end_the_answer() {
    let rainbow = "What are the seven colors of the rainbow?";
    let ask = |options: &[&str]| -> Value {
        serde_json::from_str(&prints(&[&["ask", "--json"], options, &[rainbow]].concat())).unwrap()
    };
    let stopped = ask(&["--stop", "violet", "--stop", " green"]);
    assert_eq!(stopped["answer"], "The seven colors of the rainbow are red, orange, yellow,");
    assert_eq!(stopped["finish_reason"], "stop");
    let short = ask(&["--max-tokens", "3"]);
    assert_eq!(short["ids"].as_array().unwrap().len(), 3);
    assert_eq!(short["finish_reason"], "max_tokens");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let ask = |seed| {
        let args =
            ["ask", "--temperature", "3", "--max-tokens", "12", "--min-tokens", "12", "--seed", seed, "Hi"];
        prints(&args)
    };
    assert_eq!(ask("7"), ask("7"));
    assert_ne!(ask("7"), ask("8"));
}

#[test]
fn a_reader_that_leaves_is_named() {
    for args in [&["ask", "What is 3 + 4?"] as &[&str], &["ask", "--json", "Hello!"], &["demo"], &["devices"]]
    {
        let mut child = strix(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("error: the reader of the output left"), "{args:?}: {stderr}");
        assert!(!stderr.contains("panic"), "{args:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_text_so_far() {
    use std::io::Read;

    let args = ["ask", "--min-tokens", "480", "--max-tokens", "480", "Hello!"];
    let mut child = strix(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = vec![0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut text).unwrap();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("cancelled"), "{stderr}");
    assert!(text.starts_with(b"Hello! How can I") && out.stdout.ends_with(b"\n"));
}

#[test]
fn models_that_are_not_there_are_refused() {
    let error = refuses(&["ask", "--model", "/no/such/model", "hi"]);
    assert!(error.contains("/no/such/model"), "{error}");
    assert!(refuses(&["ask", "--model", SAMPLES, "hi"]).contains("config.json"));
}

#[test]
fn bad_checkpoints_are_refused_by_name() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tiny");
    let weights = fs::read(format!("{golden}/model.safetensors")).unwrap();
    let config = fs::read_to_string(format!("{golden}/hf/config.json")).unwrap();
    // What is wrong with numbers is found once all else is right.
    let nano = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano");
    let nano_config = fs::read_to_string(format!("{nano}/config.json")).unwrap();
    let mut nan = fs::read(format!("{nano}/model.safetensors")).unwrap();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let overlapping = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
    let header = |json: &[u8]| [&(json.len() as u64).to_le_bytes(), json, &[0; 6]].concat();
    let wider = config.replace("\"hidden_size\": 64", "\"hidden_size\": 128");
    let bad: [(&str, &str, &[u8], &str); 6] = [
        ("cut", &config, &weights[..weights.len() / 2], "model.safetensors"),
        ("empty", &config, b"", "model.safetensors"),
        ("text", &config, b"these are no weights, they are words", "model.safetensors"),
        ("overlapping", &config, &header(overlapping), "model.safetensors"),
        ("nan", &nano_config, &nan, "NaN"),
        ("wider", &wider, &weights, "that do not fit config.json"),
    ];
    for (name, config, weights, named) in bad {
        let dir = std::env::temp_dir().join(format!("strix-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.json"), config).unwrap();
        fs::write(dir.join("model.safetensors"), weights).unwrap();
        // A missing tokenizer is found before a NaN, and of the others this one has too many pieces.
        if name == "nan" {
            fs::copy(format!("{nano}/tokenizer.model"), dir.join("tokenizer.model")).unwrap();
        }
        let error = refuses(&["ask", "--model", dir.to_str().unwrap(), "hi"]);
        assert!(error.contains(named), "{name}: {error}");
        println!("{name}: {error}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn bad_pictures_are_refused_by_name() {
    let whole = fs::read(sample("drawing_640x480.png")).unwrap();
    let one = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/preproc/images/one_1x1.png");
    let (one, cmyk) = (fs::read(one).unwrap(), fs::read(CMYK).unwrap());
    let bad: [(&str, &[u8]); 6] = [
        ("cut.png", &whole[..whole.len() / 2]),
        ("empty.png", b""),
        ("text.png", b"not a picture"),
        ("huge.png", &png_header(20_000, 20_000)),
        ("cut.jpg", &cmyk[..300]),
        ("one.png", &one),
    ];
    for (name, bytes) in bad {
        let path = file(name, bytes);
        let error = refuses(&["ask", "--image", path.to_str().unwrap(), "Describe the image."]);
        assert!(error.contains(name), "{error}");
    }
    assert!(refuses(&["ask", "--image", "/no/owl.jpg", "hi"]).contains("/no/owl.jpg"));
    assert!(refuses(&["ask", "--video", "/no/owl.gif", "hi"]).contains("/no/owl.gif"));
}

#[test]
fn what_a_picture_does_not_show_is_said_once() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases");
    let [clear, turned] =
        ["png/rgba8.png", "issue_13_exif_hint/j_exif6.jpg"].map(|file| format!("{cases}/{file}"));
    let notes = |more: &[&str]| {
        let ask = ["ask", "--max-tokens", "1", "--image", &clear, "--image", &turned, "--image", &clear];
        let out = output(&[&ask[..], more, &["hi"]].concat());
        let stderr = String::from_utf8(out.stderr).unwrap();
        stderr.lines().filter(|line| line.starts_with("note: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let both = notes(&[]);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[0].contains("rgba8.png") && both[0].contains("--background"), "{both:?}");
    assert!(both[1].contains("j_exif6.jpg") && both[1].contains("--exif"), "{both:?}");
    assert!(notes(&["--exif", "--background", "white"]).is_empty());
    assert!(refuses(&["ask", "--image", &clear, "--background", "whit", "hi"]).contains("#ffffff"));
}

// Their palettes end within a colour, on which the decoder panics.
#[test]
fn pictures_that_broke_a_decoder_are_read() {
    for name in ["1659.png", "1919.png"] {
        let path = format!("{}/../tests/cases/issue_13_hostile/{name}", env!("CARGO_MANIFEST_DIR"));
        let out = strix(&["ask", "--max-tokens", "1", "--image", &path, "hi"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn pictures_and_places_must_agree() {
    let picture = sample("single_96.png");
    let error = refuses(&["ask", "--raw", "--image", &picture, "USER: What? ASSISTANT:"]);
    assert!(error.contains("<|image|>"), "{error}");
    let error = refuses(&["ask", "--raw", "USER: <|image|>What? ASSISTANT:"]);
    assert!(error.contains("<|image|>"), "{error}");
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let error = refuses(&["ask", "--ctx", "8", "What are the seven colors of the rainbow?"]);
    assert!(error.contains("holds 8"), "{error}");
}

#[test]
fn penalties_biases_and_log_probabilities_are_options() {
    let ask = |more: &[&str]| -> Value {
        let args = [&["ask", "--json", "--max-tokens", "3", "What is 3 + 4?"], more].concat();
        serde_json::from_str(&prints(&args)).unwrap()
    };
    let plain = ask(&["--logprobs", "2"]);
    let first = &plain["logprobs"][0];
    assert_eq!((&first["id"], &first["top"][0]["id"]), (&plain["ids"][0], &plain["ids"][0]));
    assert_eq!(first["top"].as_array().unwrap().len(), 2);
    assert!(first["logprob"].as_f64().unwrap() <= 0.0);
    let id = plain["ids"][0].as_u64().unwrap();
    let without = ask(&["--logit-bias", &format!("{id}:-inf"), "--presence-penalty", "-1.5"]);
    assert_ne!(without["ids"][0], plain["ids"][0]);
    assert_eq!(without["logprobs"], Value::Null);
    assert!(refuses(&["ask", "--logit-bias", "3", "Hi"]).contains("42:-inf"));
    assert!(refuses(&["ask", "--frequency-penalty", "3", "Hi"]).contains("it can be from -2 to 2"));
    assert!(
        refuses(&["ask", "--logit-bias", "5000:1", "Hi"]).contains("5000 is not in the vocabulary of 1024")
    );
    refuses(&["ask", "--logprobs", "2", "Hi"]);
}
