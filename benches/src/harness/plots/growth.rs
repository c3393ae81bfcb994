//! How does the cost grow with size? A line for each of us, on logarithmic axes.

use std::collections::BTreeMap;

use super::Plot;
use super::axis::{Axis, label};
use super::svg::{Anchor, FAINT, INK, Svg};
use crate::harness::results::{Line, Results};
use crate::harness::rows::Group;
use crate::harness::statistics::Summary;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 190.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = HEIGHT - 52.0;

/// Points of each line, the smallest size first.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;
/// Reads a row's size from its shape.
type Size = fn(&Line) -> Option<f64>;

pub(super) fn all(results: &Results) -> Vec<Plot> {
    let plots = [
        (
            "attention",
            "attention-sequence.svg",
            "Attention, 8 heads of 64: milliseconds against the length of the sequence",
            size_of_sequence as Size,
        ),
        (
            "rms_norm",
            "rms_norm-size.svg",
            "RMSNorm: milliseconds against the number of elements",
            number_of_elements,
        ),
        (
            "quantized_matmul",
            "quantized_matmul-rows.svg",
            "Product with 4096 x 4096 weights of 4 bits: milliseconds against the number of rows",
            number_of_rows,
        ),
    ];
    let draw = |(op, file, title, size): (&str, &str, &str, Size)| {
        let lines = lines(results, op, size);
        Some(Plot {
            caption: title.to_owned(),
            file: file.to_owned(),
            svg: draw(&lines, title)?,
        })
    };
    plots.into_iter().filter_map(draw).collect()
}

fn lines(results: &Results, op: &str, size: Size) -> Lines {
    let mut lines = Lines::new();
    let swept = |row: &&Line| row.op == op && matches!(row.group, Group::Sweep | Group::Scaling);
    for row in results.rows.iter().filter(swept) {
        let Some(size) = size(row) else { continue };
        let mut put = |name: &str, summary: &Summary| {
            let points = lines.entry(name.to_owned()).or_default();
            points.push((size, summary.median_ms));
        };
        if let Some(ours) = &row.ours {
            put("ours", ours);
        }
        row.forms
            .iter()
            .for_each(|(name, summary)| put(name, summary));
        row.samples
            .iter()
            .for_each(|(name, summary)| put(name, summary));
    }
    for points in lines.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn draw(lines: &Lines, title: &str) -> Option<String> {
    let points = || lines.values().flatten().copied();
    let sizes: Vec<f64> = points().map(|(size, _)| size).collect();
    // One size is no growth.
    let first = sizes.first()?;
    if sizes.iter().all(|size| size == first) {
        return None;
    }
    let x = Axis::around(sizes.iter().copied(), LEFT, RIGHT)?;
    let y = Axis::around(points().map(|(_, ms)| ms), BOTTOM, TOP)?;
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    for tick in y.ticks() {
        let at = y.at(tick);
        svg.line((LEFT, at), (RIGHT, at), FAINT, 1.0);
        svg.text(LEFT - 8.0, at + 4.0, Anchor::End, 11.0, INK, &label(tick));
    }
    let mut ticks = sizes;
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let mut last = f64::NEG_INFINITY;
    for tick in ticks {
        let at = x.at(tick);
        svg.line((at, BOTTOM), (at, BOTTOM + 4.0), INK, 1.0);
        if at - last > 34.0 {
            svg.text(at, BOTTOM + 18.0, Anchor::Middle, 11.0, INK, &label(tick));
            last = at;
        }
    }
    svg.line((LEFT, BOTTOM), (RIGHT, BOTTOM), INK, 1.0);
    // Ours is drawn last, above the others.
    let ordered = lines.iter().filter(|(name, _)| *name != "ours");
    for (name, points) in ordered.chain(lines.get_key_value("ours")) {
        let colour = super::colour(name);
        let places: Vec<(f64, f64)> = points
            .iter()
            .map(|(size, ms)| (x.at(*size), y.at(*ms)))
            .collect();
        svg.path(&places, colour, if name == "ours" { 3.0 } else { 1.8 });
        places
            .iter()
            .for_each(|(x, y)| svg.dot(*x, *y, 3.5, colour));
    }
    names(&mut svg, lines, &y);
    svg.text(
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 10.0,
        Anchor::Middle,
        11.0,
        INK,
        "size",
    );
    Some(svg.finish())
}

/// Writes each line's name beside its end, pushed down where two would touch.
fn names(svg: &mut Svg, lines: &Lines, y: &Axis) {
    let end = |(name, points): (&String, &Vec<(f64, f64)>)| {
        let (_, ms) = points.last()?;
        Some((y.at(*ms), name.clone()))
    };
    let mut ends: Vec<(f64, String)> = lines.iter().filter_map(end).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut next = TOP;
    for (at, name) in ends {
        let at = at.max(next);
        next = at + 14.0;
        svg.text(
            RIGHT + 10.0,
            at + 4.0,
            Anchor::Start,
            12.0,
            super::colour(&name),
            &name,
        );
    }
}

fn sizes(row: &Line) -> Vec<f64> {
    let sizes = row.shape.split('x').map(str::parse);
    sizes.collect::<Result<_, _>>().unwrap_or_default()
}

fn size_of_sequence(row: &Line) -> Option<f64> {
    sizes(row).get(2).copied()
}

fn number_of_elements(row: &Line) -> Option<f64> {
    Some(sizes(row).iter().product())
}

fn number_of_rows(row: &Line) -> Option<f64> {
    sizes(row).first().copied()
}
