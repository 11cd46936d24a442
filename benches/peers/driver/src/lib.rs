//! What the drivers of engines in Rust have in common: the job, the clock, and the lines they print.

use std::time::Instant;

use anyhow::{Context as _, Result};
use cpu_time::ProcessTime;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is asked for; the program's one argument, as JSON.
#[derive(Deserialize)]
pub struct Job {
    /// A GGUF file.
    pub model: Option<String>,
    /// What weights are.
    pub dtype: String,
    pub layers: u32,
    /// Rows of each prefill.
    pub prefill: Vec<u32>,
    /// Positions before those that are decoded.
    pub context: u32,
    /// Tokens to decode.
    pub tokens: u32,
}

impl Job {
    /// The argument.
    pub fn read() -> Result<Self> {
        let job = std::env::args().nth(1).context("the job, as JSON, is the one argument")?;
        serde_json::from_str(&job).with_context(|| format!("the job {job:?}"))
    }
}

/// Runs `work`; its time by the clock, and the processor's in all threads.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Value)> {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let done = work()?;
    Ok((done, json!({ "wall_s": wall.elapsed().as_secs_f64(), "cpu_s": cpu.elapsed().as_secs_f64() })))
}

/// Prints the engine's line.
pub fn engine(version: &str, device: &str) {
    println!("{}", json!({ "engine": { "version": version, "device": device } }));
}

/// Prints the line of a load.
pub fn load(spent: Value) {
    println!("{}", json!({ "load": spent }));
}

/// Prints the line of a prefill.
pub fn prefill(rows: u32, mut spent: Value) {
    spent["rows"] = rows.into();
    println!("{}", json!({ "prefill": spent }));
}

/// Prints the line of the job's tokens.
pub fn decode(job: &Job, mut spent: Value) {
    spent["context"] = job.context.into();
    spent["tokens"] = job.tokens.into();
    println!("{}", json!({ "decode": spent }));
}

/// Prints the most memory that was resident, where the system tells.
pub fn memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    if let Some(kib) = peak.and_then(|kib| kib.trim().parse::<f64>().ok()) {
        println!("{}", json!({ "memory": { "peak_mib": kib / 1024.0 } }));
    }
}
