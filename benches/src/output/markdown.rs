//! A run as Markdown.

use std::fmt::Write as _;

use super::table::host_line;
use super::{cells, duration, facts, heads, legend};
use crate::compare::Comparison;
use crate::run::{Kind, Run};

/// The README of a stored run.
pub fn page(run: &Run, comparison: Option<&Comparison>) -> String {
    let mut out = format!("# {}\n\n| | |\n|---|---|\n", title(run));
    for (name, value) in facts(run) {
        let _ = writeln!(out, "| {name} | {} |", escaped(&value));
    }
    out += "\n";
    out += &table(&heads(run), &run.rows.iter().map(|row| cells(run, row)).collect::<Vec<_>>());
    let _ = writeln!(out, "\n{}", legend(run));
    for row in run.rows.iter().filter(|row| !row.shares.is_empty() || row.host.is_some()) {
        let _ = writeln!(out, "\n## {}\n", escaped(&row.name));
        if !row.shares.is_empty() {
            let shares: Vec<_> = row
                .shares
                .iter()
                .map(|s| {
                    vec![
                        s.name.clone(),
                        format!("{:.1}%", 100.0 * s.share),
                        duration(s.ns),
                        s.dispatches.to_string(),
                    ]
                })
                .collect();
            out += &table(&["kernel", "share", "time", "dispatches"], &shares);
        }
        if let Some(host) = row.host {
            let _ = writeln!(out, "\n{}", escaped(&host_line(&host)));
        }
    }
    for series in run.scaling.iter().flat_map(|scaling| &scaling.series) {
        let _ = writeln!(out, "\n## {}\n\n{}\n", escaped(&series.title), escaped(&series.words()));
        let (heads, points) = series.table();
        out += &table(&heads, &points);
    }
    for remark in super::remarks(run) {
        let _ = writeln!(out, "\n{}", escaped(&remark));
    }
    if let Some((heads, lines)) = super::ranking(run) {
        let _ = write!(out, "\n## The quickest\n\n{}\n{}\n", table(&heads, &lines), super::VERDICTS);
    }
    if let Some((heads, lines)) = super::machine(run) {
        let heads: Vec<_> = heads.iter().map(String::as_str).collect();
        let _ = write!(out, "\n## Machine code\n\n{}", table(&heads, &lines));
    }
    if let Some(c) = comparison {
        let _ = writeln!(out, "\n## Against the run of {}\n", c.date);
        for difference in &c.differences {
            let _ = writeln!(out, "- another device: {}", escaped(difference));
        }
        let row = |c: &crate::Change| {
            let ratio = format!("{:.3}", c.ratio);
            vec![c.name.clone(), duration(c.old_ns), duration(c.new_ns), ratio, c.verdict.word().into()]
        };
        out += "\n";
        let rows: Vec<_> = c.changes.iter().map(row).collect();
        out += &table(&["bench", "then", "now", "now/then", ""], &rows);
    }
    out
}

/// The heading: subject and device of the run.
pub(crate) fn title(run: &Run) -> String {
    let what = match run.kind {
        Kind::Kernels => "Kernels",
        Kind::Model => "Model",
        Kind::Wgsl => "WGSL",
        Kind::Device => "The device:",
    };
    format!("{what} on {}, {}", run.device.adapter, run.date.get(..10).unwrap_or(""))
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len() - 1));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| escaped(cell)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{row, run};

    #[test]
    fn every_line_of_a_table_has_as_many_cells() {
        let page = page(&run(vec![row("a|b", &[1e6, 2e6]), row("c", &[1.0])]), None);
        assert!(page.starts_with("# Kernels on llvmpipe"), "{page}");
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).collect();
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let wide: Vec<_> = lines.iter().filter(|line| cells(line) > 3).collect();
        assert_eq!(wide.len(), 3, "{page}");
        assert!(wide.iter().all(|line| cells(line) == cells(wide[0])), "{page}");
        assert!(wide[1].contains("a\\|b"), "{page}");
    }
}
