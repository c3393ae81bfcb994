//! Pictures of a run: speed-ups, distance from the machine's limits, cost against size.

mod bars;
mod growth;
mod limits;
mod threads;

use mlx_plot::drawing::{Area, Axis, Drawn, INK, px, text, write};
use mlx_plot::plotters::style::RGBColor;
use mlx_plot::plotters::style::text_anchor::HPos;

use super::results::{Results, RowResult};

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// What it shows, for those who do not see it.
    pub caption: String,
    /// Its file's name.
    pub file: String,
    /// The picture.
    pub svg: String,
}

/// Draws every picture that the run has numbers for.
pub fn all(results: &Results) -> Vec<Plot> {
    let mut plots = Vec::new();
    plots.extend(bars::speed_ups(results));
    plots.extend(bars::sweep(results));
    plots.extend(limits::roofline(results));
    plots.extend(threads::scaling(results));
    plots.extend(growth::all(results));
    plots
}

/// The width of a picture with a row for each benchmark, in pixels.
const WIDTH: f64 = 900.0;
/// The room for the names of rows.
const NAMES: f64 = 290.0;

/// Returns the colour of a participant: this workspace's is the brightest, and none depends on red against green.
fn colour(name: &str) -> RGBColor {
    let [red, green, blue] = match name {
        "ours" => [0xd5, 0x5e, 0x00],
        "composed" => [0x8c, 0x8c, 0x8c],
        "compiled" => [0xe6, 0xa7, 0x00],
        "one-thread" => [0xf0, 0xb4, 0x8c],
        "onnxruntime" => [0x00, 0x72, 0xb2],
        "jax" => [0x00, 0x9e, 0x73],
        "numpy" => [0x56, 0xb4, 0xe9],
        "python-mlx" => [0xb9, 0xa3, 0xc9],
        "python-mlx-openblas" => [0x7b, 0x4f, 0xa3],
        "pytorch" => [0xcc, 0x79, 0xa7],
        "pytorch-compiled" => [0x9a, 0x3f, 0x73],
        "mlx-lm" => [0x4a, 0x6f, 0xb5],
        "candle" => [0x7a, 0x5c, 0x3e],
        "eager" => [0x5c, 0x5c, 0x5c],
        _ => [0x33, 0x33, 0x33],
    };
    RGBColor(red, green, blue)
}

/// Writes a title, and below it what the picture shows, at the left.
fn heading(area: &Area<'_>, title: &str, about: &str) -> Drawn {
    const GREY: RGBColor = RGBColor(0x55, 0x55, 0x55);
    let at = |y: f64| (px(16.0), px(y));
    write(area, title, &text(15.0, INK, HPos::Left), at(21.0))?;
    write(area, about, &text(11.0, GREY, HPos::Left), at(42.0))
}

/// Returns an axis with a unit for each of `n` rows, from the top down.
fn rows_axis(n: usize) -> Axis {
    Axis::exact(n as f64, 0.0).with_ticks(Vec::new())
}

/// Returns how a row is named beside a picture.
fn row_name(row: &RowResult) -> String {
    let name = row.id.trim_end_matches("/cpu").trim_start_matches("gpu/");
    name.replace("bfloat16/", "bf16/").replace("float32/", "")
}

/// Writes the name of a row to the left of the chart, at the height of a point.
fn write_row_name(area: &Area<'_>, row: &RowResult, y: i32) -> Drawn {
    let style = text(11.0, INK, HPos::Right);
    write(area, &row_name(row), &style, (px(NAMES - 8.0), y))
}
