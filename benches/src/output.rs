//! A run as people read it: a table for a terminal, Markdown, and a page of HTML.

pub mod csv;
pub mod html;
pub mod markdown;
mod plot;
mod svg;
pub mod table;

use strix_model::tune::clock::Timer;

use crate::run::{Bound, Check, Kind, Row, Run};
use crate::stats::Summary;

/// A duration with three digits: `1.23 ms`.
pub fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// A number with three digits, or all before the point.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// A number that was chosen, not measured: `64`, `0.5`.
pub(crate) fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Heads of the columns that [`cells`] fills.
pub(crate) fn heads(run: &Run) -> Vec<&'static str> {
    let mut heads = vec!["bench", "median", "spread", "wall"];
    heads.extend(has_idle(run).then_some("idle"));
    heads.extend(["runs", "GB/s", "GFLOP/s", "% of roof", "error max", "rms"]);
    heads.extend(has_tokens(run).then_some("tokens/s"));
    heads
}

fn has_idle(run: &Run) -> bool {
    run.rows.iter().any(|row| row.figures.is_some_and(|f| f.idle.is_some()))
}

fn has_tokens(run: &Run) -> bool {
    run.rows.iter().any(|row| row.tokens.is_some())
}

/// A row as text. What nobody measured is `-`.
pub(crate) fn cells(run: &Run, row: &Row) -> Vec<String> {
    let none = || "-".to_owned();
    let summary = |s: Option<Summary>| s.map_or_else(none, |s| duration(s.median));
    let mut cells = vec![row.name.clone()];
    let Some(f) = row.figures else {
        cells.push("WRONG".into());
        cells.resize(heads(run).len(), none());
        let at = heads(run).iter().position(|head| *head == "error max").unwrap_or(0);
        (cells[at], cells[at + 1]) = errors(&row.check);
        return cells;
    };
    let measured = f.device.or(f.wall);
    cells.push(summary(measured));
    cells.push(measured.map_or_else(none, |s| format!("{:.0}%", 100.0 * s.spread())));
    cells.push(summary(f.wall.filter(|_| f.device.is_some())));
    if has_idle(run) {
        cells.push(summary(f.idle));
    }
    // Outliers of every kind of time count.
    let outliers = [f.device, f.wall, f.idle].into_iter().flatten().map(|s| s.outliers).max().unwrap_or(0);
    let marked = if outliers > 0 { format!(" ({outliers} out)") } else { String::new() };
    cells.push(format!("{}{marked}", f.rate.runs));
    let rate = |amount: u64, rate: f64| if amount > 0 { digits(rate) } else { "-".to_owned() };
    cells.push(rate(row.work.bytes, f.gb_per_s));
    cells.push(rate(row.work.flops, f.gflop_per_s));
    cells.push(match (f.roof_percent, f.bound) {
        (Some(percent), Some(Bound::Memory)) => format!("{percent:.1} M"),
        (Some(percent), _) => format!("{percent:.1} A"),
        _ => none(),
    });
    let (max, rms) = errors(&row.check);
    cells.extend([max, rms]);
    if has_tokens(run) {
        cells.push(row.tokens_per_s().map_or_else(none, digits));
    }
    cells
}

fn errors(check: &Check) -> (String, String) {
    let number = |value: Option<f64>| value.map_or("no number".into(), |value| format!("{value:.1e}"));
    match *check {
        Check::Unchecked => ("-".into(), "-".into()),
        Check::Right { max, rms } => (number(Some(max)), number(Some(rms))),
        Check::Wrong { max, rms } => (number(max), number(rms)),
    }
}

/// What was found of a row's result besides its figures.
pub(crate) fn remarks(run: &Run) -> Vec<String> {
    let of = |row: &Row| {
        let all = row.outside.iter().chain(&row.remarks);
        all.map(|remark| format!("{}: {remark}", row.name)).collect::<Vec<_>>()
    };
    run.rows.iter().flat_map(of).collect()
}

/// What drivers made of each row: heads, and a line for each GPU.
pub(crate) fn machine(run: &Run) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    let machines = || run.rows.iter().flat_map(|row| row.machine.iter().map(move |machine| (row, machine)));
    let mut names: Vec<String> = vec![];
    for (name, _) in machines().flat_map(|(_, machine)| &machine.figures) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let line = |(row, machine): (&Row, &crate::Machine)| {
        let mut line = vec![row.name.clone(), machine.gpu.clone()];
        line.extend(names.iter().map(|name| {
            let value = machine.figures.iter().find(|(n, _)| n == name);
            value.map_or("-".to_owned(), |(_, value)| value.clone())
        }));
        if let Some(failed) = &machine.failed {
            line[1] = format!("{}: {failed}", line[1]);
        }
        line
    };
    let lines: Vec<_> = machines().map(line).collect();
    let heads = ["bench", "GPU"].map(str::to_owned).into_iter().chain(names).collect();
    (!lines.is_empty()).then_some((heads, lines))
}

