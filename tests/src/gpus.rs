//! The checks of `cargo xtask gpus`: Strix with the drivers and compilers of GPUs that are not here.

pub mod languages;
pub mod programs;
pub mod speed;
pub mod tables;
pub mod validation;

use std::path::Path;
use std::time::{Duration, Instant};

/// What a part of the checks found wrong: nothing, if all is well.
pub type Findings = Vec<String>;

/// The words of `strix ask` for a short answer about a picture, with more of them.
fn question(root: &Path, more: &[&str]) -> Vec<String> {
    let picture = root.join("tests/nano/samples/drawing_640x480.png");
    let args = ["ask", "--image", &picture.to_string_lossy(), "--max-tokens", "8"].map(str::to_owned);
    args.into_iter()
        .chain(more.iter().map(|&word| word.into()))
        .chain(["What color is the shape?".into()])
        .collect()
}

/// Parts of the checks, each with its time and what it found.
#[derive(Debug, Default)]
pub struct Parts(Vec<(String, Duration, Findings)>);

impl Parts {
    /// Runs a part and prints what it found. An error is a finding too.
    pub fn run(&mut self, name: &str, part: impl FnOnce() -> anyhow::Result<Findings>) {
        println!("\n── {name}");
        let start = Instant::now();
        let findings = part().unwrap_or_else(|error| vec![format!("{error:#}")]);
        findings.iter().for_each(|finding| println!("FOUND  {finding}"));
        self.0.push((name.to_owned(), start.elapsed(), findings));
    }

    /// Prints each part with its time; whether none found anything.
    pub fn summary(&self) -> bool {
        println!();
        for (name, time, findings) in &self.0 {
            let verdict = match findings.len() {
                0 => "ok".to_owned(),
                n => format!("{n} FOUND"),
            };
            println!("{name:<28}{:>8.1} s  {verdict}", time.as_secs_f64());
        }
        self.0.iter().all(|(_, _, findings)| findings.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_part_is_a_finding_and_the_others_are_still_run() {
        let mut parts = Parts::default();
        parts.run("first", || anyhow::bail!("no driver"));
        parts.run("second", || Ok(vec![]));
        assert_eq!(parts.0.iter().map(|(_, _, f)| f.len()).collect::<Vec<_>>(), [1, 0]);
        assert!(!parts.summary());
    }
}
