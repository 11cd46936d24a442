//! The plots of a run: the roofline with every kernel under it, the share of it that each reaches, and how times grow.

use super::svg::{Axis, Svg, WIDTH};
use super::{digits, duration, plain};
use crate::model::Series;
use crate::run::{Kind, Row, Run};

/// Kernels that share a colour.
const FAMILIES: [&str; 5] = ["gemm", "gemv", "attention", "decode_attention", "others"];

/// Height of a bar with the gap below it.
const BAR: f64 = 18.0;
/// Room for the names of bars.
const NAMES: f64 = 300.0;

/// Names of the colours: of kernels of others, files; the last is all that remain.
fn families(run: &Run) -> Vec<String> {
    if run.kind != Kind::Wgsl {
        return FAMILIES.map(str::to_owned).to_vec();
    }
    let mut names: Vec<String> = vec![];
    for row in &run.rows {
        let file = file(&row.name);
        if !names.iter().any(|name| name == file) {
            names.push(file.to_owned());
        }
    }
    if names.len() > FAMILIES.len() {
        names.truncate(FAMILIES.len() - 1);
        names.push("others".into());
    }
    names
}

/// The name of a bench without the point of its sweep.
fn file(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// Index of a bench's colour.
fn colour(run: &Run, name: &str) -> usize {
    if run.kind != Kind::Wgsl {
        return family(name);
    }
    let names = families(run);
    names.iter().position(|known| known == file(name)).unwrap_or(names.len().saturating_sub(1))
}

fn family(name: &str) -> usize {
    let kernel = name.split('/').next().unwrap_or("");
    match kernel {
        k if k.starts_with("gemm") || k == "prefill" => 0,
        k if k.starts_with("gemv") || k == "decode" => 1,
        k if k.starts_with("attention") || k == "image encode" => 2,
        "decode_attention" => 3,
        _ => 4,
    }
}

/// FLOPs a second over FLOPs a byte, both logarithmic, under the device's roofs (Williams et al. 2009). Empty where no
/// bench has both.
pub(super) fn roofline(run: &Run) -> String {
    let roof = &run.roofline;
    let points: Vec<(&Row, [f64; 2])> = run
        .rows
        .iter()
        .filter_map(|row| Some((row, [row.intensity()?, row.figures?.gflop_per_s])))
        .filter(|(_, p)| p[0] > 0.0 && p[1] > 0.0)
        .collect();
    if points.is_empty() || roof.bytes_per_s <= 0.0 || roof.flops_per_s <= 0.0 {
        return String::new();
    }
    let (slope, peak) = (roof.bytes_per_s / 1e9, roof.flops_per_s / 1e9);
    let special = [("f16", roof.f16_flops_per_s), ("dot4I8Packed", roof.dot4_ops_per_s)];
    let special: Vec<_> = special.into_iter().filter_map(|(name, peak)| Some((name, peak? / 1e9))).collect();
    let over = |axis: usize, first: f64, pick: fn(f64, f64) -> f64| {
        points.iter().map(|(_, p)| p[axis]).fold(first, pick)
    };
    let highest = special.iter().map(|(_, peak)| *peak).fold(over(1, peak, f64::max), f64::max);
    let ridge = peak / slope;
    let height = 480.0;
    let x = Axis {
        log: true,
        marks: true,
        from: over(0, 0.25_f64.min(ridge / 4.0), f64::min) / 1.5,
        to: over(0, ridge * 8.0, f64::max) * 1.5,
        pixels: [60.0, WIDTH - 20.0],
    };
    let y = Axis {
        log: true,
        marks: true,
        from: over(1, peak / 10.0, f64::min) / 1.6,
        to: highest * 2.2,
        pixels: [height - 50.0, 30.0],
    };
    let titles = ["FLOP a byte", "GFLOP/s"];
    let mut svg = Svg::begin("roofline", height, x, y, titles, plain);

    // The memory's roof begins where it enters the plot.
    let start = x.from.max(y.from / slope);
    for (name, peak) in special {
        let from = (peak / slope).max(x.from);
        svg.path("roof dashed", &[[from, peak], [x.to, peak]]);
        let at = [x.at(x.to) - 6.0, y.at(peak) - 5.0];
        svg.put("rooftext end", at, &format!("{name} {} G/s", digits(peak)));
        svg.keep_free([at[0] - 140.0, at[1] - 12.0, at[0], at[1] + 3.0]);
    }
    svg.path("roof", &[[start, slope * start], [ridge, peak], [x.to, peak]]);
    // Each roof's name stands above it.
    let mut name = |at: [f64; 2], text: String| {
        svg.put("rooftext end", at, &text);
        svg.keep_free([at[0] - 6.5 * text.chars().count() as f64, at[1] - 12.0, at[0], at[1] + 3.0]);
    };
    name([x.at(ridge) - 12.0, y.at(peak) + 4.0], format!("reads {} GB/s", digits(slope)));
    name([x.at(x.to) - 6.0, y.at(peak) - 6.0], format!("f32 multiply-adds {} GFLOP/s", digits(peak)));

    for (row, point) in &points {
        svg.dot(&format!("dot c{}", colour(run, &row.name)), *point, &title(row));
    }
    // If there is no room for all names, the fastest kernels are named.
    let mut named = points.clone();
    named.sort_by(|a, b| percent(b.0).total_cmp(&percent(a.0)));
    for (row, point) in named {
        svg.label(point, &row.name);
    }
    let names = families(run);
    let shown = |i: &usize| points.iter().any(|(row, _)| colour(run, &row.name) == *i);
    for (place, i) in (0..names.len()).filter(shown).enumerate() {
        let left = 110.0 + 150.0 * place as f64;
        svg.bar(&format!("c{i}"), [left, 8.0], [10.0, 10.0], &names[i]);
        svg.put("tick", [left + 15.0, 17.0], &names[i]);
    }
    svg.end()
}

fn percent(row: &Row) -> f64 {
    row.figures.and_then(|f| f.roof_percent).unwrap_or(0.0)
}

/// Text of a mark when it is pointed at.
fn title(row: &Row) -> String {
    let Some(f) = row.figures else { return format!("{}: WRONG", row.name) };
    let mut title = format!("{}\n{}", row.name, duration(f.rate.median));
    if row.work.bytes > 0 {
        title += &format!(", {} GB/s", digits(f.gb_per_s));
    }
    if row.work.flops > 0 {
        title += &format!(", {} GFLOP/s", digits(f.gflop_per_s));
    }
    if let Some(percent) = f.roof_percent {
        title += &format!(", {percent:.1}% of the roof");
    }
    title
}

/// Percent of the roofline, a bar a bench. Empty where nobody counted.
pub(super) fn bars(run: &Run) -> String {
    let rows: Vec<_> = run
        .rows
        .iter()
        .filter(|r| r.check.is_wrong() || r.figures.is_some_and(|f| f.roof_percent.is_some()))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    // Operands in a cache may exceed the roof, but must not shrink the rest of the plot.
    let most = rows.iter().map(|row| percent(row)).fold(100.0, f64::max).min(130.0);
    let height = 60.0 + BAR * rows.len() as f64;
    let x = Axis { log: false, marks: true, from: 0.0, to: most, pixels: [NAMES, WIDTH - 50.0] };
    // Names stand where its marks would.
    let y = Axis { log: false, marks: false, from: 0.0, to: 1.0, pixels: [height - 40.0, 16.0] };
    let mut svg = Svg::begin("percent of the roofline", height, x, y, ["% of the roofline", ""], plain);
    for (i, row) in rows.iter().enumerate() {
        let top = 18.0 + BAR * i as f64;
        svg.put("tick end", [NAMES - 6.0, top + 11.0], &row.name);
        if row.check.is_wrong() {
            svg.put("wrong", [NAMES + 6.0, top + 11.0], "WRONG");
            continue;
        }
        let width = x.at(percent(row).min(most)) - NAMES;
        svg.bar(&format!("c{}", colour(run, &row.name)), [NAMES, top], [width, BAR - 5.0], &title(row));
        svg.put("tick", [NAMES + width + 5.0, top + 11.0], &format!("{:.0}", percent(row)));
    }
    svg.line("roof dashed", [x.at(100.0), y.pixels[0]], [x.at(100.0), y.pixels[1]]);
    svg.end()
}

/// A time over the length or depth that grows, with the spread of the runs and the line fitted to them.
pub(super) fn scaling(series: &Series) -> String {
    let height = 320.0;
    let top = series.points.iter().map(|p| p.p90_ns.max(p.ns)).fold(0.0, f64::max) / 1e6;
    let right = series.points.iter().map(|p| p.x).fold(1.0, f64::max);
    let x = Axis { log: false, marks: true, from: 0.0, to: right * 1.05, pixels: [70.0, WIDTH - 20.0] };
    let y =
        Axis { log: false, marks: true, from: 0.0, to: top.max(1e-6) * 1.15, pixels: [height - 50.0, 30.0] };
    let mut svg = Svg::begin(&series.title, height, x, y, [&series.x, "ms"], plain);
    if let Some(line) = series.fit {
        let ends = [series.points.first().map_or(0.0, |p| p.x), right];
        svg.path("roof dashed", &ends.map(|x| [x, line.at(x) / 1e6]));
    }
    let points: Vec<_> = series.points.iter().map(|p| [p.x, p.ns / 1e6]).collect();
    svg.path("series", &points);
    for p in &series.points {
        let at = x.at(p.x);
        svg.line("axis", [at, y.at(p.p10_ns / 1e6)], [at, y.at(p.p90_ns / 1e6)]);
        let title = format!("{} {}\n{}", series.x, plain(p.x), duration(p.ns));
        svg.dot("dot c0", [p.x, p.ns / 1e6], &title);
    }
    svg.end()
}
