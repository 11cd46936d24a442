//! From runs to a table: medians over rounds, projected to the whole decoder, and held against one another.

use std::fmt::Write as _;

use serde::Serialize;

use crate::engines::{Class, Engine, NATIVE, VULKAN};
use crate::figures::{Figures, Job, Rate};
use crate::shape::{LAYERS, times_longer};

/// Which time rates are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clock {
    /// The processor's time over the cores, or the clock's if that is less: what an idle machine needs. Where the
    /// Vulkan device is the processor.
    Idle,
    /// By the clock.
    Wall,
}

impl Clock {
    /// The one that is right for a device.
    pub(crate) fn of(device: &str) -> Self {
        let software = ["llvmpipe", "lavapipe", "SwiftShader", "Basic Render"];
        if software.iter().any(|name| device.contains(name)) { Self::Idle } else { Self::Wall }
    }

    fn seconds(self, rate: &Rate, cores: usize) -> f64 {
        match self {
            Self::Idle => rate.spent.idle_s(cores),
            Self::Wall => rate.spent.wall_s,
        }
    }
}

/// The rounds of an engine.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Rounds {
    pub runs: Vec<Figures>,
    /// Why it was not run, or not to its end, or not again.
    pub failure: Option<String>,
}

/// Something that tokens are counted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Prefill(u32),
    Decode,
}

/// Tokens a second, over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// `prefill/64`, `decode/512`.
    pub name: String,
    /// Median of the layers that were run.
    pub tokens_per_s: f64,
    /// The same of the whole decoder.
    pub whole_tokens_per_s: f64,
    /// The same by the clock.
    pub whole_wall_tokens_per_s: f64,
    /// From the slowest to the quickest round, in parts of the median.
    pub spread: f64,
    /// How many times faster Strix is, with comparable weights.
    pub strix_times: Option<f64>,
    /// In parts of llama.cpp's native code, with comparable weights.
    pub of_native: Option<f64>,
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub engine: String,
    pub weights: String,
    pub backend: String,
    pub version: String,
    pub device: String,
    /// Norms, attention and the rest are left out.
    pub products_only: bool,
    pub measured: Vec<Measured>,
    /// The most of any round.
    pub peak_mib: Option<f64>,
    #[serde(flatten)]
    pub rounds: Rounds,
}

/// A run of this program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Of the day, in UTC.
    pub date: String,
    pub machine: String,
    pub cores: usize,
    /// The Vulkan device.
    pub device: String,
    pub clock: Clock,
    pub rounds: usize,
    pub layers: u32,
    pub whole_layers: u32,
    pub rows: Vec<Row>,
}

/// All rounds of one class of Strix or of one engine.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Strix(Class),
    Peer(Engine),
}

impl Who {
    fn class(&self) -> Class {
        match self {
            Self::Strix(class) => *class,
            Self::Peer(engine) => engine.class,
        }
    }
}

impl Report {
    /// Sums up.
    pub(crate) fn new(
        machine: String,
        cores: usize,
        rounds: usize,
        job: &Job,
        all: Vec<(Who, Rounds)>,
    ) -> Self {
        let on_vulkan = |who: &Who| !matches!(who, Who::Peer(engine) if engine.backend == "cpu");
        let devices = all.iter().filter(|(who, _)| on_vulkan(who)).flat_map(|(_, rounds)| &rounds.runs);
        let device = devices.map(|run| run.device.clone()).find(|name| !name.is_empty()).unwrap_or_default();
        let clock = Clock::of(&device);
        let names = job.prefill.iter().map(|&rows| What::Prefill(rows)).chain([What::Decode]);
        let whats: Vec<What> = names.collect();

        let rate = |who: &Who, what: What| {
            let rounds = &all.iter().find(|(other, _)| same(who, other))?.1;
            measure(rounds, what, job, clock, cores)
        };
        let rows = all.iter().map(|(who, rounds)| {
            let class = who.class();
            let native = all.iter().map(|(who, _)| who).find(
                |who| matches!(who, Who::Peer(engine) if engine.name == NATIVE && engine.class == class),
            );
            let measured = whats.iter().filter_map(|&what| {
                let mut measured = rate(who, what)?;
                let own = measured.whole_tokens_per_s;
                if matches!(who, Who::Peer(_)) {
                    let strix = rate(&Who::Strix(class), what);
                    measured.strix_times = strix.map(|strix| strix.whole_tokens_per_s / own);
                }
                let native = native.and_then(|native| rate(native, what));
                measured.of_native = native.map(|native| own / native.whole_tokens_per_s);
                Some(measured)
            });
            let last = rounds.runs.iter().rfind(|run| !run.version.is_empty()).cloned().unwrap_or_default();
            let (engine, weights, backend, products_only) = match who {
                Who::Strix(class) => ("Strix", class.dtype(), "vulkan", false),
                Who::Peer(e) => (e.name, e.dtype, e.backend, e.products_only),
            };
            Row {
                engine: engine.into(),
                weights: weights.into(),
                backend: backend.into(),
                version: last.version,
                device: last.device,
                products_only,
                measured: measured.collect(),
                peak_mib: rounds.runs.iter().filter_map(|run| run.peak_mib).reduce(f64::max),
                rounds: rounds.clone(),
            }
        });
        let rows = rows.collect();
        let (layers, whole_layers) = (job.layers, LAYERS);
        Self { date: today(), machine, cores, device, clock, rounds, layers, whole_layers, rows }
    }

