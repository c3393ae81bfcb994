//! A matrix as coloured cells.

use crate::axis::{Axis, label};
use crate::png;
use crate::show;
use crate::svg::{Anchor, INK, Svg};

/// A matrix drawn in colours from dark to light, the first row on top.
///
/// ```
/// let map = mlx_plot::Heatmap::new("confusion", &[3.0, 0.0, 1.0, 2.0], 2)
///     .row_names(["cat", "dog"])
///     .numbers();
/// assert!(map.to_svg().contains("dog"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Heatmap {
    title: String,
    values: Vec<f32>,
    n_columns: usize,
    x_label: String,
    y_label: String,
    x_range: Option<(f64, f64)>,
    y_range: Option<(f64, f64)>,
    row_names: Vec<String>,
    column_names: Vec<String>,
    numbers: bool,
}

impl Heatmap {
    /// Returns a map of values, row by row, `n_columns` in each; a row that is not whole is left out.
    pub fn new(title: impl Into<String>, values: &[f32], n_columns: usize) -> Self {
        let whole = values.len() - values.len() % n_columns.max(1);
        Self {
            title: title.into(),
            values: values[..whole].to_vec(),
            n_columns: n_columns.max(1),
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

    /// Says what the left and the right edge stand for, 0 and the number of columns if nothing else.
    #[must_use]
    pub fn x_range(mut self, low: f64, high: f64) -> Self {
        self.x_range = Some((low, high));
        self
    }

    /// Says what the upper and the lower edge stand for, 0 and the number of rows if nothing else.
    #[must_use]
    pub fn y_range(mut self, top: f64, bottom: f64) -> Self {
        self.y_range = Some((top, bottom));
        self
    }

    /// Writes a name beside each row, instead of numbers.
    #[must_use]
    pub fn row_names<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.row_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Writes a name below each column, instead of numbers.
    #[must_use]
    pub fn column_names<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.column_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Writes the value into each cell.
    #[must_use]
    pub fn numbers(mut self) -> Self {
        self.numbers = true;
        self
    }

    /// Returns the map as SVG.
    pub fn to_svg(&self) -> String {
        let frame = self.frame();
        let mut svg = Svg::new(frame.width, frame.bottom + frame.below, &self.title);
        if !self.values.is_empty() {
            let picture = png::encode(&self.pixels(), self.n_columns, &palette());
            let (width, height) = (frame.right - frame.left, frame.bottom - frame.top);
            svg.picture(frame.left, frame.top, width, height, &picture);
        }
        if self.numbers {
            self.draw_numbers(&mut svg, &frame);
        }
        self.draw_columns(&mut svg, &frame);
        self.draw_rows(&mut svg, &frame);
        self.draw_scale(&mut svg, &frame);
        svg.finish()
    }

    /// Shows the map in a notebook run by evcxr.
    pub fn evcxr_display(&self) {
        show::html(&self.to_svg());
    }

    fn n_rows(&self) -> usize {
        self.values.len() / self.n_columns
    }

    fn frame(&self) -> Frame {
        let longest = |names: &[String]| names.iter().map(|name| name.chars().count()).max();
        let letters = |n: usize| n as f64 * 6.2;
        let left = longest(&self.row_names).map_or(66.0, |n| letters(n).min(300.0) + 40.0);
        let below = longest(&self.column_names).map_or(50.0, |n| {
            // Long names are written downwards.
            if n > 3 {
                letters(n).min(300.0) + 44.0
            } else {
                50.0
            }
        });
        let right = left + 560.0;
        // Named cells are about square, and each row has room for its name.
        let named = !self.row_names.is_empty() || !self.column_names.is_empty();
        let cell = 560.0 / self.n_columns as f64;
        let height = match named {
            true => (cell * self.n_rows() as f64).clamp(16.0 * self.n_rows() as f64, 700.0),
            false => 240.0,
        };
        let top = 40.0;
        Frame {
            left,
            right,
            top,
            bottom: top + height.max(20.0),
            below,
            width: right + 80.0,
        }
    }

    /// The least and the greatest finite value.
    fn bounds(&self) -> (f32, f32) {
        let finite = || self.values.iter().copied().filter(|v| v.is_finite());
        let low = finite().fold(f32::INFINITY, f32::min);
        let high = finite().fold(f32::NEG_INFINITY, f32::max);
        match (low, high) {
            (low, high) if low < high => (low, high),
            (low, _) if low.is_finite() => (low, low + 1.0),
            _ => (0.0, 1.0),
        }
    }

    fn share(&self, value: f32) -> f32 {
        let (low, high) = self.bounds();
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn pixels(&self) -> Vec<u8> {
        let (low, high) = self.bounds();
        let scale = 255.0 / (high - low);
        // NaN becomes 0.
        let pixel = |value: &f32| ((value - low) * scale).clamp(0.0, 255.0) as u8;
        self.values.iter().map(pixel).collect()
    }

    fn draw_numbers(&self, svg: &mut Svg, frame: &Frame) {
        let whole = self.values.iter().all(|value| value.fract() == 0.0);
        for (row, values) in self.values.chunks(self.n_columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let (x, y) = self.middle(frame, row, column);
                let text = if whole {
                    format!("{value}")
                } else {
                    format!("{value:.2}")
                };
                let colour = if self.share(value) > 0.6 {
                    INK
                } else {
                    "#ffffff"
                };
                svg.text(x, y + 4.0, Anchor::Middle, 11.0, colour, &text);
            }
        }
    }

    fn middle(&self, frame: &Frame, row: usize, column: usize) -> (f64, f64) {
        let x = (column as f64 + 0.5) / self.n_columns as f64;
        let y = (row as f64 + 0.5) / self.n_rows().max(1) as f64;
        (
            frame.left + x * (frame.right - frame.left),
            frame.top + y * (frame.bottom - frame.top),
        )
    }

    fn draw_columns(&self, svg: &mut Svg, frame: &Frame) {
        if self.column_names.is_empty() {
            let (low, high) = self.x_range.unwrap_or((0.0, self.n_columns as f64));
            let axis = Axis::exact(low, high, frame.left, frame.right);
            for tick in axis.ticks() {
                if let Some(x) = axis.at(tick) {
                    svg.line((x, frame.bottom), (x, frame.bottom + 4.0), INK, 1.0);
                    svg.text(
                        x,
                        frame.bottom + 17.0,
                        Anchor::Middle,
                        11.0,
                        INK,
                        &label(tick),
                    );
                }
            }
        }
        let turned = self
            .column_names
            .iter()
            .any(|name| name.chars().count() > 3);
        for (column, name) in self.column_names.iter().enumerate().take(self.n_columns) {
            let (x, _) = self.middle(frame, 0, column);
            if turned {
                let y = frame.bottom + 8.0;
                svg.turned(x + 4.0, y, -90.0, Anchor::End, 11.0, INK, name);
            } else {
                svg.text(x, frame.bottom + 16.0, Anchor::Middle, 11.0, INK, name);
            }
        }
        let middle = (frame.left + frame.right) / 2.0;
        let y = frame.bottom + frame.below - 12.0;
        svg.text(middle, y, Anchor::Middle, 12.0, INK, &self.x_label);
    }

    fn draw_rows(&self, svg: &mut Svg, frame: &Frame) {
        if self.row_names.is_empty() {
            let (top, bottom) = self.y_range.unwrap_or((0.0, self.n_rows() as f64));
            let axis = if top <= bottom {
                Axis::exact(top, bottom, frame.top, frame.bottom)
            } else {
                Axis::exact(bottom, top, frame.bottom, frame.top)
            };
            for tick in axis.ticks() {
                if let Some(y) = axis.at(tick) {
                    svg.line((frame.left - 4.0, y), (frame.left, y), INK, 1.0);
                    svg.text(
                        frame.left - 7.0,
                        y + 4.0,
                        Anchor::End,
                        11.0,
                        INK,
                        &label(tick),
                    );
                }
            }
        }
        for (row, name) in self.row_names.iter().enumerate().take(self.n_rows()) {
            let (_, y) = self.middle(frame, row, 0);
            svg.text(frame.left - 7.0, y + 4.0, Anchor::End, 11.0, INK, name);
        }
        let middle = (frame.top + frame.bottom) / 2.0;
        svg.turned(
            16.0,
            middle,
            -90.0,
            Anchor::Middle,
            12.0,
            INK,
            &self.y_label,
        );
    }

    /// A strip that says which colour is which value.
    fn draw_scale(&self, svg: &mut Svg, frame: &Frame) {
        const STEPS: u8 = 64;
        let strip: Vec<u8> = (0..STEPS).rev().map(|k| k * 4).collect();
        let picture = png::encode(&strip, 1, &palette());
        let (x, height) = (frame.right + 14.0, frame.bottom - frame.top);
        svg.picture(x, frame.top, 12.0, height, &picture);
        let (low, high) = self.bounds();
        let word = |value: f32| label(f64::from(value));
        svg.text(
            x + 16.0,
            frame.top + 9.0,
            Anchor::Start,
            11.0,
            INK,
            &word(high),
        );
        svg.text(x + 16.0, frame.bottom, Anchor::Start, 11.0, INK, &word(low));
    }
}

/// Where the cells are, and what is around them.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    below: f64,
    width: f64,
}

/// Dark blue over green to yellow: even steps of brightness, after the table that matplotlib calls viridis.
fn palette() -> [[u8; 3]; 256] {
    const STOPS: [[f32; 3]; 6] = [
        [68.0, 1.0, 84.0],
        [65.0, 68.0, 135.0],
        [42.0, 120.0, 142.0],
        [34.0, 168.0, 132.0],
        [122.0, 209.0, 81.0],
        [253.0, 231.0, 37.0],
    ];
    std::array::from_fn(|k| {
        let place = k as f32 / 255.0 * (STOPS.len() - 1) as f32;
        let stop = (place as usize).min(STOPS.len() - 2);
        let share = place - stop as f32;
        std::array::from_fn(|c| {
            (STOPS[stop][c] * (1.0 - share) + STOPS[stop + 1][c] * share).round() as u8
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_span_the_finite_values() {
        let map = Heatmap::new("t", &[0.0, 1.0, f32::NAN, 2.0], 2);
        assert_eq!(map.pixels(), [0, 127, 0, 255]);
    }

    #[test]
    fn maps_of_nothing_and_of_one_value_are_drawn() {
        for map in [
            Heatmap::new("t", &[], 0),
            Heatmap::new("t", &[1.0], 1),
            Heatmap::new("t", &[f32::NAN, f32::INFINITY], 2),
            Heatmap::new("t", &[1.0, 2.0], 3),
        ] {
            let svg = map.to_svg();
            assert!(svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn names_and_numbers_are_written() {
        let svg = Heatmap::new("t", &[1.0, 2.0, 3.0, 4.0], 2)
            .row_names(["one", "two"])
            .column_names(["a", "b"])
            .numbers()
            .to_svg();
        for text in [">one<", ">b<", ">4<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn the_palette_gets_lighter() {
        let sums = palette().map(|colour| colour.map(u32::from).iter().sum::<u32>());
        assert!(sums[0] < sums[128] && sums[128] < sums[255]);
    }
}
