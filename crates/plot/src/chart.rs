//! Lines, points and bars over two axes.

use crate::axis::{Axis, label};
use crate::show;
use crate::svg::{Anchor, COLOURS, FAINT, INK, Svg};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 72.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 52.0;

/// A chart of lines, points and bars.
///
/// ```
/// let chart = mlx_plot::Chart::new("error")
///     .log_y()
///     .points("f32", [(1.0, 1e-6), (2.0, 3e-6)]);
/// assert!(chart.to_svg().contains("circle"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chart {
    title: String,
    x_label: String,
    y_label: String,
    log_x: bool,
    log_y: bool,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    kind: Kind,
    points: Vec<(f64, f64)>,
    labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Line,
    Points,
    Bars,
}

impl Chart {
    /// Returns an empty chart.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Names the horizontal axis.
    #[must_use]
    pub fn x_label(mut self, text: impl Into<String>) -> Self {
        self.x_label = text.into();
        self
    }

    /// Names the vertical axis.
    #[must_use]
    pub fn y_label(mut self, text: impl Into<String>) -> Self {
        self.y_label = text.into();
        self
    }

    /// Makes the horizontal axis logarithmic; numbers that are not above 0 are left out.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.log_x = true;
        self
    }

    /// Makes the vertical axis logarithmic; numbers that are not above 0 are left out.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.log_y = true;
        self
    }

    /// Adds a line through points, each `(x, y)`.
    #[must_use]
    pub fn line(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Kind::Line, points, Vec::new())
    }

    /// Adds points, each `(x, y)`.
    #[must_use]
    pub fn points(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Kind::Points, points, Vec::new())
    }

    /// Adds points with a text beside each.
    #[must_use]
    pub fn labelled<T: Into<String>>(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64, T)>,
    ) -> Self {
        let mut labels = Vec::new();
        let points: Vec<(f64, f64)> = points
            .into_iter()
            .map(|(x, y, text)| {
                labels.push(text.into());
                (x, y)
            })
            .collect();
        self.with(name, Kind::Points, points, labels)
    }

    /// Adds bars from 0, as wide as the least distance between them.
    #[must_use]
    pub fn bars(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Kind::Bars, points, Vec::new())
    }

    /// Adds the histogram of values in so many bins of equal width.
    #[must_use]
    pub fn histogram(
        self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        n_bins: usize,
    ) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let n_bins = n_bins.max(1);
        let width = match (high - low) / n_bins as f64 {
            width if width > 0.0 => width,
            _ => 1.0,
        };
        let mut counts = vec![0_usize; n_bins];
        for value in values {
            // The greatest value is in the last bin, not behind it.
            let bin = (((value - low) / width) as usize).min(n_bins - 1);
            counts[bin] += 1;
        }
        let bars = counts
            .into_iter()
            .enumerate()
            .map(|(k, count)| (low + (k as f64 + 0.5) * width, count as f64));
        self.bars(name, bars.filter(|(x, _)| x.is_finite()))
    }

    /// Returns the chart as SVG.
    pub fn to_svg(&self) -> String {
        let right = WIDTH - if self.legend() { 150.0 } else { 24.0 };
        let all = || self.series.iter().flat_map(|series| &series.points);
        let has_bars = self.series.iter().any(|series| series.kind == Kind::Bars);
        let floor = (has_bars && !self.log_y).then_some(0.0);
        let margin = self.bar_width() / 2.0;
        let edges = all().flat_map(|(x, _)| [x - margin, x + margin]);
        let x_axis = Axis::around(edges, self.log_x, LEFT, right);
        let y_axis = Axis::around(all().map(|(_, y)| *y).chain(floor), self.log_y, BOTTOM, TOP);
        let mut svg = Svg::new(WIDTH, HEIGHT, &self.title);
        self.draw_axes(&mut svg, &x_axis, &y_axis, right);
        let mut bars_before = 0;
        for (k, series) in self.series.iter().enumerate() {
            let colour = COLOURS[k % COLOURS.len()];
            match series.kind {
                Kind::Line => draw_line(&mut svg, series, &x_axis, &y_axis, colour),
                Kind::Points => draw_points(&mut svg, series, &x_axis, &y_axis, colour),
                Kind::Bars => {
                    // Bars of several series stand side by side.
                    let width = self.bar_width();
                    let share = width / self.n_bars() as f64;
                    let from = -width / 2.0 + share * bars_before as f64;
                    bars_before += 1;
                    let sides = (from, from + share);
                    draw_bars(&mut svg, series, &x_axis, &y_axis, sides, colour);
                }
            }
            if self.legend() {
                let y = TOP + 12.0 + 20.0 * k as f64;
                svg.rectangle(right + 14.0, y - 9.0, 12.0, 10.0, colour);
                svg.text(right + 32.0, y, Anchor::Start, 12.0, INK, &series.name);
            }
        }
        svg.finish()
    }

    /// Shows the chart in a notebook run by evcxr.
    pub fn evcxr_display(&self) {
        show::html(&self.to_svg());
    }

    fn with(
        mut self,
        name: impl Into<String>,
        kind: Kind,
        points: impl IntoIterator<Item = (f64, f64)>,
        labels: Vec<String>,
    ) -> Self {
        self.series.push(Series {
            name: name.into(),
            kind,
            points: points.into_iter().collect(),
            labels,
        });
        self
    }

    /// One series without a name needs no legend.
    fn legend(&self) -> bool {
        self.series.iter().any(|series| !series.name.is_empty())
    }

    fn n_bars(&self) -> usize {
        self.series.iter().filter(|s| s.kind == Kind::Bars).count()
    }

    fn bar_width(&self) -> f64 {
        let bars = self.series.iter().filter(|s| s.kind == Kind::Bars);
        let gaps = bars.flat_map(|series| {
            let mut xs: Vec<f64> = series.points.iter().map(|(x, _)| *x).collect();
            xs.sort_by(f64::total_cmp);
            let gaps: Vec<f64> = xs.windows(2).map(|pair| pair[1] - pair[0]).collect();
            gaps
        });
        let least = gaps.filter(|gap| *gap > 0.0).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }

    fn draw_axes(&self, svg: &mut Svg, x_axis: &Axis, y_axis: &Axis, right: f64) {
        for tick in x_axis.ticks() {
            if let Some(x) = x_axis.at(tick) {
                svg.line((x, TOP), (x, BOTTOM), FAINT, 1.0);
                svg.text(x, BOTTOM + 17.0, Anchor::Middle, 11.0, INK, &label(tick));
            }
        }
        for tick in y_axis.ticks() {
            if let Some(y) = y_axis.at(tick) {
                svg.line((LEFT, y), (right, y), FAINT, 1.0);
                svg.text(LEFT - 7.0, y + 4.0, Anchor::End, 11.0, INK, &label(tick));
            }
        }
        svg.line((LEFT, BOTTOM), (right, BOTTOM), INK, 1.0);
        svg.line((LEFT, TOP), (LEFT, BOTTOM), INK, 1.0);
        let middle = (LEFT + right) / 2.0;
        svg.text(
            middle,
            HEIGHT - 14.0,
            Anchor::Middle,
            12.0,
            INK,
            &self.x_label,
        );
        let middle = (TOP + BOTTOM) / 2.0;
        svg.turned(
            18.0,
            middle,
            -90.0,
            Anchor::Middle,
            12.0,
            INK,
            &self.y_label,
        );
    }
}

