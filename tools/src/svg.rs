//! Coloured output as an SVG picture of a terminal.

use std::fmt::Write;

/// Width and height of a character.
const CELL: (usize, usize) = (8, 16);
const MARGIN: usize = 16;
/// Height of the bar with the title.
const BAR: usize = 30;
const FONT: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/// Colours and weight of a character.
#[derive(Clone, Debug, Default, PartialEq)]
struct Style {
    text: Option<String>,
    back: Option<String>,
    bold: bool,
    dim: bool,
}

/// Draws `printed`: text, the SGR codes this program uses, and half blocks as rectangles.
pub(crate) fn render(printed: &str) -> String {
    let lines = cells(printed);
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0).max(60);
    let width = columns * CELL.0 + 2 * MARGIN;
    let height = lines.len() * CELL.1 + 2 * MARGIN + BAR;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="{FONT}" font-size="13.3">
<rect width="100%" height="100%" rx="8" fill="#16181d"/>
<g fill="#3a3f4b"><circle cx="20" cy="17" r="5"/><circle cx="38" cy="17" r="5"/><circle cx="56" cy="17" r="5"/></g>
<text x="50%" y="22" fill="#8b93a5" text-anchor="middle">strix demo</text>
"##
    );
    for (y, line) in lines.iter().enumerate() {
        let top = BAR + MARGIN + y * CELL.1;
        let mut x = 0;
        for run in line.chunk_by(|a, b| a.1 == b.1 && (a.0 == '▀') == (b.0 == '▀')) {
            draw(&mut svg, MARGIN + x * CELL.0, top, run);
            x += run.len();
        }
    }
    svg + "</svg>\n"
}

/// A run of characters of one style.
fn draw(svg: &mut String, left: usize, top: usize, run: &[(char, Style)]) {
    let style = &run[0].1;
    let width = run.len() * CELL.0;
    let text: String = run.iter().map(|c| c.0).collect();
    if text.starts_with('▀') {
        let height = CELL.1 / 2;
        for (colour, y) in [(&style.text, top), (&style.back, top + height)] {
            let colour = colour.as_deref().unwrap_or("none");
            let _ = writeln!(
                svg,
                r#"<rect x="{left}" y="{y}" width="{width}" height="{height}" fill="{colour}" shape-rendering="crispEdges"/>"#
            );
        }
    } else if !text.trim().is_empty() {
        let colour = style.text.as_deref().unwrap_or(if style.dim { "#8b93a5" } else { "#e4e7ee" });
        let weight = if style.bold { r#" font-weight="bold""# } else { "" };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let base = top + 12;
        let _ = writeln!(
            svg,
            r#"<text x="{left}" y="{base}" textLength="{width}" fill="{colour}"{weight} xml:space="preserve">{text}</text>"#
        );
    }
}

/// Each line's characters with their style.
fn cells(printed: &str) -> Vec<Vec<(char, Style)>> {
    let mut style = Style::default();
    let line = |line: &str| {
        let mut cells = vec![];
        for (i, piece) in line.split("\x1b[").enumerate() {
            let text = match piece.split_once('m') {
                Some((codes, text)) if i > 0 => {
                    style = styled(&style, codes);
                    text
                }
                _ => piece,
            };
            cells.extend(text.chars().map(|c| (c, style.clone())));
        }
        cells
    };
    printed.lines().map(line).collect()
}

/// `style` after the SGR `codes`.
fn styled(style: &Style, codes: &str) -> Style {
    let mut style = style.clone();
    let mut codes = codes.split(';');
    while let Some(code) = codes.next() {
        match code {
            "1" => style.bold = true,
            "2" => style.dim = true,
            "31" => style.text = Some("#ff6b6b".into()),
            "32" => style.text = Some("#7bd88f".into()),
            "38" | "48" => {
                let rgb: Vec<_> = codes.by_ref().take(4).skip(1).collect();
                let colour = Some(format!("rgb({})", rgb.join(",")));
                *(if code == "38" { &mut style.text } else { &mut style.back }) = colour;
            }
            _ => style = Style::default(),
        }
    }
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_blocks_become_rectangles_and_text_is_escaped() {
        let svg =
            render("\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[0m\n\x1b[1ma<b\x1b[0m c\n");
        assert_eq!(svg.matches("rgb(1,2,3)").count(), 1, "equal neighbours are one rectangle: {svg}");
        assert_eq!(svg.matches("rgb(4,5,6)").count(), 1);
        assert!(svg.contains(r#"font-weight="bold" xml:space="preserve">a&lt;b</text>"#), "{svg}");
    }
}
