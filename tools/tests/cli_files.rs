//! What can be named as a model: a folder, a file of weights, a file whose tensors a wrapper has renamed.

mod common;

use std::fs;

use common::{output, prints};

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano");

fn answer(model: &str) -> (String, String) {
    let out = output(&["ask", "--model", model, "--max-tokens", "4", "hi"]);
    let [stdout, stderr] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    (stdout, stderr)
}

#[test]
fn a_file_of_weights_is_a_model() {
    let file = format!("{NANO}/model.safetensors");
    let whole = answer(NANO).0;
    assert_eq!(answer(&file).0, whole);
    assert_eq!(answer(&format!("{NANO}/config.json")).0, whole);
    assert!(prints(&["plan", "--model", &file]).contains("KV cache"));
}

#[test]
fn a_prefix_is_taken_off_and_said() {
    let dir = concat!(env!("CARGO_TARGET_TMPDIR"), "/wrapped");
    fs::create_dir_all(dir).unwrap();
    for name in ["config.json", "tokenizer.model"] {
        fs::copy(format!("{NANO}/{name}"), format!("{dir}/{name}")).unwrap();
    }
    let plain = fs::read(format!("{NANO}/model.safetensors")).unwrap();
    let (len, rest) = plain.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    let header = std::str::from_utf8(header).unwrap();
    let header = header.replace("\"model.", "\"module.model.").replace("\"lm_head.", "\"module.lm_head.");
    let wrapped = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    fs::write(format!("{dir}/model.safetensors"), wrapped).unwrap();
    let (said, stderr) = answer(dir);
    assert_eq!(said, answer(NANO).0);
    assert!(stderr.contains("module.") && stderr.contains("DistributedDataParallel"), "{stderr}");
    assert_eq!(stderr.matches("DistributedDataParallel").count(), 1, "{stderr}");
    let listed = prints(&["inspect", dir]);
    assert!(listed.contains("begin with module."), "{listed}");
}