/// A place without a number ends one line, and behind it the next begins.
fn draw_line(svg: &mut Svg, series: &Series, x_axis: &Axis, y_axis: &Axis, colour: &str) {
    let places = series
        .points
        .iter()
        .map(|&(x, y)| Some((x_axis.at(x)?, y_axis.at(y)?)));
    let mut run = Vec::new();
    for place in places.chain([None]) {
        match place {
            Some(place) => run.push(place),
            None if run.len() > 1 => svg.polyline(&std::mem::take(&mut run), colour),
            None => run.clear(),
        }
    }
    // A long line needs no dots.
    if series.points.len() <= 24 {
        draw_points(svg, series, x_axis, y_axis, colour);
    }
}

fn draw_points(svg: &mut Svg, series: &Series, x_axis: &Axis, y_axis: &Axis, colour: &str) {
    let mut written: Vec<(f64, f64)> = Vec::new();
    for (k, &(x, y)) in series.points.iter().enumerate() {
        if let (Some(x), Some(y)) = (x_axis.at(x), y_axis.at(y)) {
            svg.circle(x, y, 3.5, colour);
            if let Some(text) = series.labels.get(k) {
                let place = free_place((x + 6.0, y + 4.0), &written);
                svg.text(place.0, place.1, Anchor::Start, 11.0, INK, text);
                written.push(place);
            }
        }
    }
}

