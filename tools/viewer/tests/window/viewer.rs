//! A viewer that runs, and what it says of itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::Value;

use crate::display::Display;

/// Longest time for anything that is waited for: software Vulkan on a busy machine is slow.
const LONGEST: Duration = Duration::from_secs(120);

/// A window, closed when it is dropped.
pub(crate) struct Viewer<'a> {
    pub(crate) display: &'a Display,
    process: Child,
    log: PathBuf,
    dir: tempfile::TempDir,
}

impl<'a> Viewer<'a> {
    /// Opens one, with settings of its own.
    pub(crate) fn open(display: &'a Display, args: &[&str], scale: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("log.jsonl");
        let (settings, errors) = (dir.path().join("settings.json"), dir.path().join("errors"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_strix-viewer"));
        command.args(args).arg("--log").arg(&log).arg("--settings").arg(&settings);
        command.env("DISPLAY", &display.name).env("WINIT_X11_SCALE_FACTOR", scale).env("RUST_BACKTRACE", "1");
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
        command.env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET");
        if env::var_os("XDG_RUNTIME_DIR").is_none() {
            command.env("XDG_RUNTIME_DIR", dir.path());
        }
        let errors = fs::File::create(errors).expect("a file");
        let process = command.stderr(errors).spawn().expect("the viewer starts");
        let viewer = Self { display, process, log, dir };
        viewer.wait("the window", |state| !state["controls"]["question"].is_null());
        display.focus();
        viewer
    }

    /// The last line of its log.
    pub(crate) fn state(&self) -> Value {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().next_back().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }

    /// Waits until its state is as it should be, and returns it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        while start.elapsed() < LONGEST {
            let state = self.state();
            if is(&state) {
                return state;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let errors = fs::read_to_string(self.dir.path().join("errors")).unwrap_or_default();
        panic!("waited in vain for {what}; the last state is {:#}\n{errors}", self.state());
    }

    /// Waits for a control to be there and in place, and clicks it.
    #[track_caller]
    pub(crate) fn click(&self, name: &str) {
        let rect = |state: &Value| serde_json::from_value::<[i32; 4]>(state["controls"][name].clone()).ok();
        let mut last = None;
        loop {
            let state = self.wait(name, |state| rect(state).is_some());
            let now = rect(&state);
            // What a dialog or a line of text moves is not clicked where it was.
            if now == last {
                break;
            }
            last = now;
            thread::sleep(Duration::from_millis(250));
        }
        self.display.click(last.expect("it is there"));
    }

    /// Clicks a control until that has an effect: a conversation that scrolls may take it away below the pointer.
    #[track_caller]
    pub(crate) fn click_until(&self, name: &str, has: impl Fn(&Value) -> bool) {
        for _ in 0..6 {
            self.click(name);
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(8) {
                if has(&self.state()) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("{name} has no effect: {:#}", self.state());
    }

    /// Types into a field, once it has the keyboard.
    #[track_caller]
    pub(crate) fn write(&self, field: &str, text: &str) {
        let holds = |state: &Value| state[if field == "question" { "draft" } else { "path" }] == text;
        for _ in 0..5 {
            self.display.focus();
            self.click_until(field, |state| state["focused"] == field);
            self.display.key("ctrl+a");
            self.display.type_text(text);
            // What is typed into a frame that a click still moves the keyboard in is lost, in every window.
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(10) {
                if holds(&self.state()) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("{field} does not take {text:?}: {:#}", self.state());
    }

    /// Waits for the answer to the last question.
    #[track_caller]
    pub(crate) fn answer(&self, question: &str) -> String {
        let of = |state: &Value| state["turns"].as_array().and_then(|turns| turns.last()).cloned();
        let state = self.wait(question, |state| {
            of(state).is_some_and(|turn| turn["question"] == question && turn["outcome"] != "open")
        });
        let turn = of(&state).expect("there is one");
        assert!(!turn["outcome"].as_str().unwrap_or("failed").starts_with("failed"), "{turn:#}");
        turn["answer"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a model is there.
    #[track_caller]
    pub(crate) fn ready(&self) -> Value {
        self.wait("a model", |state| state["phase"] == "ready")
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Viewer<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.display.shoot("failed");
        }
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Nano in a folder, which never ends an answer by itself.
pub(crate) fn endless(dir: &Path) -> PathBuf {
    let folder = dir.join("endless");
    fs::create_dir_all(&folder).expect("a folder");
    for (name, bytes) in strix_model::nano_files() {
        let mut bytes = bytes.to_vec();
        if name.ends_with(".json")
            && let Ok(mut json) = serde_json::from_slice::<Value>(&bytes)
            && !json["eos_token_id"].is_null()
        {
            // A byte of a letter that is written in no answer.
            json["eos_token_id"] = 250.into();
            bytes = serde_json::to_vec(&json).expect("JSON");
        }
        fs::write(folder.join(name), bytes).expect("a file of nano");
    }
    folder
}
