//! `strix` itself on a GPU that is not there: the device is shown, all kernels compile, an answer is driven to its end.

use std::path::Path;

use anyhow::Result;
use strix_isa::environment;
use strix_isa::gpus::Fake;

use super::{Findings, question};

/// What no run may print: it is a fault of ours whatever the device answers.
const FAULTS: [&str; 4] = ["panicked", "Validation Error", "wgpu error", "bug in Strix"];

/// What the shim in place of the kernel's driver brings about on RADV where memory is imported: it keeps no timelines, and
/// answers for the counter of a semaphore whatever lies in memory, so that a wait without end ends. (The validation layer
/// sees the same counter, and nothing of ours.) Where nothing is imported the waits are others.
const SHIM: &str = "The requested Wait timed out";

/// Runs `strix devices` and `strix ask` on a GPU.
///
/// # Errors
///
/// If its driver is not there.
pub fn check(fake: &Fake, drivers: &Path, strix: &Path, root: &Path) -> Result<Findings> {
    let run = |args: &[String]| -> Result<Option<String>> {
        let (mut command, _own) = environment::command(drivers, fake, strix)?;
        let out = command.args(args).output()?;
        let said =
            [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(judge(&out.status.to_string(), out.status.success(), &said))
    };
    let devices = run(&["devices".to_owned()])?;
    let mut asked = run(&question(root, &[]))?;
    if !fake.computes() && asked.as_ref().is_some_and(|why| why.contains(SHIM)) {
        println!(
            "{fake}: strix ask: the shim's waits end where memory is imported, explained; asked without"
        );
        asked = run(&question(root, &["--no-import"]))?;
    }
    let named = [("devices", devices), ("ask", asked)].into_iter();
    Ok(named.filter_map(|(what, why)| why.map(|why| format!("{fake}: strix {what}: {why}"))).collect())
}

/// Why an output is not that of a good run.
fn judge(status: &str, success: bool, said: &str) -> Option<String> {
    let fault = said.lines().find(|line| FAULTS.iter().any(|fault| line.contains(fault)));
    let last = || said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match (fault, success) {
        (Some(line), _) => Some(line.trim().to_owned()),
        (None, false) => Some(format!("{status}: {}", last())),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_bad_if_it_fails_or_prints_a_fault() {
        assert_eq!(judge("exit status: 0", true, "* NVK\nred\n"), None);
        assert_eq!(judge("signal: 11", false, "a\nlast\n\n").as_deref(), Some("signal: 11: last"));
        assert_eq!(judge("exit status: 0", true, "wgpu error: no\nred").as_deref(), Some("wgpu error: no"));
    }
}
