//! Runs as one HTML page that needs nothing else: tables, and each kernel's listing beside its WGSL.

use std::fmt::Write as _;

use super::text::legend;
use super::{cell, columns, heading, peak, reason, silence};
use crate::listing::Mix;
use crate::metrics::Metric;
use crate::run::{GpuRun, HotLoop, Report, Run};

/// Longest listing that is shown whole, in lines.
const WHOLE: usize = 1500;
/// Lines that are shown around a hot loop, and from the start, of a longer one.
const AROUND: usize = 60;

/// Colours of the parts of a mix, in the order of [`Mix::parts`].
const COLOURS: [&str; 13] = [
    "#2e9e5b", "#177a3f", "#66bd63", "#a6d96a", "#d98c3f", "#4a86c5", "#7f5fb5", "#c0392b", "#9db7d5",
    "#b8b0a2", "#8a8377", "#cfc9bf", "#e0dcd5",
];

/// A run as a page.
pub fn html(run: &Run) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>strix isa</title>\n<style>\n");
    out.push_str(include_str!("page.css"));
    out.push_str("</style>\n</head>\n<body>\n<header><h1>strix isa</h1><nav>");
    for gpu in &run.gpus {
        let _ = write!(out, "<a href=\"#{0}\">{0}</a>", escaped(&gpu.gpu));
    }
    out.push_str("</nav><fieldset>");
    for (name, checked) in [("auto", " checked"), ("light", ""), ("dark", "")] {
        let _ =
            write!(out, "<label><input type=\"radio\" name=\"theme\" id=\"{name}\"{checked}> {name}</label>");
    }
    out.push_str("</fieldset></header>\n");
    for gpu in &run.gpus {
        section(&mut out, gpu);
    }
    out.push_str("<h2>Columns</h2>\n<dl>");
    for (metric, meaning) in legend(&run.gpus) {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", metric.head(), escaped(meaning));
    }
    let _ = writeln!(out, "</dl>\n<p class=\"note\">Strix {}</p>\n</body>\n</html>", escaped(&run.strix));
    out
}

fn section(out: &mut String, gpu: &GpuRun) {
    let _ = writeln!(out, "<section id=\"{}\"><h2>{}</h2>", escaped(&gpu.gpu), escaped(&heading(gpu)));
    for note in [peak(gpu), silence(gpu)].into_iter().flatten() {
        let _ = writeln!(out, "<p class=\"note\">{}.</p>", escaped(&note));
    }
    if let Some(failed) = &gpu.failed {
        let _ = writeln!(out, "<p class=\"bad\">{}</p>", escaped(failed));
    }
    let columns = columns(gpu);
    if !gpu.kernels.is_empty() {
        out.push_str("<div class=\"scroll\"><table><thead><tr><th>kernel</th>");
        for metric in &columns {
            let _ = write!(out, "<th title=\"{}\">{}</th>", escaped(metric.meaning()), metric.head());
        }
        out.push_str("<th title=\"milliseconds of processor time that the driver took\">ms</th></tr></thead>\n<tbody>\n");
        for (index, kernel) in gpu.kernels.iter().enumerate() {
            row(out, gpu, index, kernel, &columns);
        }
        out.push_str("</tbody></table></div>\n");
    }
    for (index, kernel) in gpu.kernels.iter().enumerate() {
        texts(out, gpu, index, kernel);
    }
    out.push_str("</section>\n");
}

fn row(out: &mut String, gpu: &GpuRun, index: usize, kernel: &Report, columns: &[Metric]) {
    let label = escaped(&kernel.label);
    match &kernel.texts {
        Some(_) => {
            let _ = write!(out, "<tr><td><a href=\"#{}-{index}\">{label}</a></td>", escaped(&gpu.gpu));
        }
        None => {
            let _ = write!(out, "<tr><td>{label}</td>");
        }
    }
    if let Some(reason) = reason(kernel) {
        let _ =
            write!(out, "<td class=\"bad\" colspan=\"{}\">{}</td></tr>", columns.len() + 1, escaped(&reason));
        return;
    }
    for &metric in columns {
        let spilled =
            matches!(metric, Metric::Spills | Metric::Scratch) && metric.of(kernel).is_some_and(|v| v > 0.0);
        let class = if spilled { " class=\"bad\"" } else { "" };
        let _ = write!(out, "<td{class}>{}</td>", cell(metric, kernel));
    }
    let _ = writeln!(out, "<td>{:.1}</td></tr>", kernel.ms);
}

