//! A command in a process of its own: what it printed, how long it took, how much memory it had at most.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Time between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(10);

/// The most memory a process had resident, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// In all: the kernel's own high-water mark.
    pub all: u64,
    /// Not from files, at any look.
    pub anonymous: u64,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    /// The JSON it printed.
    pub json: Value,
    pub seconds: f64,
    /// `None` where the system does not tell.
    pub peak: Option<Peak>,
}

/// Runs a command to its end; its stderr is ours.
pub(super) fn run(command: &mut Command) -> Result<Finished> {
    let said = said(command);
    println!("$ {said}");
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| said.clone())?;
    let mut stdout = child.stdout.take().context("stdout")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut peak = None;
    let status = loop {
        if let Some(now) = memory(child.id()) {
            let peak: &mut Peak = peak.get_or_insert_default();
            peak.all = peak.all.max(now.all);
            peak.anonymous = peak.anonymous.max(now.anonymous);
        }
        if let Some(status) = child.try_wait().with_context(|| said.clone())? {
            break status;
        }
        thread::sleep(LOOK);
    };
    let seconds = start.elapsed().as_secs_f64();
    let text = reader.join().ok().context("reading stdout")??;
    ensure!(status.success(), "{said}: {status}");
    // One object, on several lines or the last.
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let json = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last)).unwrap_or(Value::Null);
    Ok(Finished { json, seconds, peak })
}

/// A command as one would type it.
fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let word = |word: &std::ffi::OsStr| match word.to_string_lossy() {
        word if word.contains(' ') => format!("{word:?}"),
        word => word.into_owned(),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// Memory of a process now; `all` is its largest so far.
fn memory(id: u32) -> Option<Peak> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    Some(Peak { all: bytes("VmHWM")?, anonymous: bytes("RssAnon")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_and_output_of_a_process_are_its_own() {
        // 64 MiB, held for long enough to be seen.
        let script = r#"x=$(head -c 67108864 /dev/zero | tr '\0' a); sleep 0.1; echo noise; echo '{"n": 3}'"#;
        let finished = run(Command::new("bash").args(["-c", script])).unwrap();
        assert_eq!(finished.json["n"], 3);
        let peak = finished.peak.unwrap();
        assert!((64 << 20..1 << 30).contains(&peak.all), "{peak:?}");
        assert!((64 << 20..=peak.all).contains(&peak.anonymous), "{peak:?}");
        assert!(finished.seconds >= 0.1);
        let error = run(Command::new("bash").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit 3") && error.contains("status: 3"), "{error}");
    }
}