/// Moves a text down until it covers none of those of its series that are written already.
fn free_place((x, mut y): (f64, f64), written: &[(f64, f64)]) -> (f64, f64) {
    const WIDTH: f64 = 110.0;
    const HEIGHT: f64 = 12.0;
    let covers = |y: f64| {
        let near =
            |place: &&(f64, f64)| (place.0 - x).abs() < WIDTH && (place.1 - y).abs() < HEIGHT;
        written.iter().find(near).map(|place| place.1)
    };
    while let Some(taken) = covers(y) {
        y = taken + HEIGHT;
    }
    (x, y)
}

fn draw_bars(
    svg: &mut Svg,
    series: &Series,
    x_axis: &Axis,
    y_axis: &Axis,
    (left, right): (f64, f64),
    colour: &str,
) {
    let floor = y_axis.at(0.0).unwrap_or(BOTTOM);
    for &(x, y) in &series.points {
        let sides = (x_axis.at(x + left), x_axis.at(x + right));
        if let (Some(from), Some(to), Some(top)) = (sides.0, sides.1, y_axis.at(y)) {
            let width = (to - from - 0.5).max(1.0);
            svg.rectangle(
                from + 0.5,
                top.min(floor),
                width,
                (floor - top).abs(),
                colour,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_a_number_is_missing() {
        let points = [1.0, 2.0, f64::NAN, 3.0, 4.0].into_iter().enumerate();
        let svg = Chart::new("t")
            .line("a", points.map(|(k, y)| (k as f64, y)))
            .to_svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_histogram_counts_every_value_once() {
        let chart = Chart::new("t").histogram("", [0.0, 0.1, 0.9, 1.0], 2);
        let counts: Vec<f64> = chart.series[0].points.iter().map(|(_, y)| *y).collect();
        assert_eq!(counts, [2.0, 2.0]);
    }

    #[test]
    fn texts_are_escaped() {
        let svg = Chart::new("a < b & c")
            .labelled("", [(0.0, 0.0, "<x>")])
            .to_svg();
        assert!(
            svg.contains("a &lt; b &amp; c") && svg.contains("&lt;x&gt;"),
            "{svg}"
        );
    }

    #[test]
    fn labels_do_not_cover_each_other() {
        let first = free_place((10.0, 50.0), &[]);
        let second = free_place((12.0, 51.0), &[first]);
        let third = free_place((11.0, 49.0), &[first, second]);
        assert_eq!([first.1, second.1, third.1], [50.0, 62.0, 74.0]);
        assert_eq!(free_place((200.0, 50.0), &[first, second]), (200.0, 50.0));
    }

    #[test]
    fn charts_of_nothing_are_drawn() {
        for chart in [
            Chart::new("t"),
            Chart::new("t").line("a", []).log_x().log_y(),
            Chart::new("t").histogram("a", [], 5),
            Chart::new("t").histogram("a", [3.0], 5),
            Chart::new("t").bars("a", [(1.0, 1.0)]).log_y(),
        ] {
            let svg = chart.to_svg();
            assert!(
                svg.ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }
}
