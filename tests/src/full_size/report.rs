//! What was found: printed as it comes, and written as Markdown and JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use strix_engine::Gpu;

use crate::full_width::Report;

/// What the errors at full width are of.
const ABOUT_WIDTHS: &str = "\
The width of the 8.2B model with one decoder layer, one layer of the vision tower and the abstractor's six, seeded
weights, against the CPU in f64 with the same rounded weights. A picture of 448 pixels a side; 24 rows of text around
its 65; then 4,096 positions in chunks of 128 with two pictures: keys and values of every position, the rows of the
last chunk, and a decode step at the last position.";

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Which of the five points it belongs to.
    pub point: u8,
    /// What was measured.
    pub what: String,
    /// With its unit.
    pub value: String,
    /// What it should be; empty where nothing was asked.
    pub asked: String,
    /// Whether it is; `None` where nothing was asked.
    pub good: Option<bool>,
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The device and its machine.
    pub adapter: String,
    /// The table.
    pub figures: Vec<Figure>,
    /// Share of each kernel in each program, in percent.
    pub kernels: Vec<(String, Vec<(String, f64)>)>,
    /// Errors at full width.
    pub widths: Vec<Report>,
    /// What the commands printed.
    pub outputs: Map<String, Value>,
}

impl Findings {
    pub(super) fn new(gpu: &Gpu) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let adapter = format!("{}, driver {}, {cores} cores", gpu.name(), gpu.info().driver_info);
        Self { adapter, figures: vec![], kernels: vec![], widths: vec![], outputs: Map::new() }
    }

    /// Prints a figure and keeps it.
    pub(super) fn add(&mut self, figure: Figure) {
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    /// A figure that nothing is asked of.
    pub(super) fn note(&mut self, point: u8, what: &str, value: String) {
        self.add(Figure { point, what: what.into(), value, asked: String::new(), good: None });
    }

    /// A figure with a largest value, both in `unit`.
    pub(super) fn at_most(&mut self, point: u8, what: &str, value: f64, most: f64, unit: &str) {
        self.add(Figure {
            point,
            what: what.into(),
            value: format!("{value:.2} {unit}"),
            asked: format!("at most {most:.2} {unit}"),
            good: Some(value <= most),
        });
    }

    /// A point that could not be measured.
    pub(super) fn failed(&mut self, point: u8, error: &anyhow::Error) {
        let value = format!("{error:#}");
        let (what, asked) = ("could not be measured".into(), String::new());
        self.add(Figure { point, what, value, asked, good: Some(false) });
    }

    /// Whether there are figures and none fell short.
    pub fn good(&self) -> bool {
        !self.figures.is_empty() && self.figures.iter().all(|figure| figure.good != Some(false))
    }

    /// The whole as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Adapter: {}\n\n| point | what | measured | asked | |\n|---|---|---|---|---|\n",
            self.adapter
        );
        for f in &self.figures {
            let verdict = f.verdict();
            let _ = writeln!(text, "| {} | {} | {} | {} | {verdict} |", f.point, f.what, f.value, f.asked);
        }
        for (program, kernels) in &self.kernels {
            let _ = writeln!(text, "\n| {program}: kernel | share |\n|---|---|");
            for (kernel, share) in kernels {
                let _ = writeln!(text, "| {kernel} | {share:.1}% |");
            }
        }
        if !self.widths.is_empty() {
            let names: BTreeSet<&String> = self.widths.iter().flat_map(|w| w.errors.keys()).collect();
            let head: String = self.widths.iter().map(|w| format!(" {} |", w.dtype)).collect();
            let rule = "---|".repeat(self.widths.len());
            let _ = writeln!(text, "\n{ABOUT_WIDTHS}");
            let _ = writeln!(text, "\n| worst error of the largest value |{head}\n|---|{rule}");
            for name in names {
                let cell = |w: &Report| w.errors.get(name).map_or(" |".into(), |e| format!(" {e:.1e} |"));
                let _ = writeln!(text, "| {name} |{}", self.widths.iter().map(cell).collect::<String>());
            }
        }
        text
    }

    fn json(&self) -> Value {
        let figure = |f: &Figure| json!({"point": f.point, "what": f.what, "value": f.value, "asked": f.asked, "good": f.good});
        let shares = |(program, kernels): &(String, Vec<(String, f64)>)| {
            (program.clone(), kernels.iter().map(|(k, share)| (k.clone(), json!(share))).collect::<Value>())
        };
        let width = |w: &Report| json!({"dtype": w.dtype.to_string(), "errors": w.errors, "device_s": w.seconds[0], "cpu_s": w.seconds[1]});
        json!({
            "adapter": self.adapter,
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "kernel_percent": self.kernels.iter().map(shares).collect::<Value>(),
            "full_width": self.widths.iter().map(width).collect::<Vec<_>>(),
            "outputs": self.outputs,
        })
    }

    /// Writes `README.md` and `full-size.json` into a folder.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let text = format!("# cargo xtask full-size\n\n{}", self.markdown());
        for (name, text) in [("README.md", text), ("full-size.json", format!("{:#}\n", self.json()))] {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

impl Figure {
    fn verdict(&self) -> &'static str {
        match self.good {
            Some(true) => "ok",
            Some(false) => "FELL SHORT",
            None => "",
        }
    }

    /// As it is printed.
    pub fn line(&self) -> String {
        let asked = if self.asked.is_empty() { String::new() } else { format!("  ({})", self.asked) };
        let line = format!("{}  {:<44} {}{asked}  {}", self.point, self.what, self.value, self.verdict());
        line.trim_end().to_owned()
    }
}
