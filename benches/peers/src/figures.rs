//! What an engine's driver prints: one JSON object a line for each thing it measured, so that a run that is ended
//! half-way keeps what it had.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// What a driver is asked to do; its only argument, as JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job {
    /// A GGUF file; engines that make their own weights do not look at it.
    pub model: Option<String>,
    /// `vulkan` or `cpu`.
    pub backend: &'static str,
    /// What weights are.
    pub dtype: &'static str,
    pub layers: u32,
    pub threads: usize,
    /// Rows of each prefill, from an empty context.
    pub prefill: Vec<u32>,
    /// Positions before those that are decoded.
    pub context: u32,
    /// Tokens to decode.
    pub tokens: u32,
    /// A folder to keep something in between runs.
    pub scratch: String,
}

/// A line of a driver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// What runs, and on what.
    Engine { version: String, device: String },
    /// From the file to the first position.
    Load(Spent),
    Prefill {
        rows: u32,
        #[serde(flatten)]
        spent: Spent,
    },
    Decode {
        context: u32,
        tokens: u32,
        #[serde(flatten)]
        spent: Spent,
    },
    /// The most memory it had resident.
    Memory { peak_mib: f64 },
}

/// A time by the clock, and the processor's time in all threads of the process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub wall_s: f64,
    pub cpu_s: f64,
}

impl Spent {
    /// What an idle machine would need: processor time over `cores`, or the clock's time if that is less.
    pub(crate) fn idle_s(self, cores: usize) -> f64 {
        (self.cpu_s / cores as f64).min(self.wall_s)
    }
}

/// Everything one run of an engine measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub version: String,
    pub device: String,
    pub load: Option<Spent>,
    pub prefill: Vec<Rate>,
    pub decode: Option<Rate>,
    pub peak_mib: Option<f64>,
}

/// Tokens in a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rate {
    pub tokens: u32,
    #[serde(flatten)]
    pub spent: Spent,
}

impl Figures {
    /// Reads what a driver printed. Lines that are no JSON object are its engine's chatter.
    pub(crate) fn parse(printed: &str) -> Result<Self> {
        let mut figures = Self::default();
        for line in printed.lines().map(str::trim).filter(|line| line.starts_with('{')) {
            let read = serde_json::from_str(line).with_context(|| format!("the driver printed {line:?}"))?;
            figures.add(read).with_context(|| format!("the driver printed {line:?}"))?;
        }
        Ok(figures)
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: Line) -> Result<()> {
        let positive = |spent: Spent| {
            let good = spent.wall_s > 0.0 && spent.wall_s.is_finite() && spent.cpu_s >= 0.0;
            ensure!(good, "no such time: {spent:?}");
            Ok(spent)
        };
        match line {
            Line::Engine { version, device } => (self.version, self.device) = (version, device),
            Line::Load(spent) => self.load = Some(positive(spent)?),
            Line::Prefill { rows, spent } => {
                self.prefill.push(Rate { tokens: rows, spent: positive(spent)? });
            }
            Line::Decode { tokens, spent, .. } => {
                ensure!(tokens > 0, "no token was decoded");
                self.decode = Some(Rate { tokens, spent: positive(spent)? });
            }
            Line::Memory { peak_mib } => self.peak_mib = Some(peak_mib),
        }
        Ok(())
    }

    /// What is missing of the job.
    pub(crate) fn missing(&self, job: &Job) -> Option<String> {
        let prefill = |rows: &&u32| !self.prefill.iter().any(|rate| rate.tokens == **rows);
        let rows = job.prefill.iter().filter(prefill).map(|rows| format!("prefill {rows}"));
        let missing: Vec<_> = rows.chain(self.decode.is_none().then(|| "decode".into())).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_driver_become_figures_and_chatter_is_passed_over() {
        let printed = r#"
[node-llama-cpp] using the software device
{"engine": {"version": "llama.cpp v0.5.0", "device": "llvmpipe"}}
{"load": {"wall_s": 0.8, "cpu_s": 0.3}}
{"prefill": {"rows": 64, "wall_s": 23.2, "cpu_s": 45.0}}
  {"decode": {"context": 512, "tokens": 8, "wall_s": 7.5, "cpu_s": 14.0}}
{"memory": {"peak_mib": 2100.5}}
bye"#;
        let figures = Figures::parse(printed).unwrap();
        assert_eq!((figures.version.as_str(), figures.device.as_str()), ("llama.cpp v0.5.0", "llvmpipe"));
        assert_eq!(figures.load, Some(Spent { wall_s: 0.8, cpu_s: 0.3 }));
        assert_eq!(figures.prefill, [Rate { tokens: 64, spent: Spent { wall_s: 23.2, cpu_s: 45.0 } }]);
        assert_eq!(figures.decode, Some(Rate { tokens: 8, spent: Spent { wall_s: 7.5, cpu_s: 14.0 } }));
        assert_eq!(figures.peak_mib, Some(2100.5));
        let job = Job {
            model: None,
            backend: "vulkan",
            dtype: "q8_0",
            layers: 4,
            threads: 2,
            prefill: vec![64, 256],
            context: 512,
            tokens: 8,
            scratch: String::new(),
        };
        assert_eq!(figures.missing(&job).unwrap(), "prefill 256");
        assert_eq!(Figures::default().missing(&job).unwrap(), "prefill 64, prefill 256, decode");
    }

    #[test]
    fn what_is_no_figure_is_refused_with_its_line() {
        for (line, why) in [
            (r#"{"prefill": {"rows": 64, "wall_s": 0, "cpu_s": 1}}"#, "no such time"),
            (r#"{"decode": {"context": 512, "tokens": 0, "wall_s": 1, "cpu_s": 1}}"#, "no token"),
            (r#"{"prefill": {"rows": 64}}"#, "wall_s"),
            (r#"{"speed": 3}"#, "unknown variant"),
            ("{", "EOF"),
        ] {
            let error = format!("{:#}", Figures::parse(line).unwrap_err());
            assert!(error.contains(why) && error.contains("the driver printed"), "{line}: {error}");
        }
    }

    #[test]
    fn idle_time_is_the_processors_unless_the_clock_says_less() {
        assert_eq!(Spent { wall_s: 5.0, cpu_s: 6.0 }.idle_s(2), 3.0);
        // One thread: the clock's half of it would be too little, and is all that can be said.
        assert_eq!(Spent { wall_s: 2.0, cpu_s: 6.0 }.idle_s(2), 2.0);
    }
}
