//! `strix doctor`: what is found of this machine, and of an adapter that is not there.

mod common;

use common::{output, strix};
use serde_json::Value;

#[test]
fn a_machine_that_works_is_told_so() {
    let out = output(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{report:#}");
    let kernels = report["kernels"]["kernels"].as_array().unwrap();
    assert!(kernels.len() > 15 && kernels.iter().all(|kernel| kernel["is_right"] == true), "{report:#}");
    assert_eq!(
        report["kernels"]["unchecked"],
        Value::Array(vec![]),
        "every kernel of the 8.2B model is checked"
    );
    let answers = report["answers"].as_array().unwrap();
    assert_eq!(answers.iter().map(|of| &of["model"]).collect::<Vec<_>>(), ["nano", "golden"]);
    for of in answers {
        assert!(of["asked"].as_u64() > Some(5) && of["right"] == of["asked"], "{of:#}");
    }
    for number in ["bytes_per_s", "flops_per_s", "decode_tokens_per_s", "prefill_positions_per_s"] {
        assert!(report["speed"][number].as_f64().unwrap() > 0.0, "{number}");
    }
    assert_eq!(report["memory"]["resident_layers"][1], 32);
    assert!(report["findings"].as_array().unwrap().iter().all(|finding| finding["level"] != "fault"));
}

#[test]
fn an_adapter_that_is_not_there_is_a_fault_with_what_to_do() {
    let out = strix(&["doctor"]).env("STRIX_ADAPTER", "no such").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(
        text.contains("fault")
            && text.contains("no such")
            && text.contains("→ name one of these with --adapter"),
        "{text}"
    );
    assert!(!text.contains("chosen"), "nothing is chosen: {text}");
}
