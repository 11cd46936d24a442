//! A run as a page of HTML that needs nothing else: styles and plots are in it, and there are no scripts.

use std::fmt::Write as _;

use super::svg::escaped;
use super::table::host_line;
use super::{cells, duration, facts, heads, legend, markdown, plot};
use crate::compare::Comparison;
use crate::run::Run;

pub(crate) const STYLE: &str = include_str!("style.css");

/// The page. It is well-formed XML as well.
pub fn page(run: &Run, comparison: Option<&Comparison>) -> String {
    let title = escaped(&markdown::title(run));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n"
    );
    for (name, value) in facts(run) {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    out += "</dl>\n";
    let mut section = |title: &str, words: &str, body: &str| {
        if !body.is_empty() {
            let _ = writeln!(out, "<h2>{}</h2>", escaped(title));
            if !words.is_empty() {
                let _ = writeln!(out, "<p>{}</p>", escaped(words));
            }
            out.push_str(body);
        }
    };
    let words = "Each bench at its arithmetic intensity, under what the device can do there. Point at a dot for its figures.";
    section("Roofline", words, &plot::roofline(run));
    for series in run.scaling.iter().flat_map(|scaling| &scaling.series) {
        section(&series.title, &series.words(), &plot::scaling(series));
    }
    section("Percent of the roofline", "", &plot::bars(run));
    let rows: Vec<_> = run.rows.iter().map(|row| (row.check.is_wrong(), cells(run, row))).collect();
    section("Figures", &legend(run), &table(&heads(run), &rows));
    for row in run.rows.iter().filter(|row| !row.shares.is_empty() || row.host.is_some()) {
        let shares: Vec<_> = row
            .shares
            .iter()
            .map(|s| {
                let share = format!("{:.1}%", 100.0 * s.share);
                (false, vec![s.name.clone(), share, duration(s.ns), s.dispatches.to_string()])
            })
            .collect();
        let words = row.host.map_or(String::new(), |host| host_line(&host));
        section(&row.name, &words, &table(&["kernel", "share", "time", "dispatches"], &shares));
    }
    let remarks: Vec<_> = super::remarks(run).into_iter().map(|remark| (false, vec![remark])).collect();
    if !remarks.is_empty() {
        section("Remarks", "", &table(&["remark"], &remarks));
    }
    let unmarked = |lines: Vec<Vec<String>>| lines.into_iter().map(|line| (false, line)).collect::<Vec<_>>();
    if let Some((heads, lines)) = super::ranking(run) {
        section("The quickest", super::VERDICTS, &table(&heads, &unmarked(lines)));
    }
    if let Some((heads, lines)) = super::machine(run) {
        let heads: Vec<_> = heads.iter().map(String::as_str).collect();
        section(
            "Machine code",
            "What each driver's compiler says that it made.",
            &table(&heads, &unmarked(lines)),
        );
    }
    if let Some(c) = comparison {
        let words: Vec<_> = c.differences.iter().map(|d| format!("Another device: {d}.")).collect();
        let row = |c: &crate::Change| {
            let ratio = format!("{:.3}", c.ratio);
            let words =
                [c.name.clone(), duration(c.old_ns), duration(c.new_ns), ratio, c.verdict.word().into()];
            (false, words.to_vec())
        };
        let rows: Vec<_> = c.changes.iter().map(row).collect();
        let body = table(&["bench", "then", "now", "now/then", ""], &rows);
        section(&format!("Against the run of {}", c.date), &words.join(" "), &body);
    }
    out + "</body>\n</html>\n"
}

/// Rows, and whether each is marked.
fn table(heads: &[&str], rows: &[(bool, Vec<String>)]) -> String {
    let mut out = "<div class=\"wide\"><table>\n<thead><tr>".to_owned();
    for head in heads {
        let _ = write!(out, "<th>{}</th>", escaped(head));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (marked, row) in rows {
        out += if *marked { "<tr class=\"bad\">" } else { "<tr>" };
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escaped(cell));
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::scaling;
    use crate::run::Check;
    use crate::run::tests::{ROOF, row, run};

    #[test]
    fn the_page_is_well_formed_and_needs_nothing_else() {
        let mut wrong = row("gemv/<b>&\"", &[1.0]);
        wrong.check = Check::Wrong { max: Some(1.0), rms: Some(1.0) };
        wrong.fill(&ROOF);
        let old = run(vec![row("gemm/64x64x64/int8", &[1e6])]);
        let mut new = run(vec![row("gemm/64x64x64/int8", &[3e5, 4e5, 9e5]), wrong]);
        new.scaling = Some(scaling());
        let page = page(&new, Some(&crate::compare(&old, &new)));
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
        let svg = |tag: &str| {
            let name = ("http://www.w3.org/2000/svg", tag);
            document.descendants().filter(|node| node.has_tag_name(name)).count()
        };
        assert_eq!(svg("svg"), 2 + new.scaling.as_ref().unwrap().series.len());
        assert!(svg("circle") > 1 && svg("polyline") >= 3, "{page}");
        for resource in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(resource), "{resource}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("WRONG"), "{page}");
    }

    #[test]
    fn a_run_without_rows_is_a_page_as_well() {
        let page = page(&run(vec![]), None);
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        roxmltree::Document::parse_with_options(&page, options).unwrap();
        assert!(!page.contains("<svg"), "{page}");
    }
}
