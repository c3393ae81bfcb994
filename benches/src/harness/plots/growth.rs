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

/// What a plot shows of which rows.
struct Growth {
    op: &'static str,
    file: &'static str,
    title: &'static str,
    /// What stands below the axis.
    axis: &'static str,
    /// Reads a row's size from its shape.
    size: fn(&Line) -> Option<f64>,
    /// Reads what grows.
    value: fn(&Summary) -> Option<f64>,
}

const PLOTS: [Growth; 4] = [
    Growth {
        op: "attention",
        file: "attention-sequence.svg",
        title: "Attention, 8 heads of 64: milliseconds",
        axis: "length of the sequence",
        size: size_of_sequence,
        value: milliseconds,
    },
    Growth {
        op: "attention",
        file: "attention-memory.svg",
        title: "Attention, 8 heads of 64: peak MiB of arrays beyond the inputs",
        axis: "length of the sequence",
        size: size_of_sequence,
        value: mebibytes,
    },
    Growth {
        op: "rms_norm",
        file: "rms_norm-size.svg",
        title: "RMSNorm: milliseconds",
        axis: "number of elements",
        size: number_of_elements,
        value: milliseconds,
    },
    Growth {
        op: "quantized_matmul",
        file: "quantized_matmul-rows.svg",
        title: "Product with 4096 x 4096 weights of 4 bits: milliseconds",
        axis: "number of rows",
        size: number_of_rows,
        value: milliseconds,
    },
];

pub(super) fn all(results: &Results) -> Vec<Plot> {
    let draw = |growth: &Growth| {
        let svg = draw(&lines(results, growth), growth)?;
        Some(Plot {
            caption: format!("{}, against {}", growth.title, growth.axis),
            file: growth.file.to_owned(),
            svg,
        })
    };
    PLOTS.iter().filter_map(draw).collect()
}

fn lines(results: &Results, growth: &Growth) -> Lines {
    let mut lines = Lines::new();
    let swept =
        |row: &&Line| row.op == growth.op && matches!(row.group, Group::Sweep | Group::Scaling);
    for row in results.rows.iter().filter(swept) {
        let Some(size) = (growth.size)(row) else {
            continue;
        };
        let ours = row.ours.iter().map(|summary| ("ours", summary));
        let others = row.forms.iter().chain(&row.samples);
        let others = others.map(|(name, summary)| (name.as_str(), summary));
        for (name, summary) in ours.chain(others) {
            if let Some(value) = (growth.value)(summary) {
                let points = lines.entry(name.to_owned()).or_default();
                points.push((size, value));
            }
        }
    }
    for points in lines.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn draw(lines: &Lines, growth: &Growth) -> Option<String> {
    let points = || lines.values().flatten().copied();
    let sizes: Vec<f64> = points().map(|(size, _)| size).collect();
    // One size is no growth.
    let first = sizes.first()?;
    if sizes.iter().all(|size| size == first) {
        return None;
    }
    let x = Axis::around(sizes.iter().copied(), LEFT, RIGHT)?;
    let y = Axis::around(points().map(|(_, ms)| ms), BOTTOM, TOP)?;
    let mut svg = Svg::new(WIDTH, HEIGHT, growth.title);
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
        growth.axis,
    );
    Some(svg.finish())
}

/// Writes each line's name beside its end, pushed down where two would touch, and up again from the bottom.
fn names(svg: &mut Svg, lines: &Lines, y: &Axis) {
    let end = |(name, points): (&String, &Vec<(f64, f64)>)| {
        let (_, ms) = points.last()?;
        Some((y.at(*ms), name.clone()))
    };
    let mut ends: Vec<(f64, String)> = lines.iter().filter_map(end).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut next = TOP;
    for (at, _) in &mut ends {
        *at = at.max(next);
        next = *at + 14.0;
    }
    let mut last = BOTTOM;
    for (at, _) in ends.iter_mut().rev() {
        *at = at.min(last);
        last = *at - 14.0;
    }
    for (at, name) in ends {
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

fn milliseconds(summary: &Summary) -> Option<f64> {
    Some(summary.median_ms)
}

fn mebibytes(summary: &Summary) -> Option<f64> {
    Some(summary.peak_bytes? as f64 / f64::from(1 << 20))
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