    /// Name of its folder: the date, and the device up to what it says of itself in brackets.
    pub(crate) fn folder(&self) -> String {
        let name = self.device.split('(').next().unwrap_or_default().to_lowercase();
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<_> = [self.date.as_str()].into_iter().chain(words).chain(["peers"]).collect();
        words.join("-")
    }

    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let names: Vec<&str> = {
            let longest = self.rows.iter().max_by_key(|row| row.measured.len());
            longest.map_or(vec![], |row| row.measured.iter().map(|m| m.name.as_str()).collect())
        };
        let mut line = |cells: &[String]| {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        };
        let head = |first: &[&str], last: &[&str]| -> Vec<String> {
            first.iter().chain(&names).chain(last).map(|cell| cell.to_string()).collect()
        };
        let heads = head(&["engine", "weights", "on"], &["spread", "memory, MiB"]);
        line(&heads);
        line(&vec!["---".into(); heads.len()]);
        for row in &self.rows {
            let mark = if row.products_only { "at most " } else { "" };
            let cell = |name: &&str| {
                let found = row.measured.iter().find(|m| m.name == **name);
                found.map_or("-".into(), |m| format!("{mark}{}", digits(m.whole_tokens_per_s)))
            };
            let spread = row.measured.iter().map(|m| m.spread).reduce(f64::max);
            let mut cells = vec![row.engine.clone(), row.weights.clone(), row.backend.clone()];
            cells.extend(names.iter().map(cell));
            cells.push(spread.map_or("-".into(), |spread| format!("{:.0}%", 100.0 * spread)));
            cells.push(row.peak_mib.map_or("-".into(), |mib| format!("{mib:.0}")));
            line(&cells);
        }
        line(&[]);
        let heads = head(&["Strix in times of", "weights"], &[]);
        line(&heads);
        line(&vec!["---".into(); heads.len()]);
        for row in self.rows.iter().filter(|row| row.measured.iter().any(|m| m.strix_times.is_some())) {
            let mark = if row.products_only { "at least " } else { "" };
            let cell = |name: &&str| {
                let found = row.measured.iter().find(|m| m.name == **name).and_then(|m| m.strix_times);
                found.map_or("-".into(), |times| format!("{mark}{}", digits(times)))
            };
            let mut cells = vec![format!("{} on {}", row.engine, row.backend), row.weights.clone()];
            cells.extend(names.iter().map(cell));
            line(&cells);
        }
        let mut out = out.replace("|  |\n", "\n");
        self.shares(&mut out);
        self.failures(&mut out);
        out
    }

    /// What Strix is in parts of llama.cpp's native code.
    fn shares(&self, out: &mut String) {
        for row in self.rows.iter().filter(|row| row.engine == "Strix") {
            let share =
                |m: &Measured| m.of_native.map(|share| format!("{} {}%", m.name, digits(100.0 * share)));
            let shares: Vec<_> = row.measured.iter().filter_map(share).collect();
            if !shares.is_empty() {
                let _ = writeln!(
                    out,
                    "\nStrix {} on Vulkan, in parts of {NATIVE}: {}.",
                    row.weights,
                    shares.join(", ")
                );
            }
        }
    }

    fn failures(&self, out: &mut String) {
        let failed = self.rows.iter().filter_map(|row| Some((row, row.rounds.failure.as_ref()?)));
        for (i, (row, why)) in failed.enumerate() {
            let gap = if i == 0 { "\n" } else { "" };
            let _ = writeln!(out, "{gap}- {} {}: {why}", row.engine, row.weights);
        }
    }

    /// A README for the run's folder; `command` made it.
    pub(crate) fn readme(&self, command: &str) -> String {
        let mut out = format!("# {}, {}, Strix beside its peers\n\n", self.date, self.device);
        let mut versions: Vec<_> =
            self.rows.iter().map(|row| row.version.as_str()).filter(|v| !v.is_empty()).collect();
        versions.dedup();
        let _ = writeln!(out, "| | |\n|---|---|\n| machine | {} |", self.machine);
        let _ = writeln!(out, "| Vulkan device | {} |\n| engines | {} |", self.device, versions.join(", "));
        let layers = match self.layers {
            LAYERS => format!("{LAYERS} layers, all of them"),
            some => format!("{some} of {LAYERS} layers, and the head"),
        };
        let _ = writeln!(out, "| model | random weights of the 8.2B model's decoder, {layers} |");
        let _ = writeln!(out, "| rounds | {} |\n\n```sh\n{command}\n```\n", self.rounds);
        let _ = writeln!(out, "{}", self.explanation());
        out + &self.markdown()
    }

    /// What the figures are.
    pub(crate) fn explanation(&self) -> String {
        let clock = match self.clock {
            Clock::Idle => format!(
                "Times are the processor's over {} cores, or the clock's where that is less: what an idle machine \
                 needs.",
                self.cores
            ),
            Clock::Wall => "Times are the clock's.".into(),
        };
        let projected = match self.layers {
            LAYERS => String::new(),
            some => format!(
                " {some} layers and the head were run; a whole decoder takes as many times longer as it has more \
                 products of a weight and a row ({:.2} times at decode).",
                times_longer(1, some)
            ),
        };
        format!(
            "Tokens a second of the whole decoder ({LAYERS} layers), median of the rounds; decode is after so many \
             positions. {clock}{projected} \"At most\" is of engines that run the products with weights alone, without \
             norms and attention. Strix runs with int8 beside engines with 8-bit weights, with bf16 beside the others. \
             The comparison on one device is with {VULKAN}; what runs on the processor natively is another thing.\n"
        )
    }
}

