//! A matrix as coloured cells.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::drawing::{
    self, Area, Axis, Drawn, INK, Margins, label, overlay, picture, px, text, write,
};
use crate::png;
use crate::show;

/// Names of columns up to this length are written across, longer ones downwards.
const SHORT_NAME: usize = 3;
/// How many colours the scale shows.
const SCALE_STEPS: u8 = 64;

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

    /// Sets what the left and the right edge mean, 0 and the number of columns by default.
    #[must_use]
    pub fn x_range(mut self, low: f64, high: f64) -> Self {
        self.x_range = Some((low, high));
        self
    }

    /// Sets what the upper and the lower edge mean, 0 and the number of rows by default.
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
        let (width, height) = frame.size();
        let axes = picture((width, height), |area| self.draw_axes(area, &frame));
        let above = overlay((width, height), |area| self.draw_texts(area, &frame));
        // The cells and the strip of colours are pictures of pixels; texts are written above them.
        let mut images = String::new();
        if !self.values.is_empty() {
            let cells = png::encode(&self.pixels(), self.n_columns, &palette());
            let size = (frame.right - frame.left, frame.bottom - frame.top);
            images += &image((frame.left, frame.top), size, &cells);
        }
        let strip: Vec<u8> = (0..SCALE_STEPS).rev().map(|k| k * 4).collect();
        let strip = png::encode(&strip, 1, &palette());
        let size = (12.0, frame.bottom - frame.top);
        images += &image((frame.right + 14.0, frame.top), size, &strip);
        let axes = axes.trim_end_matches("</svg>");
        format!("{axes}{images}\n{above}\n</svg>")
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
        let letters = |n: usize| (n as f64 * 6.2).min(300.0);
        let left = longest(&self.row_names).map_or(66.0, |n| letters(n) + 40.0);
        let below = match longest(&self.column_names) {
            // Long names are written downwards.
            Some(n) if n > SHORT_NAME => letters(n) + 44.0,
            _ => 50.0,
        };
        // Named cells are about square, and each row has room for its name.
        let named = !self.row_names.is_empty() || !self.column_names.is_empty();
        let cell = Frame::WIDTH / self.n_columns as f64;
        let n_rows = self.n_rows() as f64;
        let height = match named {
            true => (cell * n_rows).clamp(16.0 * n_rows, (16.0 * n_rows).max(700.0)),
            false => 240.0,
        };
        let top = 40.0;
        Frame {
            left,
            right: left + Frame::WIDTH,
            top,
            bottom: top + height.max(20.0),
            below,
        }
    }

    /// The minimum and the maximum of the finite values.
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

    /// Draws the title, and the axes where rows or columns have no names.
    fn draw_axes(&self, area: &Area<'_>, frame: &Frame) -> Drawn {
        let title = text(15.0, INK, HPos::Center);
        write(
            area,
            &self.title,
            &title,
            (px(f64::from(frame.size().0) / 2.0), px(18.0)),
        )?;
        let (left, right) = self.x_range.unwrap_or((0.0, self.n_columns as f64));
        let (top, bottom) = self.y_range.unwrap_or((0.0, self.n_rows() as f64));
        let axis = |from, to, names: &[String]| match names.is_empty() {
            true => Axis::exact(from, to),
            false => Axis::exact(from, to).with_ticks(Vec::new()),
        };
        let x = axis(left, right, &self.column_names);
        let y = axis(bottom, top, &self.row_names);
        let margins = Margins {
            top: frame.top,
            right: Frame::RIGHT,
            bottom: frame.below,
            left: frame.left,
        };
        drawing::axes(
            area,
            margins,
            (&x, &y),
            (&self.x_label, &self.y_label),
            false,
        )
        .map(|_| ())
    }

    /// Writes numbers, names and the ends of the scale.
    fn draw_texts(&self, area: &Area<'_>, frame: &Frame) -> Drawn {
        if self.numbers {
            self.draw_numbers(area, frame)?;
        }
        let is_long = |name: &String| name.chars().count() > SHORT_NAME;
        let turned = self.column_names.iter().any(is_long);
        for (column, name) in self.column_names.iter().enumerate().take(self.n_columns) {
            let (x, _) = self.middle(frame, 0, column);
            if turned {
                let style = text(11.0, INK, HPos::Right).transform(FontTransform::Rotate270);
                write(area, name, &style, (x, px(frame.bottom + 8.0)))?;
            } else {
                write(
                    area,
                    name,
                    &text(11.0, INK, HPos::Center),
                    (x, px(frame.bottom + 12.0)),
                )?;
            }
        }
        for (row, name) in self.row_names.iter().enumerate().take(self.n_rows()) {
            let (_, y) = self.middle(frame, row, 0);
            write(
                area,
                name,
                &text(11.0, INK, HPos::Right),
                (px(frame.left - 7.0), y),
            )?;
        }
        let (low, high) = self.bounds();
        let x = px(frame.right + 30.0);
        for (value, y) in [(high, px(frame.top + 5.0)), (low, px(frame.bottom - 5.0))] {
            write(
                area,
                &label(f64::from(value)),
                &text(11.0, INK, HPos::Left),
                (x, y),
            )?;
        }
        Ok(())
    }

    fn draw_numbers(&self, area: &Area<'_>, frame: &Frame) -> Drawn {
        let whole = self.values.iter().all(|value| value.fract() == 0.0);
        for (row, values) in self.values.chunks(self.n_columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let number = match whole {
                    true => format!("{value}"),
                    false => format!("{value:.2}"),
                };
                let colour = if self.share(value) > 0.6 { INK } else { WHITE };
                let style = text(11.0, colour, HPos::Center);
                write(area, &number, &style, self.middle(frame, row, column))?;
            }
        }
        Ok(())
    }

    fn middle(&self, frame: &Frame, row: usize, column: usize) -> (i32, i32) {
        let x = (column as f64 + 0.5) / self.n_columns as f64;
        let y = (row as f64 + 0.5) / self.n_rows().max(1) as f64;
        (
            px(frame.left + x * (frame.right - frame.left)),
            px(frame.top + y * (frame.bottom - frame.top)),
        )
    }
}

/// Where the cells are, in pixels, and how much room is below them.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    below: f64,
}

impl Frame {
    /// The width of the cells.
    const WIDTH: f64 = 560.0;
    /// The room to the right of the cells, for the scale.
    const RIGHT: f64 = 80.0;

    fn size(&self) -> (u32, u32) {
        let (width, height) = (self.right + Self::RIGHT, self.bottom + self.below);
        (width.ceil() as u32, height.ceil() as u32)
    }
}

/// Returns a PNG in base64 as an element of SVG, its pixels as sharp squares.
fn image((x, y): (f64, f64), (width, height): (f64, f64), base64: &str) -> String {
    let [x, y, width, height] = [x, y, width, height].map(px);
    format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
         style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{base64}\"/>"
    )
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
            assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        }
    }

    #[test]
    fn names_and_numbers_are_written() {
        let svg = Heatmap::new("t", &[1.0, 2.0, 3.0, 4.0], 2)
            .row_names(["one", "two"])
            .column_names(["a", "b"])
            .numbers()
            .to_svg();
        // plotters puts a text on a line of its own.
        for text in [">\none\n<", ">\nb\n<", ">\n4\n<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn the_palette_gets_lighter() {
        let sums = palette().map(|colour| colour.map(u32::from).iter().sum::<u32>());
        assert!(sums[0] < sums[128] && sums[128] < sums[255]);
    }
}
