//! What the benches take from the command line and print.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{Clock, Roofline, Source, Timing, Work};

/// Arguments of every bench.
#[derive(Clone, Debug, Default, Parser)]
#[command(about = "Times Strix on one adapter (STRIX_ADAPTER names another)")]
pub struct Options {
    /// Parts of names; all of them must occur.
    pub filter: Vec<String>,
    /// The most telling ones only, and few runs.
    #[arg(long)]
    pub quick: bool,
    /// Compare with the CPU references first.
    #[arg(long)]
    pub check: bool,
    /// Print the names only.
    #[arg(long)]
    pub list: bool,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Whether a name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.iter().all(|part| name.contains(part.as_str()))
    }
}

/// One line of figures.
#[derive(Clone, Debug)]
pub struct Row {
    /// `kernel/regime/shape[/dtype]`.
    pub name: String,
    /// What had to be done; zeros where nobody counted.
    pub work: Work,
    /// How long it took.
    pub timing: Timing,
    /// Whether the result was compared with the reference.
    pub checked: bool,
}

/// Prints rows as they come and keeps them.
#[derive(Debug)]
pub struct Report {
    /// What the device can do.
    pub roof: Roofline,
    rows: Vec<Row>,
}

impl Report {
    /// Prints the device and its roofline.
    pub fn begin(clock: &Clock, roof: Roofline) -> Self {
        let info = clock.gpu().info();
        println!("adapter   {}, driver {} {}", clock.gpu().name(), info.driver, info.driver_info);
        println!("target    {:?}", clock.gpu().target());
        let (gb, gflop) = (roof.bytes_per_s / 1e9, roof.flops_per_s / 1e9);
        println!("roofline  reads {gb:.1} GB/s, multiply-adds {gflop:.0} GFLOP/s of f32");
        if clock.is_software() {
            println!("rates     from `idle`: processor time over the cores, or the best run if that is less");
        } else {
            println!("rates     from the median run");
        }
        println!();
        let head = ["median ms", "best", "spread", "idle", "GB/s", "GFLOP/s", "% of roof"];
        print!("{:48}", "");
        for word in head {
            print!("{word:>10}");
        }
        println!();
        Self { roof, rows: vec![] }
    }

    /// Prints and keeps one.
    pub fn push(&mut self, row: Row) {
        println!("{}", self.line(&row));
        self.rows.push(row);
    }

    fn line(&self, row: &Row) -> String {
        let (t, rate) = (&row.timing, row.timing.rate_ns());
        let idle = t.idle_ns.map_or("-".into(), ms);
        let figure = |amount: u64, digits: usize| match amount {
            0 => "-".into(),
            n => format!("{:.digits$}", n as f64 / rate),
        };
        let bound = if self.roof.is_memory_bound(row.work) { 'M' } else { 'A' };
        let percent = format!("{:.1}{bound}", self.percent(row));
        format!(
            "{:48}{:>10}{:>10}{:>9.0}%{:>10}{:>10}{:>10}{:>9}{}",
            row.name,
            ms(t.median_ns()),
            ms(t.best_ns()),
            100.0 * t.spread(),
            idle,
            figure(row.work.bytes, 2),
            figure(row.work.flops, 1),
            if row.work.bytes > 0 { percent } else { "-".into() },
            if t.source == Source::Wall { " wall" } else { "" },
        )
    }

    fn percent(&self, row: &Row) -> f64 {
        100.0 * self.roof.least_ns(row.work) / row.timing.rate_ns()
    }

    /// The row of that name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.name == name)
    }

    /// Prints which pipelines took longest to compile, creation and first dispatch together.
    pub fn slowest_pipelines(&self, count: usize) {
        let mut rows: Vec<_> = self.rows.iter().filter(|r| r.timing.pipelines > 0).collect();
        rows.sort_by(|a, b| cost(&b.timing).total_cmp(&cost(&a.timing)));
        println!("\nslowest to compile (ms): creation, then what the first dispatch took above the second");
        for row in rows.iter().take(count) {
            let t = &row.timing;
            let kernel = t.steps.first().map_or(row.name.as_str(), |step| step.kernel.as_str());
            println!("{:>10}{:>10}   {kernel}", ms(t.compile_ns), ms(t.first_ns));
        }
        let total: f64 = rows.iter().map(|r| cost(&r.timing)).sum();
        println!("{:>10} in all for {} of them", ms(total), rows.len());
    }

    /// Writes every row as comma-separated values.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_csv(&self, path: &std::path::Path) -> Result<()> {
        let mut text = String::from(
            "name,kernel,steps,bytes,flops,runs,clock,median_ns,best_ns,spread,idle_ns,gb_per_s,gflop_per_s,\
             roof_percent,bound,new_pipelines,compile_ns,first_ns,checked\n",
        );
        for row in &self.rows {
            let (t, rate) = (&row.timing, row.timing.rate_ns());
            let kernel = t.steps.first().map_or("", |step| step.kernel.as_str());
            writeln!(
                text,
                "{},\"{kernel}\",{},{},{},{},{},{:.0},{:.0},{:.3},{},{:.3},{:.3},{:.2},{},{},{:.0},{:.0},{}",
                row.name,
                t.steps.len(),
                row.work.bytes,
                row.work.flops,
                t.runs_ns.len(),
                if t.source == Source::Device { "timestamp" } else { "wall" },
                t.median_ns(),
                t.best_ns(),
                t.spread(),
                t.idle_ns.map_or(String::new(), |ns| format!("{ns:.0}")),
                row.work.bytes as f64 / rate,
                row.work.flops as f64 / rate,
                self.percent(row),
                if self.roof.is_memory_bound(row.work) { "memory" } else { "arithmetic" },
                t.pipelines,
                t.compile_ns,
                t.first_ns,
                row.checked,
            )?;
        }
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

fn cost(t: &Timing) -> f64 {
    t.compile_ns + t.first_ns
}

fn ms(ns: f64) -> String {
    let ms = ns / 1e6;
    if ms < 1.0 {
        format!("{ms:.4}")
    } else if ms < 100.0 {
        format!("{ms:.2}")
    } else {
        format!("{ms:.0}")
    }
}