/// The rows of a run of one kernel's variants, the quickest first: heads and lines.
pub(crate) fn ranking(run: &Run) -> Option<([&'static str; 4], Vec<Vec<String>>)> {
    let ranked = crate::rank(run);
    let line = |r: &crate::Ranked| {
        let verdict = r.verdict.map_or("quickest", |verdict| match verdict.word() {
            "" => "no slower",
            word => word,
        });
        vec![r.name.clone(), duration(r.ns), format!("{:.3}", r.ratio), verdict.to_owned()]
    };
    let shown = run.kind == Kind::Wgsl && ranked.len() > 1;
    shown.then(|| (["bench", "for as much", "of the quickest", ""], ranked.iter().map(line).collect()))
}

/// What the verdicts mean.
pub(crate) const VERDICTS: &str = "faster and slower: each median lies outside of the other's 10th to 90th percentile. \
                                   undecided: it does not, and one of them spreads over more than a tenth, or has fewer than three runs.";

/// Facts of a run, line by line: a name and its value.
pub(crate) fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let (d, v, r) = (&run.device, &run.versions, &run.roofline);
    let lanes = d.subgroup.map_or("no subgroups".to_owned(), |lanes| format!("subgroups of {lanes}"));
    let special = |name: &str, peak: Option<f64>| {
        peak.map_or(String::new(), |peak| format!(", {} G{name}/s", digits(peak / 1e9)))
    };
    let mut facts = vec![
        ("date", run.date.clone()),
        (
            "adapter",
            format!("{} ({}), {lanes}, {} MiB a binding", d.adapter, d.backend, d.max_binding_bytes >> 20),
        ),
        ("driver", d.driver.clone()),
        ("kernels", format!("family {}{}", d.family, if d.family_forced { ", asked for" } else { "" })),
        ("host", format!("{}, {} cores", d.host, d.cores)),
        ("versions", format!("strix {}, wgpu {}, naga {}, {} build", v.strix, v.wgpu, v.naga, v.build)),
        (
            "roofline",
            format!(
                "reads {} GB/s, multiply-adds {} GFLOP/s of f32{}{}",
                digits(r.bytes_per_s / 1e9),
                digits(r.flops_per_s / 1e9),
                special("FLOP of f16", r.f16_flops_per_s).replace(" of f16/s", "/s of f16"),
                special("OP", r.dot4_ops_per_s)
                    + if r.dot4_ops_per_s.is_some() { " of dot4I8Packed" } else { "" },
            ),
        ),
        (
            "costs",
            format!(
                "dispatch in a pass {}, pass of its own {}, submit and wait {}, upload {} GB/s",
                duration(r.dispatch_ns),
                duration(r.pass_ns),
                duration(r.submit_ns),
                digits(r.upload_bytes_per_s / 1e9),
            ),
        ),
    ];
    facts.retain(|(name, _)| *name != "kernels" || !d.family.is_empty());
    facts.extend(run.notes.iter().map(|note| ("note", note.clone())));
    facts
}

/// The meaning of the columns.
pub(crate) fn legend(run: &Run) -> String {
    let sources: Vec<_> = run.rows.iter().filter_map(|row| Some(row.figures?.source)).collect();
    let of = |source: Timer, word: &'static str| sources.contains(&source).then_some(word);
    let words = [
        of(Timer::Timestamp, "timestamps"),
        of(Timer::Wall, "the host's clock"),
        of(Timer::Idle, "idle, where that is less"),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    let (cold, reference) = match run.kind {
        Kind::Wgsl | Kind::Device => (
            "Passes take turns over copies of the operands that fill 128 MiB (not with --hot), so that no cache answers for \
             the memory; 16 copies of what is small may stay in one, and exceed 100.",
            "what was given",
        ),
        Kind::Kernels | Kind::Model => (
            "Weights of one row and caches of keys take turns over 128 MiB, so that no cache answers for the memory; what \
             is smaller otherwise stays in one, and can exceed 100.",
            "the CPU reference in f64",
        ),
    };
    format!(
        "median: device time by timestamp query (by the host's clock where there are none). spread: 10th to 90th \
         percentile, in parts of it. wall: the host's clock around submit and wait. (n out): runs further than 1.5 \
         interquartile ranges from the quartiles; every run is in the JSON. Rates are of {}. % of roof: of the least \
         time at this arithmetic intensity; bound by M memory, A arithmetic. {cold} error: against {reference}, in parts \
         of the largest expected value, and root mean squares.",
        if words.is_empty() { "nothing".to_owned() } else { words.join(", or of ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{ROOF, row, run};

    #[test]
    fn numbers_have_three_digits() {
        let durations = [0.5, 999.0, 1234.0, 15.61e6, 2.0e9].map(duration);
        assert_eq!(durations, ["0.50 ns", "999 ns", "1.23 us", "15.6 ms", "2.00 s"]);
        assert_eq!([0.0, 0.001, 1234.5].map(digits), ["0", "1.0e-3", "1234"]);
        assert_eq!([0.0, 64.0, 0.5, 3.0 * 0.1].map(plain), ["0", "64", "0.5", "0.3"]);
    }

    #[test]
    fn outliers_are_shown_and_wrong_results_have_no_speed() {
        let mut noisy = row("noisy", &[10.0, 10.0, 10.0, 10.0, 10.0, 99.0]);
        noisy.check = Check::Unchecked;
        let mut wrong = row("bad", &[1.0]);
        wrong.check = Check::Wrong { max: Some(0.5), rms: None };
        wrong.fill(&ROOF);
        let run = run(vec![noisy, wrong]);
        let [noisy, wrong] = [0, 1].map(|i| cells(&run, &run.rows[i]));
        assert!(noisy.contains(&"6 (1 out)".to_owned()), "{noisy:?}");
        assert_eq!(wrong[..2], ["bad", "WRONG"]);
        assert!(wrong.contains(&"5.0e-1".to_owned()) && wrong.contains(&"no number".to_owned()), "{wrong:?}");
        assert_eq!([noisy.len(), wrong.len()], [heads(&run).len(); 2]);
    }
}
