//! Runs the program as its user does.

use std::process::{Command, Output, Stdio};

pub(crate) fn strix(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strix"));
    command.args(args).stdin(Stdio::null()).env_remove("STRIX_LOG");
    command.env("STRIX_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn output(args: &[&str]) -> Output {
    strix(args).output().unwrap()
}

/// Its stdout, once it has ended well.
#[allow(dead_code, reason = "not every test needs it")]
#[track_caller]
pub(crate) fn prints(args: &[&str]) -> String {
    let out = output(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
