//! The window, used as its users do: with a pointer, a keyboard, a clipboard and files that are dropped. What it says is read
//! from its log.

#![cfg(target_os = "linux")]

mod display;
mod drag;
mod viewer;

use std::path::{Path, PathBuf};

use display::Display;
use serde_json::Value;
use viewer::{Viewer, endless};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/nano/samples")
        .join(name)
        .canonicalize()
        .expect("a sample")
}

fn names(state: &Value) -> Vec<String> {
    serde_json::from_value(state["draft_pictures"].clone()).unwrap_or_default()
}

#[test]
fn pictures_are_asked_about_in_a_conversation() {
    let Some(display) = Display::start(1080, 760) else { return };
    let viewer = Viewer::open(&display, &["--look", "light"], "1");
    assert_eq!(viewer.ready()["model"], "nano");
    display.shoot("welcome-light");

    // One of the questions to try.
    viewer.click("sample-1");
    assert_eq!(viewer.answer("Describe the image."), "A red circle to the left of a blue triangle.");

    // A picture that is pasted, and a second question about it.
    viewer.click("new");
    viewer.wait("a new conversation", |state| state["turns"].as_array().is_some_and(Vec::is_empty));
    display.copy("image/png", &std::fs::read(sample("dark_200x150.png")).unwrap());
    viewer.click("question");
    display.key("ctrl+v");
    viewer.wait("the pasted picture", |state| names(state) == ["pasted"]);
    display.type_text("What shape is in the image?");
    display.shoot("composer-light");
    viewer.click("ask");
    assert_eq!(viewer.answer("What shape is in the image?"), "star");
    display.type_text("What color is it?");
    display.key("Return");
    assert_eq!(viewer.answer("What color is it?"), "orange");

    // Where the answer looked, and a word of it.
    viewer.click_until("look", |state| state["turns"][1]["gaze"] != "unknown");
    let state = viewer.wait("where it looked", |state| state["turns"][1]["gaze"] == "known");
    let answer: [i32; 4] = serde_json::from_value(state["controls"]["answer"].clone()).unwrap();
    let at = [answer[0] + 8, answer[1] + answer[3] / 2].map(|at| at.to_string());
    display.xdotool(&["mousemove", &at[0], &at[1]]);
    viewer.wait("the word below the pointer", |state| state["word"] == "orange");
    display.shoot("attention-light");
}

