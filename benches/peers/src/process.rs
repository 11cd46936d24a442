//! A command within a time limit, ended with everything it started.

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);
/// Most of stderr that is kept, for the reason of a failure.
const KEPT: usize = 4096;

/// Process groups that run now, to be ended when this process is.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(vec![]);

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// What it printed until then.
    pub stdout: String,
    /// `None` if all is well, else the reason.
    pub failure: Option<String>,
}

/// Runs `command` for at most `limit`.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    let start = Instant::now();
    run_until(command, limit, &|| start.elapsed() >= limit)
}

/// Runs `command` until it ends, or `over` says that the limit was reached.
fn run_until(command: &mut Command, limit: Duration, over: &dyn Fn() -> bool) -> Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
    let group = Group::of(&child);
    let mut stdout = child.stdout.take().context("stdout")?;
    let stdout = thread::spawn(move || {
        let mut all = vec![];
        // What was read until an error is all there is.
        drop(stdout.read_to_end(&mut all));
        String::from_utf8_lossy(&all).into_owned()
    });
    let mut stderr = child.stderr.take().context("stderr")?;
    let stderr = thread::spawn(move || {
        let (mut end, mut piece) = (vec![], [0; 4096]);
        while let Ok(n @ 1..) = stderr.read(&mut piece) {
            end.extend(&piece[..n]);
            end.drain(..end.len().saturating_sub(KEPT));
        }
        String::from_utf8_lossy(&end).into_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| name.clone())? {
            break Some(status);
        }
        if over() {
            break None;
        }
        thread::sleep(LOOK);
    };
    // What it started must not hold the pipes open, nor the processor.
    group.end(&mut child);
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    let failure = match status {
        None => Some(format!("not done after {} s", limit.as_secs())),
        Some(status) if status.success() => None,
        Some(status) => Some(reason(status, &stderr)),
    };
    Ok(Ended { stdout, failure })
}

/// The last line that says something like an error, else the last line.
fn reason(status: ExitStatus, stderr: &str) -> String {
    let lines = || stderr.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find(|line| line.to_lowercase().contains("error")).or_else(|| lines().next());
    error.map_or_else(|| status.to_string(), |line| format!("{status}: {line}"))
}

/// A process and what it started.
struct Group(u32);

impl Group {
    fn of(child: &Child) -> Self {
        RUNNING.lock().unwrap_or_else(|e| e.into_inner()).push(child.id());
        Self(child.id())
    }

    fn end(self, child: &mut Child) {
        kill(self.0);
        // It may have ended by itself; nothing is left to do then.
        drop(child.kill());
        drop(child.wait());
        RUNNING.lock().unwrap_or_else(|e| e.into_inner()).retain(|id| *id != self.0);
    }
}

#[cfg(unix)]
fn kill(group: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // An empty group is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill(_group: u32) {}

/// Ends everything that runs; for an interrupted program.
pub(crate) fn end_all() {
    for group in RUNNING.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        kill(*group);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn bash(script: &str) -> Ended {
        run(Command::new("bash").args(["-c", script]), LONG).unwrap()
    }

    #[test]
    fn a_command_that_ends_well_has_no_failure() {
        let ended = bash("echo one; echo two");
        assert_eq!((ended.stdout.as_str(), ended.failure), ("one\ntwo\n", None));
    }

    #[test]
    fn the_reason_is_the_line_that_says_error() {
        let ended = bash("echo 'Error: no device' >&2; echo later >&2; exit 3");
        let failure = ended.failure.unwrap();
        assert!(failure.contains("status: 3") && failure.contains("Error: no device"), "{failure}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn at_the_limit_a_command_is_ended_with_its_children_and_keeps_what_it_printed() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let script = r#"sleep 600 >/dev/null 2>&1 & echo $!; touch "$0"; wait"#;
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(&ready);
        let ended = run_until(&mut command, Duration::from_secs(7), &|| ready.exists()).unwrap();
        assert_eq!(ended.failure.as_deref(), Some("not done after 7 s"));
        // What a signal ends is gone a little later.
        let stat = format!("/proc/{}/stat", ended.stdout.trim());
        let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let gone = (0..500).any(|_| {
            thread::sleep(LOOK);
            !runs()
        });
        assert!(gone, "{stat}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/no/such/program"), LONG).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
