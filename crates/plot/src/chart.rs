//! Lines, points and bars over two axes.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::drawing::{
    self, Area, Axis, COLOURS, ChartArea, Drawn, INK, Margins, picture, px, stroke, text, write,
};
use crate::show;

const SIZE: (u32, u32) = (720, 380);

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

    /// Makes the horizontal axis logarithmic; values that are not above 0 are left out.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.log_x = true;
        self
    }

    /// Makes the vertical axis logarithmic; values that are not above 0 are left out.
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

    /// Adds bars from 0, as wide as the minimum distance between them.
    #[must_use]
    pub fn bars(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name, Kind::Bars, points, Vec::new())
    }

    /// Adds the histogram of values in `n_bins` bins of equal width.
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
            // The maximum is in the last bin, not behind it.
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
        let margins = Margins {
            top: 40.0,
            right: if self.legend() { 150.0 } else { 24.0 },
            bottom: 52.0,
            left: 72.0,
        };
        let (x, y) = self.axes();
        picture(SIZE, |area| {
            let title = text(15.0, INK, HPos::Center);
            write(
                area,
                &self.title,
                &title,
                (px(f64::from(SIZE.0) / 2.0), px(18.0)),
            )?;
            let names = (self.x_label.as_str(), self.y_label.as_str());
            let mut plot = Plot {
                chart: drawing::axes(area, margins, (&x, &y), names, true)?,
                area,
                axes: (&x, &y),
            };
            self.draw_series(&mut plot)?;
            self.draw_legend(area, margins)
        })
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
        let min = gaps.filter(|gap| *gap > 0.0).fold(f64::INFINITY, f64::min);
        if min.is_finite() { min } else { 0.0 }
    }

    /// Returns axes with room for all series, and for 0 where bars begin.
    fn axes(&self) -> (Axis, Axis) {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let floor = (self.n_bars() > 0 && !self.log_y).then_some(0.0);
        let margin = self.bar_width() / 2.0;
        let edges = all().flat_map(|(x, _)| [x - margin, x + margin]);
        (
            Axis::around(edges, self.log_x),
            Axis::around(all().map(|(_, y)| *y).chain(floor), self.log_y),
        )
    }

    fn draw_series(&self, plot: &mut Plot<'_, '_>) -> Drawn {
        // Bars of several series are drawn side by side.
        let share = self.bar_width() / self.n_bars().max(1) as f64;
        let mut left = -self.bar_width() / 2.0;
        for (series, colour) in self.series.iter().zip(COLOURS.into_iter().cycle()) {
            match series.kind {
                Kind::Line => plot.draw_line(series, colour)?,
                Kind::Points => plot.draw_points(series, colour)?,
                Kind::Bars => {
                    plot.draw_bars(series, (left, left + share), colour)?;
                    left += share;
                }
            }
        }
        Ok(())
    }

    fn draw_legend(&self, area: &Area<'_>, margins: Margins) -> Drawn {
        if !self.legend() {
            return Ok(());
        }
        let x = f64::from(SIZE.0) - margins.right + 14.0;
        let colours = COLOURS.into_iter().cycle();
        for (k, (series, colour)) in self.series.iter().zip(colours).enumerate() {
            let y = margins.top + 8.0 + 20.0 * k as f64;
            let square = [(px(x), px(y - 5.0)), (px(x + 12.0), px(y + 5.0))];
            area.draw(&Rectangle::new(square, colour.filled()))?;
            let style = text(12.0, INK, HPos::Left);
            write(area, &series.name, &style, (px(x + 18.0), px(y)))?;
        }
        Ok(())
    }
}

/// A chart that is being drawn.
struct Plot<'a, 'b> {
    chart: ChartArea<'a, 'b>,
    area: &'a Area<'b>,
    axes: (&'a Axis, &'a Axis),
}

impl Plot<'_, '_> {
    /// Returns whether a point has a position on both axes.
    fn has(&self, (x, y): &(f64, f64)) -> bool {
        self.axes.0.has(*x) && self.axes.1.has(*y)
    }

    /// Draws a line, which a point without a position breaks.
    fn draw_line(&mut self, series: &Series, colour: RGBColor) -> Drawn {
        let runs: Vec<_> = series.points.split(|point| !self.has(point)).collect();
        for run in runs {
            if run.len() > 1 {
                let line = PathElement::new(run, stroke(colour, 1.8));
                self.chart.draw_series([line])?;
            }
        }
        // A long line needs no dots.
        if series.points.len() <= 24 {
            self.draw_points(series, colour)?;
        }
        Ok(())
    }

    fn draw_points(&mut self, series: &Series, colour: RGBColor) -> Drawn {
        let mut written: Vec<(i32, i32)> = Vec::new();
        for (k, point) in series.points.iter().enumerate() {
            if !self.has(point) {
                continue;
            }
            self.chart
                .draw_series([Circle::new(*point, px(3.5), colour.filled())])?;
            if let Some(label) = series.labels.get(k) {
                let (x, y) = self.chart.backend_coord(point);
                let place = free_place((x + px(6.0), y), &written);
                write(self.area, label, &text(11.0, INK, HPos::Left), place)?;
                written.push(place);
            }
        }
        Ok(())
    }

    fn draw_bars(&mut self, series: &Series, (left, right): (f64, f64), colour: RGBColor) -> Drawn {
        // On a logarithmic axis, which has no 0, bars begin at its end.
        let floor = match self.axes.1.has(0.0) {
            true => 0.0,
            false => self.axes.1.range().start,
        };
        let gap = px(0.5).unsigned_abs();
        for &(x, y) in &series.points {
            let (from, to) = (x + left, x + right);
            if self.has(&(from, y)) && self.has(&(to, y)) {
                let corners = [(from, y.max(floor)), (to, y.min(floor))];
                let mut bar = Rectangle::new(corners, colour.filled());
                bar.set_margin(0, 0, gap, 0);
                self.chart.draw_series([bar])?;
            }
        }
        Ok(())
    }
}

/// Moves a text down until it covers none of those that are written.
fn free_place((x, mut y): (i32, i32), written: &[(i32, i32)]) -> (i32, i32) {
    let (width, height) = (px(110.0), px(12.0));
    let covers = |y: i32| {
        let near =
            |place: &&(i32, i32)| (place.0 - x).abs() < width && (place.1 - y).abs() < height;
        written.iter().find(near).map(|place| place.1)
    };
    while let Some(taken) = covers(y) {
        y = taken + height;
    }
    (x, y)
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
        // Those of the axes are thinner.
        assert_eq!(
            svg.matches("stroke-width=\"18\" points").count(),
            2,
            "{svg}"
        );
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
        let first = free_place((100, 500), &[]);
        let second = free_place((120, 510), &[first]);
        let third = free_place((110, 490), &[first, second]);
        assert_eq!([first.1, second.1, third.1], [500, 620, 740]);
        assert_eq!(free_place((2000, 500), &[first, second]), (2000, 500));
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
