use super::*;
use crate::engines::ENGINES;
use crate::figures::Spent;

fn job() -> Job {
    Job {
        model: None,
        backend: "",
        dtype: "",
        layers: 4,
        threads: 2,
        prefill: vec![64],
        context: 512,
        tokens: 8,
        scratch: String::new(),
    }
}

/// A round that takes so many seconds of two idle cores for 64 rows, and so many for 8 tokens.
fn run(device: &str, prefill_s: f64, decode_s: f64) -> Figures {
    let rate = |tokens, idle_s: f64| {
        // The clock says three times as much: the machine is busy.
        Rate { tokens, spent: Spent { wall_s: 3.0 * idle_s, cpu_s: 2.0 * idle_s } }
    };
    Figures {
        version: "1".into(),
        device: device.into(),
        prefill: vec![rate(64, prefill_s)],
        decode: Some(rate(8, decode_s)),
        ..Figures::default()
    }
}

fn rounds(runs: Vec<Figures>) -> Rounds {
    Rounds { runs, failure: None }
}

fn report(device: &str) -> Report {
    let strix = vec![run(device, 2.0, 1.0), run(device, 1.0, 0.5), run(device, 4.0, 2.0)];
    let all = vec![
        (Who::Strix(Class::Int8), rounds(strix)),
        (Who::Peer(ENGINES[0]), rounds(vec![run(device, 20.0, 8.0)])),
        (Who::Peer(ENGINES[2]), rounds(vec![run("native", 0.5, 0.25)])),
        (Who::Peer(ENGINES[6]), Rounds { runs: vec![], failure: Some("not done after 3 s".into()) }),
    ];
    Report::new("2 cores".into(), 2, 3, &job(), all)
}

#[test]
fn rates_are_medians_projected_to_the_whole_decoder_and_held_against_one_another() {
    let report = report("llvmpipe (LLVM 15.0.6, 256 bits)");
    assert_eq!(report.clock, Clock::Idle);
    let [strix, vulkan, native, failed] = &report.rows[..] else { panic!("{:?}", report.rows) };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b, "{a}, not {b}");
    let [prefill, decode] = &strix.measured[..] else { panic!("{strix:?}") };
    close(prefill.tokens_per_s, 32.0);
    close(decode.tokens_per_s, 8.0);
    close(decode.whole_tokens_per_s, 8.0 / times_longer(1, 4));
    close(prefill.whole_tokens_per_s, 32.0 / times_longer(64, 4));
    close(prefill.whole_wall_tokens_per_s, 32.0 / 3.0 / times_longer(64, 4));
    // From 64 / 4 to 64 / 1 a second.
    close(prefill.spread, 48.0 / 32.0);
    assert_eq!(prefill.strix_times, None);
    close(prefill.of_native.unwrap(), 0.25);
    close(vulkan.measured[0].strix_times.unwrap(), 10.0);
    close(vulkan.measured[1].strix_times.unwrap(), 8.0);
    close(native.measured[1].strix_times.unwrap(), 0.25);
    assert!(failed.measured.is_empty());
}

#[test]
fn a_device_that_is_no_processor_goes_by_the_clock() {
    let report = report("NVIDIA H100 (Vulkan)");
    assert_eq!(report.clock, Clock::Wall);
    assert!((report.rows[0].measured[0].tokens_per_s - 32.0 / 3.0).abs() < 1e-9);
}

#[test]
fn tables_hold_every_engine_with_its_ratio_or_its_reason() {
    let report = report("llvmpipe (LLVM 15.0.6, 256 bits)");
    let text = report.readme("cargo xtask peers");
    for line in [
        "| Strix | int8 | vulkan | 4.01 | 1.14 | 150% | - |",
        "| llama.cpp-vulkan | q8_0 | vulkan | 0.401 | 0.142 | 0% | - |",
        "| web-rwkv | int8 | vulkan | - | - | - | - |",
        "| llama.cpp-vulkan on vulkan | q8_0 | 10.0 | 8.00 |",
        "| llama.cpp-cpu on cpu | q8_0 | 0.250 | 0.250 |",
        "Strix int8 on Vulkan, in parts of llama.cpp-cpu: prefill/64 25.0%, decode/512 25.0%.",
        "- web-rwkv int8: not done after 3 s",
        "| model | random weights of the 8.2B model's decoder, 4 of 32 layers, and the head |",
        "products of a weight and a row (7.02 times at decode)",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert_eq!(report.folder(), format!("{}-llvmpipe-peers", report.date));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][1]["measured"][1]["name"], "decode/512");
    assert_eq!(json["rows"][3]["failure"], "not done after 3 s");
    assert_eq!(json["rows"][0]["runs"][0]["prefill"][0]["wall_s"], 6.0);
}

#[test]
fn the_median_of_an_even_number_lies_between() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
    assert_eq!(median(&[1.0, 2.0, 3.0, 9.0]), Some(2.5));
}

#[test]
fn three_digits_count() {
    let all = [0.0344, 0.155, 1.234, 28.35, 148.2, 1234.0].map(digits);
    assert_eq!(all, ["0.0344", "0.155", "1.23", "28.4", "148", "1234"]);
}