fn same(a: &Who, b: &Who) -> bool {
    match (a, b) {
        (Who::Strix(a), Who::Strix(b)) => a == b,
        (Who::Peer(a), Who::Peer(b)) => a.key() == b.key(),
        _ => false,
    }
}

fn measure(rounds: &Rounds, what: What, job: &Job, clock: Clock, cores: usize) -> Option<Measured> {
    let of = |run: &Figures| match what {
        What::Prefill(rows) => run.prefill.iter().find(|rate| rate.tokens == rows).copied(),
        What::Decode => run.decode,
    };
    let rates: Vec<Rate> = rounds.runs.iter().filter_map(of).collect();
    let per_s = |seconds: &dyn Fn(&Rate) -> f64| -> Vec<f64> {
        let mut all: Vec<f64> = rates.iter().map(|rate| f64::from(rate.tokens) / seconds(rate)).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (name, longer) = match what {
        What::Prefill(rows) => (format!("prefill/{rows}"), times_longer(rows, job.layers)),
        What::Decode => (format!("decode/{}", job.context), times_longer(1, job.layers)),
    };
    let measured = per_s(&|rate| clock.seconds(rate, cores));
    let tokens_per_s = median(&measured)?;
    Some(Measured {
        name,
        tokens_per_s,
        whole_tokens_per_s: tokens_per_s / longer,
        whole_wall_tokens_per_s: median(&per_s(&|rate| rate.spent.wall_s))? / longer,
        spread: (measured[measured.len() - 1] - measured[0]) / tokens_per_s,
        strix_times: None,
        of_native: None,
    })
}

/// Of sorted values; between the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let decimals = (2 - value.abs().max(1e-3).log10().floor() as i32).clamp(0, 4);
    format!("{value:.*}", decimals as usize)
}

/// `2026-11-25`, in UTC.
fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
