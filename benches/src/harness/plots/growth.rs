//! How the cost grows with size: a line for each participant, on logarithmic axes.

use std::collections::BTreeMap;

use mlx_plot::drawing::{
    Area, Axis, ChartArea, Drawn, INK, Margins, axes, picture, px, stroke, text, write,
};
use mlx_plot::plotters::coord::ranged1d::Ranged;
use mlx_plot::plotters::prelude::*;
use mlx_plot::plotters::style::text_anchor::HPos;

use super::Plot;
use crate::harness::results::{Results, RowResult};
use crate::harness::rows::Group;
use crate::harness::statistics::Summary;

const SIZE: (u32, u32) = (760, 460);
const MARGINS: Margins = Margins {
    top: 46.0,
    right: 190.0,
    bottom: 52.0,
    left: 70.0,
};

/// Points of each line, the smallest size first.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// What a plot shows of which rows.
struct Growth {
    /// How the names of its rows begin.
    rows: &'static str,
    file: &'static str,
    title: &'static str,
    /// The name of the axis.
    axis: &'static str,
    /// Reads a row's size from its shape.
    size: fn(&RowResult) -> Option<f64>,
    /// Reads what grows.
    value: fn(&Summary) -> Option<f64>,
}

const PLOTS: [Growth; 8] = [
    Growth {
        rows: "attention/",
        file: "attention-sequence.svg",
        title: "Attention, 8 heads of 64: milliseconds",
        axis: "length of the sequence",
        size: size_of_sequence,
        value: milliseconds,
    },
    Growth {
        rows: "attention/",
        file: "attention-memory.svg",
        title: "Attention, 8 heads of 64: peak MiB of arrays beyond the inputs",
        axis: "length of the sequence",
        size: size_of_sequence,
        value: mebibytes,
    },
    Growth {
        rows: "rms_norm/",
        file: "rms_norm-size.svg",
        title: "RMSNorm: milliseconds",
        axis: "number of elements",
        size: number_of_elements,
        value: milliseconds,
    },
    Growth {
        rows: "quantized_matmul/",
        file: "quantized_matmul-rows.svg",
        title: "Product with 4096 x 4096 weights of 4 bits: milliseconds",
        axis: "number of rows",
        size: number_of_rows,
        value: milliseconds,
    },
    Growth {
        rows: "growth/sort/",
        file: "growth-sort.svg",
        title: "Sorting float32 numbers: milliseconds",
        axis: "number of elements",
        size: size_in_name,
        value: milliseconds,
    },
    Growth {
        rows: "growth/conv2d/",
        file: "growth-conv2d.svg",
        title: "3x3 convolution of a picture with 64 channels: milliseconds",
        axis: "side of the picture",
        size: size_in_name,
        value: milliseconds,
    },
    Growth {
        rows: "growth/matmul/",
        file: "growth-matmul-bf16.svg",
        title: "Product of two square matrices in bfloat16: milliseconds",
        axis: "rows of a matrix",
        size: size_in_name,
        value: milliseconds,
    },
    Growth {
        rows: "growth/gather/",
        file: "growth-gather.svg",
        title: "Gathering rows of 512 numbers: milliseconds",
        axis: "number of rows",
        size: size_in_name,
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
    let swept = |row: &&RowResult| {
        let has_sizes = matches!(row.group, Group::Sweep | Group::Scaling | Group::Growth);
        has_sizes && row.id.starts_with(growth.rows)
    };
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
    let mut sizes: Vec<f64> = points().map(|(size, _)| size).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    // One size is no growth.
    if sizes.len() < 2 {
        return None;
    }
    let x = Axis::around(sizes.iter().copied(), true);
    let ticks = spread(&sizes, &x);
    let x = x.with_ticks(ticks);
    let y = Axis::around(points().map(|(_, value)| value), true);
    Some(picture(SIZE, |area| {
        let title = text(15.0, INK, HPos::Left);
        write(area, growth.title, &title, (px(16.0), px(21.0)))?;
        let mut chart = axes(area, MARGINS, (&x, &y), (growth.axis, ""), true)?;
        draw_lines(&mut chart, lines)?;
        write_names(area, &chart, lines)
    }))
}

/// Returns the sizes that are far enough apart for their labels.
fn spread(sizes: &[f64], axis: &Axis) -> Vec<f64> {
    const APART: i32 = 34;
    let width = SIZE.0 as i32 - (MARGINS.left + MARGINS.right) as i32;
    let mut last = -APART;
    let mut fits = |size: &f64| {
        let at = axis.map(size, (0, width));
        let fits = at - last >= APART;
        if fits {
            last = at;
        }
        fits
    };
    sizes.iter().copied().filter(|size| fits(size)).collect()
}

fn draw_lines(chart: &mut ChartArea<'_, '_>, lines: &Lines) -> Drawn {
    // Ours is drawn last, above the others.
    let ordered = lines.iter().filter(|(name, _)| *name != "ours");
    for (name, points) in ordered.chain(lines.get_key_value("ours")) {
        let colour = super::colour(name);
        let width = if name == "ours" { 3.0 } else { 1.8 };
        chart.draw_series([PathElement::new(points.clone(), stroke(colour, width))])?;
        let dots = points
            .iter()
            .map(|at| Circle::new(*at, px(3.5), colour.filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// Writes each line's name beside its end, pushed down where two would touch, and up again from the bottom.
fn write_names(area: &Area<'_>, chart: &ChartArea<'_, '_>, lines: &Lines) -> Drawn {
    let apart = px(14.0);
    let end = |(name, points): (&String, &Vec<(f64, f64)>)| {
        Some((chart.backend_coord(points.last()?).1, name.clone()))
    };
    let mut ends: Vec<(i32, String)> = lines.iter().filter_map(end).collect();
    ends.sort();
    let mut next = px(MARGINS.top);
    for (at, _) in &mut ends {
        *at = (*at).max(next);
        next = *at + apart;
    }
    let mut last = px(f64::from(SIZE.1) - MARGINS.bottom);
    for (at, _) in ends.iter_mut().rev() {
        *at = (*at).min(last);
        last = *at - apart;
    }
    let x = px(f64::from(SIZE.0) - MARGINS.right + 10.0);
    for (at, name) in ends {
        let style = text(12.0, super::colour(&name), HPos::Left);
        write(area, &name, &style, (x, at))?;
    }
    Ok(())
}

fn milliseconds(summary: &Summary) -> Option<f64> {
    Some(summary.median_ms)
}

fn mebibytes(summary: &Summary) -> Option<f64> {
    Some(summary.peak_bytes? as f64 / f64::from(1 << 20))
}

fn sizes(row: &RowResult) -> Vec<f64> {
    let sizes = row.shape.split('x').map(str::parse);
    sizes.collect::<Result<_, _>>().unwrap_or_default()
}

fn size_of_sequence(row: &RowResult) -> Option<f64> {
    sizes(row).get(2).copied()
}

fn number_of_elements(row: &RowResult) -> Option<f64> {
    Some(sizes(row).iter().product())
}

/// Reads the third part of `growth/sort/65536/cpu`.
fn size_in_name(row: &RowResult) -> Option<f64> {
    row.id.split('/').nth(2)?.parse().ok()
}

fn number_of_rows(row: &RowResult) -> Option<f64> {
    sizes(row).first().copied()
}
