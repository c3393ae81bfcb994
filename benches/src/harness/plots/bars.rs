//! How many times as fast this workspace is as the best rival: a bar for each row.

use mlx_plot::drawing::{Area, Axis, Drawn, INK, Margins, axes, picture, px, stroke, text, write};
use mlx_plot::plotters::prelude::*;
use mlx_plot::plotters::style::text_anchor::HPos;

use super::{NAMES, Plot, WIDTH, heading, rows_axis, write_row_name};
use crate::harness::results::{Results, RowResult};
use crate::harness::rows::Group;

const MARGINS: Margins = Margins {
    top: 66.0,
    right: 190.0,
    bottom: 44.0,
    left: NAMES,
};
const STEP: f64 = 22.0;
/// The colour of bars where the rival is faster.
const SLOWER: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);

/// Draws the rows of operations and models that have a rival.
pub(super) fn speed_ups(results: &Results) -> Option<Plot> {
    let wanted = |row: &&RowResult| {
        matches!(row.group, Group::Kernels | Group::Models) || row.group.is_of_gpu()
    };
    let rows: Vec<(&RowResult, f64)> = results
        .rows
        .iter()
        .filter(wanted)
        .filter_map(|row| Some((row, 1.0 / row.ratio?)))
        .collect();
    plot(
        &rows,
        "Speed relative to the best rival of each row",
        "speed-ups.svg",
    )
}

/// Draws the sweep against PyTorch, the row that is slowest in comparison first.
pub(super) fn sweep(results: &Results) -> Option<Plot> {
    let swept = results.rows.iter();
    let swept = swept.filter(|row| row.group == Group::Operations);
    let mut rows: Vec<(&RowResult, f64)> = swept
        .filter_map(|row| Some((row, 1.0 / row.target_ratio()?)))
        .collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    plot(
        &rows,
        "Speed relative to PyTorch, operation by operation",
        "sweep.svg",
    )
}

fn plot(rows: &[(&RowResult, f64)], caption: &str, file: &str) -> Option<Plot> {
    if rows.is_empty() {
        return None;
    }
    let height = MARGINS.top + STEP * rows.len() as f64 + MARGINS.bottom;
    Some(Plot {
        caption: caption.to_owned(),
        file: file.to_owned(),
        svg: picture((WIDTH as u32, height as u32), |area| {
            draw(area, caption, rows)
        }),
    })
}

fn draw(area: &Area<'_>, caption: &str, rows: &[(&RowResult, f64)]) -> Drawn {
    heading(
        area,
        &format!("{caption} (1 = as fast)"),
        "bars: orange where we are at least as fast, grey where the rival is; | marks the target against its rival",
    )?;
    let targets = rows.iter().filter_map(|(row, _)| Some(1.0 / row.target?));
    let speed_ups = rows.iter().map(|(_, speed_up)| *speed_up);
    // Room beyond the bars, so that round numbers are on both sides of them.
    let room = |value: f64| [value / 1.2, value * 1.2];
    let x = Axis::around(speed_ups.chain(targets).chain([1.0]).flat_map(room), true);
    let mut chart = axes(area, MARGINS, (&x, &rows_axis(rows.len())), ("", ""), true)?;
    for (top, (row, speed_up)) in (0..).map(f64::from).zip(rows) {
        let colour = match *speed_up >= 1.0 {
            true => super::colour("ours"),
            false => SLOWER,
        };
        let corners = [
            (speed_up.min(1.0), top + 0.2),
            (speed_up.max(1.0), top + 0.8),
        ];
        chart.draw_series([Rectangle::new(corners, colour.filled())])?;
        if let Some(target) = row.target {
            let mark = vec![(1.0 / target, top + 0.1), (1.0 / target, top + 0.9)];
            chart.draw_series([PathElement::new(mark, stroke(INK, 2.0))])?;
        }
        let (_, middle) = chart.backend_coord(&(1.0, top + 0.5));
        write_row_name(area, row, middle)?;
        let rival = row.best_rival.as_deref().unwrap_or("none");
        let beside = (px(WIDTH - MARGINS.right + 10.0), middle);
        let style = text(11.0, INK, HPos::Left);
        write(area, &format!("{speed_up:.2} x {rival}"), &style, beside)?;
    }
    let one = vec![(1.0, 0.0), (1.0, rows.len() as f64)];
    chart.draw_series([PathElement::new(one, stroke(INK, 1.5))])?;
    Ok(())
}
