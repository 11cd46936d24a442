//! A run for a terminal.

use std::fmt::Write as _;

use super::{cells, duration, facts, heads, legend};
use crate::compare::Comparison;
use crate::run::Run;

/// Device, roofline, an aligned table of the benches, and what else the run holds.
pub fn page(run: &Run, comparison: Option<&Comparison>) -> String {
    let mut out = String::new();
    for (name, value) in facts(run) {
        let _ = writeln!(out, "{name:<10}{value}");
    }
    let rows: Vec<_> = run.rows.iter().map(|row| cells(run, row)).collect();
    out += "\n";
    out += &aligned(&heads(run), &rows);
    let _ = writeln!(out, "\n{}", legend(run));
    for row in &run.rows {
        if row.shares.is_empty() && row.host.is_none() {
            continue;
        }
        let _ = writeln!(out, "\n{}", row.name);
        for share in &row.shares {
            let (percent, time) = (100.0 * share.share, duration(share.ns));
            let _ = writeln!(out, "  {percent:>5.1}%{time:>10}{:>6} x  {}", share.dispatches, share.name);
        }
        if let Some(host) = row.host {
            let _ = writeln!(out, "  {}", host_line(&host));
        }
    }
    for series in run.scaling.iter().flat_map(|scaling| &scaling.series) {
        let _ = writeln!(out, "\n{}: {}", series.title, series.words());
        let (heads, rows) = series.table();
        out += &aligned(&heads, &rows);
    }
    for remark in super::remarks(run) {
        let _ = writeln!(out, "\n{remark}");
    }
    if let Some((heads, lines)) = super::ranking(run) {
        let _ = write!(out, "\n{}{}\n", aligned(&heads, &lines), super::VERDICTS);
    }
    if let Some((heads, lines)) = super::machine(run) {
        let heads: Vec<_> = heads.iter().map(String::as_str).collect();
        let _ = write!(out, "\nmachine code\n{}", aligned(&heads, &lines));
    }
    if let Some(comparison) = comparison {
        out += "\n";
        out += &compared(comparison);
    }
    out
}

/// The host's time between two tokens.
pub(crate) fn host_line(host: &crate::Host) -> String {
    let allocations =
        host.allocations.map_or("not counted".to_owned(), |count| format!("{count:.1} a token"));
    format!(
        "host: {} of processor time a token in the thread that drives, {:.2}% of the token; allocations {allocations}",
        duration(host.cpu_ns),
        100.0 * host.share
    )
}

/// Two runs side by side.
fn compared(c: &Comparison) -> String {
    let mut out = format!("against the run of {}\n", c.date);
    for difference in &c.differences {
        let _ = writeln!(out, "  OTHER DEVICE  {difference}");
    }
    let cells = |c: &crate::Change| {
        vec![
            c.name.clone(),
            duration(c.old_ns),
            duration(c.new_ns),
            format!("{:.3}", c.ratio),
            c.verdict.word().into(),
        ]
    };
    let rows: Vec<_> = c.changes.iter().map(cells).collect();
    out += &aligned(&["bench", "then", "now", "now/then", ""], &rows);
    for (what, names) in [("only now", &c.added), ("only then", &c.missing)] {
        if !names.is_empty() {
            let _ = writeln!(out, "{what}: {}", names.join(", "));
        }
    }
    out + super::VERDICTS + "\n"
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &[&str]| {
        let mut text = format!("{:<width$}", cells[0], width = widths[0]);
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(heads);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{row, run};

    #[test]
    fn columns_are_aligned() {
        let text = aligned(&["a", "bb"], &[vec!["long".into(), "1".into()], vec!["x".into(), "1000".into()]]);
        assert_eq!(text, "a       bb\nlong     1\nx     1000\n");
    }

    #[test]
    fn the_page_names_the_device_each_bench_and_what_changed() {
        let old = run(vec![row("a", &[2e6])]);
        let mut new = run(vec![row("a", &[1e6])]);
        new.device.cores = 4;
        let page = page(&new, Some(&crate::compare(&old, &new)));
        for part in
            ["llvmpipe <test>", "reads 10.0 GB/s", "1.00 ms", "OTHER DEVICE  cores: 2 then, 4 now", "0.500"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(page.contains("faster"), "{page}");
    }
}
