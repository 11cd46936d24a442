//! A run as a table for spreadsheets and scripts: a line a bench, times in nanoseconds.

use std::collections::BTreeSet;

use crate::run::{Check, Run};

/// The table.
pub fn page(run: &Run) -> String {
    let settings: BTreeSet<&String> = run.rows.iter().flat_map(|row| row.settings.keys()).collect();
    let mut lines = csv::Writer::from_writer(vec![]);
    let heads = [
        "bench",
        "check",
        "error_max",
        "error_rms",
        "median_ns",
        "min_ns",
        "p10_ns",
        "p90_ns",
        "runs",
        "clock",
        "device_ns",
        "wall_ns",
        "idle_ns",
        "bytes",
        "flops",
        "gb_per_s",
        "gflop_per_s",
        "roof_percent",
        "bound",
    ];
    let all = heads.into_iter().chain(settings.iter().map(|name| name.as_str()));
    lines.write_record(all).expect("lines go to memory");
    for row in &run.rows {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let (check, max, rms) = match row.check {
            Check::Unchecked => ("unchecked", None, None),
            Check::Right { max, rms } => ("right", Some(max), Some(rms)),
            Check::Wrong { max, rms } => ("wrong", max, rms),
        };
        let figures = row.figures;
        let rate = figures.map(|f| f.rate);
        let word = |word: Option<String>| word.unwrap_or_default();
        let json = |value: serde_json::Value| value.as_str().map(str::to_owned);
        let mut line = vec![
            row.name.clone(),
            check.to_owned(),
            number(max),
            number(rms),
            number(rate.map(|r| r.median)),
            number(rate.map(|r| r.min)),
            number(rate.map(|r| r.p10)),
            number(rate.map(|r| r.p90)),
            number(rate.map(|r| r.runs as f64)),
            word(figures.and_then(|f| json(serde_json::json!(f.source)))),
            number(figures.and_then(|f| f.device).map(|s| s.median)),
            number(figures.and_then(|f| f.wall).map(|s| s.median)),
            number(figures.and_then(|f| f.idle).map(|s| s.median)),
            row.work.bytes.to_string(),
            row.work.flops.to_string(),
            number(figures.map(|f| f.gb_per_s)),
            number(figures.map(|f| f.gflop_per_s)),
            number(figures.and_then(|f| f.roof_percent)),
            word(figures.and_then(|f| f.bound).and_then(|bound| json(serde_json::json!(bound)))),
        ];
        line.extend(settings.iter().map(|name| number(row.settings.get(*name).copied())));
        lines.write_record(line).expect("lines go to memory");
    }
    let bytes = lines.into_inner().expect("lines go to memory");
    String::from_utf8(bytes).expect("names and numbers are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{row, run};

    #[test]
    fn a_line_a_bench_with_its_settings() {
        let mut first = row("a[T=8, N=4]", &[1000.0, 2000.0, 3000.0]);
        first.settings = [("T".to_owned(), 8.0), ("N".to_owned(), 4.0)].into();
        let text = page(&run(vec![first, row("b", &[5.0])]));
        let mut lines = csv::Reader::from_reader(text.as_bytes());
        let heads = lines.headers().unwrap().clone();
        let lines: Vec<_> = lines.records().map(Result::unwrap).collect();
        let at = |line: usize, head: &str| &lines[line][heads.iter().position(|h| h == head).unwrap()];
        assert_eq!(
            (at(0, "bench"), at(0, "median_ns"), at(0, "T"), at(0, "N")),
            ("a[T=8, N=4]", "2000", "8", "4")
        );
        assert_eq!((at(1, "runs"), at(1, "check"), at(1, "bound"), at(1, "T")), ("1", "right", "memory", ""));
    }
}
