//! What every picture has in common: plotters' SVG backend on white, a title, one font, the colours of lines and text.
//!
//! Charts and heat maps are made of this, and so are pictures that need more than those: with [`picture`], [`Axis`]
//! and the elements of [`plotters`].

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use crate::axis::{Axis, label};

/// A picture in the making, in tenths of a pixel: plotters has whole numbers only, and curves want finer ones.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// The result of drawing. Writing to a text does not fail.
pub type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;
/// A chart on a picture.
pub type ChartArea<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Lines of axes and text.
pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Lines behind the data.
pub const FAINT: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
/// Colours of series, which readers with colour blindness can tell apart.
pub const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x66, 0x66, 0x66),
    RGBColor(0xb8, 0xa8, 0x00),
];

/// How many units there are in a pixel.
const UNITS: u32 = 10;

/// Returns a length in units.
#[must_use]
pub fn px(pixels: f64) -> i32 {
    (pixels * f64::from(UNITS)).round() as i32
}

/// Returns the style of a line with a width in pixels.
#[must_use]
pub fn stroke(colour: RGBColor, pixels: f64) -> ShapeStyle {
    colour.stroke_width(px(pixels).unsigned_abs())
}

const FONT: &str = "Helvetica, Arial, sans-serif";

/// Draws a picture with a size in pixels on white, and returns it as SVG that fits the width of a page.
pub fn picture((width, height): (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let svg = overlay((width, height), |area| {
        area.fill(&WHITE).and_then(|()| draw(area))
    });
    let (w, h) = (width * UNITS, height * UNITS);
    svg.replacen(
        &format!("width=\"{w}\" height=\"{h}\""),
        &format!("width=\"{width}\" height=\"{height}\" style=\"max-width:100%\""),
        1,
    )
}

/// Draws on nothing, for a part of another picture.
pub(crate) fn overlay(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> String {
    let mut svg = String::new();
    {
        let area =
            SVGBackend::with_string(&mut svg, (width * UNITS, height * UNITS)).into_drawing_area();
        // Errors are those of files, and there is none.
        let _ = draw(&area);
        let _ = area.present();
    }
    svg.truncate(svg.trim_end().len());
    svg
}

/// Returns a style of text with its size in pixels, placed from its point as `anchor` says and centred vertically.
pub fn text(size: f64, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    TextStyle {
        // plotters divides by this.
        font: (FONT, f64::from(px(size)) * 1.24).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(anchor, VPos::Center),
    }
}

/// Writes text at a point.
pub fn write(area: &Area<'_>, text: &str, style: &TextStyle<'_>, at: (i32, i32)) -> Drawn {
    area.draw_text(&printable(text), style, at)
}

/// Returns text without control characters, for which XML has no place.
pub fn printable(text: &str) -> String {
    let visible = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(visible).collect()
}

/// The margins around the data of a chart in pixels, with room for labels and names of axes.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// Above.
    pub top: f64,
    /// To the right.
    pub right: f64,
    /// Below.
    pub bottom: f64,
    /// To the left.
    pub left: f64,
}

/// Draws two axes with their names and a faint grid, and returns the chart to draw into.
pub fn axes<'a, 'b>(
    area: &'a Area<'b>,
    margins: Margins,
    (x, y): (&Axis, &Axis),
    (x_name, y_name): (&str, &str),
    grid: bool,
) -> Result<ChartArea<'a, 'b>, DrawingAreaErrorKind<io::Error>> {
    const EDGE: f64 = 6.0;
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(margins.top))
        .margin_right(px(margins.right))
        .margin_bottom(px(EDGE))
        .margin_left(px(EDGE))
        .x_label_area_size(px(margins.bottom - EDGE))
        .y_label_area_size(px(margins.left - EDGE))
        .build_cartesian_2d(x.clone(), y.clone())?;
    let mut mesh = chart.configure_mesh();
    if !grid {
        mesh.disable_mesh();
    }
    mesh.bold_line_style(stroke(FAINT, 1.0))
        .light_line_style(TRANSPARENT)
        .axis_style(stroke(INK, 1.0))
        .set_all_tick_mark_size(px(3.0))
        .label_style(text(11.0, INK, HPos::Center))
        .axis_desc_style(text(12.0, INK, HPos::Center))
        .x_desc(printable(x_name))
        .y_desc(printable(y_name))
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_one_svg_with_escaped_text() {
        let svg = picture((100, 50), |area| {
            write(
                area,
                "a < b\u{1} & c",
                &text(11.0, INK, HPos::Left),
                (10, 10),
            )
        });
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");
        assert!(svg.contains("a &lt; b  &amp; c"), "{svg}");
        assert!(svg.contains("font-size=\"110\""), "{svg}");
    }
}
