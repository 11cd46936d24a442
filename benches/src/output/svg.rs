//! Axes and marks of a plot, as SVG. Colours are classes that the page defines, for light and dark.

use std::fmt::Write as _;

/// Width of a plot in pixels.
pub(super) const WIDTH: f64 = 940.0;

/// Maps values to pixels along one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub log: bool,
    /// Whether values are drawn at it.
    pub marks: bool,
    pub from: f64,
    pub to: f64,
    /// Pixel of `from` and of `to`.
    pub pixels: [f64; 2],
}

impl Axis {
    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).log10() } else { v };
        let share = (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from));
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    /// Values to draw a line at: powers of ten, or about six round numbers.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.marks {
            return vec![];
        }
        if self.log {
            let (from, to) = (self.from.log10().ceil() as i32, self.to.log10().floor() as i32);
            return (from..=to).map(|power| 10_f64.powi(power)).collect();
        }
        let rough = (self.to - self.from) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough);
        let step = step.unwrap_or(power);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).map(|n| n as f64 * step).collect()
    }
}

/// Text for a document: what would end it, or begin a tag, is escaped.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An SVG being drawn.
pub(super) struct Svg {
    text: String,
    x: Axis,
    y: Axis,
    /// Labels placed so far: left, top, right, bottom.
    labels: Vec<[f64; 4]>,
}

impl Svg {
    /// Draws grid, axes and their titles; `name` says what is shown.
    pub(super) fn begin(
        name: &str,
        height: f64,
        x: Axis,
        y: Axis,
        titles: [&str; 2],
        number: fn(f64) -> String,
    ) -> Self {
        let mut svg = Self { text: String::new(), x, y, labels: vec![] };
        let _ = writeln!(
            svg.text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">"#,
            escaped(name)
        );
        let ([left, right], [bottom, top]) = (x.pixels, y.pixels);
        for tick in x.ticks() {
            let at = x.at(tick);
            svg.line("grid", [at, bottom], [at, top]);
            svg.put("tick mid", [at, bottom + 16.0], &number(tick));
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            svg.line("grid", [left, at], [right, at]);
            svg.put("tick end", [left - 6.0, at + 4.0], &number(tick));
        }
        svg.line("axis", [left, bottom], [right, bottom]);
        svg.line("axis", [left, bottom], [left, top]);
        svg.put("name end", [right, bottom + 34.0], titles[0]);
        svg.put("name", [left - 40.0, top - 10.0], titles[1]);
        svg
    }

    /// A text in pixels.
    pub(super) fn put(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let _ =
            writeln!(self.text, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(text));
    }

    /// A line in pixels.
    pub(super) fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        let _ = writeln!(
            self.text,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A rectangle in pixels that says `title` when pointed at.
    pub(super) fn bar(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2], title: &str) {
        let _ = writeln!(
            self.text,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" rx="2"><title>{}</title></rect>"#,
            width.max(0.5),
            escaped(title)
        );
    }

    /// A line through values.
    pub(super) fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let points: Vec<_> =
            points.iter().map(|p| format!("{:.1},{:.1}", self.x.at(p[0]), self.y.at(p[1]))).collect();
        let _ = writeln!(self.text, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    /// A dot at values that says `title` when pointed at.
    pub(super) fn dot(&mut self, class: &str, [x, y]: [f64; 2], title: &str) {
        let (x, y) = (self.x.at(x), self.y.at(y));
        self.labels.push([x - 4.0, y - 4.0, x + 4.0, y + 4.0]);
        let _ = writeln!(
            self.text,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{}</title></circle>"#,
            escaped(title)
        );
    }

    /// A label beside a dot, if there is room for it: right, left, above or below.
    pub(super) fn label(&mut self, [x, y]: [f64; 2], text: &str) {
        let (x, y) = (self.x.at(x), self.y.at(y));
        let width = 5.8 * text.chars().count() as f64;
        let places = [(7.0, 4.0), (-7.0 - width, 4.0), (-width / 2.0, -9.0), (-width / 2.0, 17.0)];
        for (dx, dy) in places {
            let (left, base) = (x + dx, y + dy);
            let place = [left, base - 10.0, left + width, base + 3.0];
            let inside = place[0] > self.x.pixels[0]
                && place[2] < self.x.pixels[1]
                && place[1] > self.y.pixels[1]
                && place[3] < self.y.pixels[0];
            let free = self
                .labels
                .iter()
                .all(|l| place[0] >= l[2] || place[2] <= l[0] || place[1] >= l[3] || place[3] <= l[1]);
            if inside && free {
                self.labels.push(place);
                self.put("label", [left, base], text);
                return;
            }
        }
    }

    /// Keeps labels off an area in pixels.
    pub(super) fn keep_free(&mut self, area: [f64; 4]) {
        self.labels.push(area);
    }

    pub(super) fn end(self) -> String {
        self.text + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_from_values_to_pixels() {
        let linear = Axis { log: false, marks: true, from: 0.0, to: 10.0, pixels: [100.0, 200.0] };
        assert_eq!((linear.at(0.0), linear.at(5.0)), (100.0, 150.0));
        assert_eq!(linear.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let log = Axis { log: true, marks: true, from: 0.1, to: 1000.0, pixels: [0.0, 400.0] };
        assert!((log.at(1.0) - 100.0).abs() < 1e-9 && (log.at(100.0) - 300.0).abs() < 1e-9);
        assert_eq!(log.ticks().len(), 5);
    }

    #[test]
    fn labels_do_not_cover_each_other() {
        let axis = |pixels| Axis { log: false, marks: true, from: 0.0, to: 1.0, pixels };
        let mut svg =
            Svg::begin("x", 400.0, axis([50.0, 900.0]), axis([350.0, 20.0]), ["a", "b"], |v| v.to_string());
        for _ in 0..9 {
            svg.label([0.5, 0.5], "kernel");
        }
        let text = svg.end();
        assert_eq!(text.matches("class=\"label\"").count(), 4, "{text}");
    }
}