fn texts(out: &mut String, gpu: &GpuRun, index: usize, kernel: &Report) {
    let Some(texts) = &kernel.texts else { return };
    // One alone is what was asked for.
    let open = if gpu.kernels.len() == 1 { " open" } else { "" };
    let _ = write!(
        out,
        "<details id=\"{}-{index}\"{open}><summary>{}",
        escaped(&gpu.gpu),
        escaped(&kernel.label)
    );
    // Of products of matrices, where it has those.
    let shares = [(Metric::Matrix, "matrices"), (Metric::Fma, "FMA")];
    if let Some((share, what)) = shares.iter().find_map(|(metric, what)| Some((metric.of(kernel)?, what))) {
        let _ = write!(out, "<span>{what} {share:.1}%</span>");
    }
    out.push_str("</summary><div class=\"inside\">");
    if let Some(hot) = &kernel.hot {
        mix(out, hot);
    }
    out.push_str("<div class=\"panes\"><div><h3>WGSL</h3><pre>");
    texts.wgsl.lines().for_each(|line| line_of(out, line, "", None));
    out.push_str("</pre></div><div>");
    match &texts.listing {
        Some(listing) => {
            let anchor = format!("{}-{index}-hot", escaped(&gpu.gpu));
            out.push_str("<h3>machine code");
            if kernel.hot.is_some() {
                let _ = write!(
                    out,
                    "; <a href=\"#{anchor}\">the hot loop</a> is shaded, its innermost part stronger"
                );
            }
            out.push_str("</h3><pre>");
            self::listing(out, listing, kernel.hot.as_ref(), &anchor);
            out.push_str("</pre>");
        }
        None => out.push_str("<h3>the driver gives no listing</h3>"),
    }
    out.push_str("</div></div></div></details>\n");
}

fn mix(out: &mut String, hot: &HotLoop) {
    let parts = Mix::parts(&hot.mix);
    let shown = || parts.iter().zip(COLOURS).filter(|((_, number), _)| *number > 0.0);
    out.push_str("<div class=\"bar\">");
    for ((what, number), colour) in shown() {
        let _ = write!(
            out,
            "<i style=\"flex:{number:.0};background:{colour}\" title=\"{what}: {number:.0}\"></i>"
        );
    }
    out.push_str("</div><div class=\"key\">");
    let _ = write!(out, "<span>a turn of the hot loop: {:.0} instructions</span>", hot.mix.total());
    for ((what, number), colour) in shown() {
        let _ = write!(out, "<span><b style=\"background:{colour}\"></b>{number:.0} {what}</span>");
    }
    out.push_str("</div>");
}

fn listing(out: &mut String, text: &str, hot: Option<&HotLoop>, anchor: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let within = |pieces: &[[usize; 2]], around: usize, number: usize| {
        pieces.iter().any(|[first, last]| number + around >= *first && number <= last + around)
    };
    let class = |number: usize| match hot {
        Some(hot) if hot.trips.is_some() && within(&hot.inner_lines, 0, number) => "hot inner",
        Some(hot) if within(&hot.lines, 0, number) => "hot",
        _ => "",
    };
    let is_shown = |number: usize| {
        let near = hot.is_some_and(|hot| within(&hot.lines, AROUND, number));
        lines.len() <= WHOLE || number <= AROUND || near
    };
    let mut left_out = 0;
    for (number, line) in (1..).zip(&lines) {
        if !is_shown(number) {
            left_out += 1;
            continue;
        }
        // AMD's bytes of each instruction, which nobody reads.
        let code = line.split(" ; ").next().unwrap_or_default().trim_end();
        if left_out > 0 {
            let _ = write!(out, "<s class=\"gap\">… {left_out} lines …</s>");
        }
        if hot.is_some_and(|hot| hot.lines.first().is_some_and(|[first, _]| *first == number)) {
            let _ = write!(out, "<a id=\"{anchor}\"></a>");
        }
        line_of(out, code, class(number), (left_out > 0).then_some(number));
        left_out = 0;
    }
    if left_out > 0 {
        let _ = write!(out, "<s class=\"gap\">… {left_out} lines …</s>");
    }
}

fn line_of(out: &mut String, line: &str, class: &str, number: Option<usize>) {
    out.push_str("<s");
    if !class.is_empty() {
        let _ = write!(out, " class=\"{class}\"");
    }
    if let Some(number) = number {
        let _ = write!(out, " style=\"counter-set:n {}\"", number - 1);
    }
    let _ = write!(out, ">{}</s>", escaped(line));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