#[test]
fn pictures_are_dropped_and_named_and_taken_away() {
    let Some(display) = Display::start(1080, 760) else { return };
    let viewer = Viewer::open(&display, &["--look", "dark"], "1");
    viewer.ready();
    drag::drop_file(&display.name, "Strix", [500, 300], &sample("pair_1.png"));
    viewer.wait("the dropped picture", |state| names(state) == ["pair_1.png"]);

    viewer.click("add");
    viewer.click("menu-path");
    viewer.wait("the field of the path", |state| !state["controls"]["path"].is_null());
    viewer.write("path", sample("pair_2.png").to_str().unwrap());
    display.key("Return");
    viewer.wait("the named picture", |state| names(state) == ["pair_1.png", "pair_2.png"]);

    viewer.write("question", "What is the difference?");
    display.shoot("composer-dark");
    display.key("Return");
    assert_eq!(viewer.answer("What is the difference?"), "The red circle became green.");

    // A path that is pasted is a picture as well; one that is no picture is an error in words.
    let address = format!("file://{}", sample("dark_200x150.png").display());
    display.copy("UTF8_STRING", address.as_bytes());
    viewer.click("question");
    display.key("ctrl+v");
    viewer.wait("the pasted path", |state| names(state) == ["dark_200x150.png"]);
    viewer.click("remove");
    viewer.wait("no picture", |state| names(state).is_empty());
    let broken = viewer.path("broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    drag::drop_file(&display.name, "Strix", [500, 300], &broken);
    viewer.wait("what is wrong", |state| {
        state["trouble"].as_str().is_some_and(|what| what.contains("broken.png"))
    });
    display.shoot("trouble-dark");
    viewer.click("close-problem");
    viewer.wait("no trouble", |state| state["trouble"].is_null());

    // Text is no picture, and an empty clipboard has none.
    for (text, says) in [("what is it?", "no path of a picture"), ("", "neither a picture")] {
        display.copy("UTF8_STRING", text.as_bytes());
        viewer.click("add");
        viewer.click("menu-paste");
        viewer.wait(says, |state| state["trouble"].as_str().is_some_and(|what| what.contains(says)));
    }

    // A path of nothing stays in its field.
    viewer.click("add");
    viewer.click("menu-path");
    viewer.wait("the field of the path", |state| !state["controls"]["path"].is_null());
    viewer.write("path", "/nowhere/owl.png");
    display.key("Return");
    viewer.wait("the path again", |state| {
        let says = state["trouble"].as_str().is_some_and(|what| what.contains("Check the path"));
        says && state["path"] == "/nowhere/owl.png"
    });
    viewer.click("close-path");

    // Here is no portal: what to do instead is said.
    if std::process::Command::new("zenity").arg("--version").output().is_err() {
        viewer.click("add");
        viewer.click("menu-open");
        viewer.wait("that there is no dialog", |state| {
            state["trouble"].as_str().is_some_and(|what| what.contains("type a path"))
        });
    }
    viewer.click("add");
    viewer.click("menu-region");
    viewer.wait("what to do", |state| {
        state["trouble"].as_str().is_some_and(|what| what.contains("paste it here"))
    });
}

#[test]
fn a_model_is_chosen_planned_loaded_and_cancelled_and_an_answer_stopped() {
    let Some(display) = Display::start(1080, 760) else { return };
    let viewer = Viewer::open(&display, &["--look", "light", "--slow-loading", "40"], "1");
    viewer.ready();
    let folder = endless(&viewer.path(""));

    // The plan is shown before anything is loaded, and what is no model is an error in words.
    viewer.click("model");
    viewer.wait("the dialog", |state| state["dialog"] == "model");
    viewer.write("model-path", "/nowhere");
    display.key("Return");
    viewer.wait("that there is none", |state| {
        state["plan"].as_str().is_some_and(|plan| plan.starts_with("failed") && plan.contains("/nowhere"))
    });
    display.shoot("model-failed-light");
    viewer.write("model-path", folder.to_str().unwrap());
    display.key("Return");
    viewer.wait("the plan", |state| state["plan"] == "known");
    display.shoot("model-light");
    viewer.click("load");
    viewer.wait("loading", |state| state["phase"] == "loading");
    viewer.wait("progress", |state| state["loaded_bytes"].as_u64() > Some(0));
    display.shoot("loading-light");
    viewer.click("cancel");
    viewer.wait("that there is no model", |state| state["phase"] == "empty" && state["model"].is_null());
    display.shoot("empty-light");
    viewer.click("load-again");
    viewer.wait("the model", |state| state["phase"] == "ready" && state["model"] == "endless");

    // It never ends its answer by itself.
    viewer.write("question", "Hello!");
    display.key("Return");
    viewer.wait("words", |state| state["phase"] == "answering" && state["turns"][0]["answer"] != "");
    display.shoot("answering-light");
    viewer.click("stop");
    let state = viewer.wait("the end", |state| state["phase"] == "ready");
    assert_eq!(state["turns"][0]["outcome"], "cancelled");

    viewer.click("settings");
    viewer.wait("the settings", |state| state["dialog"] == "settings");
    display.shoot("settings-light");
    viewer.click("look-dark");
    display.shoot("settings-dark");
    viewer.click("done");
    viewer.wait("no dialog", |state| state["dialog"].is_null());
    let written = std::fs::read_to_string(viewer.path("settings.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["look"], "dark");
    assert_eq!(written["recent"][0].as_str(), folder.to_str());
}

#[test]
fn a_lost_device_is_said_and_the_model_can_be_loaded_again() {
    let Some(display) = Display::start(1080, 760) else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = endless(dir.path());
    let args = ["--look", "dark", "--lose-device-after", "3", "--model", folder.to_str().unwrap()];
    let viewer = Viewer::open(&display, &args, "1");
    viewer.ready();
    viewer.write("question", "Hello!");
    display.key("Return");
    let state = viewer.wait("what happened", |state| {
        let says = |what: &Value| what.as_str().is_some_and(|what| what.contains("stopped answering"));
        state["phase"] == "empty" && says(&state["trouble"]) && says(&state["turns"][0]["outcome"])
    });
    assert_eq!(state["turns"][0]["question"], "Hello!");
    viewer.wait("the new window", |state| !state["controls"]["load-again"].is_null());
    display.focus();
    display.shoot("lost-dark");
    viewer.click_until("load-again", |state| state["phase"] != "empty");
    viewer.ready();
    viewer.write("question", "Hello!");
    display.key("Return");
    viewer
        .wait("words", |state| state["turns"][1]["answer"].as_str().is_some_and(|answer| !answer.is_empty()));
    display.key("Escape");
    viewer.wait("the end", |state| state["turns"][1]["outcome"] == "cancelled");
}

#[test]
fn a_small_window_and_a_dense_screen_show_all_of_it() {
    for (name, size, points, scale) in
        [("small", [420, 560], "420x560", "1"), ("dense", [2160, 1520], "1080x760", "2")]
    {
        let Some(display) = Display::start(size[0], size[1]) else { return };
        let viewer = Viewer::open(&display, &["--look", "light", "--size", points], scale);
        viewer.ready();
        display.shoot(&format!("welcome-{name}"));
        viewer.click("sample-1");
        viewer.answer("Describe the image.");
        viewer.click_until("look", |state| state["turns"][0]["gaze"] != "unknown");
        viewer.wait("where it looked", |state| state["turns"][0]["gaze"] == "known");
        display.shoot(&format!("answer-{name}"));
        viewer.click("model");
        viewer.wait("the plan", |state| state["plan"] == "known");
        display.shoot(&format!("model-{name}"));
        viewer.click("close-dialog");
        viewer.wait("no dialog", |state| state["dialog"].is_null());
        viewer.click("details");
        display.shoot(&format!("details-{name}"));
        // Everything is within the window.
        for (control, rect) in viewer.state()["controls"].as_object().unwrap() {
            let [left, top, width, height]: [i32; 4] = serde_json::from_value(rect.clone()).unwrap();
            let [right, bottom] = [left + width, top + height].map(|end| end as u32);
            let fits = left >= 0 && top >= 0 && right <= size[0] && bottom <= size[1];
            assert!(fits, "{control} of the {name} window is at {rect}");
        }
    }
}

/// Measures frames while models answer: nano, and those in the folders that `STRIX_VIEWER_MODELS` names. It asserts nothing
/// of times: `cargo xtask viewer --frames` prints them.
#[test]
#[ignore = "it measures, and takes minutes"]
fn frame_times() {
    let Some(display) = Display::start(1080, 760) else { return };
    let named = std::env::var("STRIX_VIEWER_MODELS").unwrap_or_default();
    let models = ["nano"].into_iter().chain(named.split(':').filter(|folder| !folder.is_empty()));
    println!("| model | pieces | during | frames | p50 ms | p99 ms | worst ms | tokens/s | first token s |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for model in models {
        let name = Path::new(model).file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Answers of nano take a moment: it gives as many as make frames enough for a 99th percentile.
        let times = if model == "nano" { "20" } else { "3" };
        for slice in ["8", "50", "0"] {
            let dir = tempfile::tempdir().unwrap();
            let written = dir.path().join("frames.json");
            let log = dir.path().join("log.jsonl");
            let done = std::process::Command::new(env!("CARGO_BIN_EXE_strix-viewer"))
                .env("DISPLAY", &display.name)
                .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
                .env_remove("WAYLAND_DISPLAY")
                .args([
                    "--model",
                    model,
                    "--slice",
                    slice,
                    "--ctx",
                    "512",
                    "--max-tokens",
                    "24",
                    "--times",
                    times,
                ])
                .args(["--ask", "Describe the image.", "--frames"])
                .arg(&written)
                .arg("--log")
                .arg(&log)
                .arg(sample("drawing_640x480.png"))
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(done.success(), "{model} with pieces of {slice} ms");
            let report: Value = serde_json::from_slice(&std::fs::read(&written).unwrap()).unwrap();
            assert!(report["error"].is_null(), "{report:#}");
            let [mut speeds, firsts] = ["tokens_per_second", "first_token_s"]
                .map(|name| serde_json::from_value::<Vec<f64>>(report[name].clone()).unwrap_or_default());
            speeds.sort_by(f64::total_cmp);
            let speed = speeds.get(speeds.len() / 2).unwrap_or(&f64::NAN);
            // Later answers find the picture encoded.
            let first = firsts.first().unwrap_or(&f64::NAN);
            let pieces = if slice == "0" { "whole".to_owned() } else { format!("{slice} ms") };
            for during in ["idle", "prompt", "tokens"] {
                let of = &report[during];
                let [p50, p99, worst] =
                    ["p50", "p99", "worst"].map(|name| of[name].as_f64().unwrap_or(f64::NAN));
                let frames = &of["frames"];
                println!(
                    "| {name} | {pieces} | {during} | {frames} | {p50:.0} | {p99:.0} | {worst:.0} | {speed:.2} | {first:.2} |"
                );
            }
        }
    }
}
