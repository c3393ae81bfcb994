//! How many times as fast all threads are as one: a bar for each row.

use mlx_plot::drawing::{Area, Axis, Drawn, INK, Margins, axes, picture, px, stroke, text, write};
use mlx_plot::plotters::prelude::*;
use mlx_plot::plotters::style::text_anchor::HPos;

use super::{NAMES, Plot, WIDTH, heading, rows_axis, write_row_name};
use crate::harness::results::{Results, RowResult};
use crate::harness::rows::{Group, ONE_THREAD};
use crate::harness::statistics::ratio;

const MARGINS: Margins = Margins {
    top: 66.0,
    right: 90.0,
    bottom: 44.0,
    left: NAMES,
};
const STEP: f64 = 20.0;

/// Draws the rows of operations and models that were measured with one thread too.
pub(super) fn scaling(results: &Results) -> Option<Plot> {
    let speed_up = |row: &RowResult| ratio(row.forms.get(ONE_THREAD)?, row.ours.as_ref()?);
    let wanted = |row: &&RowResult| matches!(row.group, Group::Kernels | Group::Models);
    let rows = results.rows.iter().filter(wanted);
    let rows: Vec<(&RowResult, f64)> = rows.filter_map(|row| Some((row, speed_up(row)?))).collect();
    let threads = results.machine.threads.max(1) as f64;
    if rows.is_empty() || threads < 2.0 {
        return None;
    }
    let title = format!("Speed of {threads} threads relative to one thread");
    let height = MARGINS.top + STEP * rows.len() as f64 + MARGINS.bottom;
    let svg = picture((WIDTH as u32, height as u32), |area| {
        let about = "dashed: as many times as fast as there are threads";
        heading(area, &title, about)?;
        draw(area, &rows, threads)
    });
    Some(Plot {
        caption: title,
        file: "threads.svg".to_owned(),
        svg,
    })
}

fn draw(area: &Area<'_>, rows: &[(&RowResult, f64)], threads: f64) -> Drawn {
    let speed_ups = rows.iter().map(|(_, speed_up)| *speed_up);
    let x = Axis::exact(0.0, speed_ups.fold(threads, f64::max) * 1.08);
    let n_rows = rows.len() as f64;
    let mut chart = axes(area, MARGINS, (&x, &rows_axis(rows.len())), ("", ""), true)?;
    for (top, (row, speed_up)) in (0..).map(f64::from).zip(rows) {
        let corners = [(0.0, top + 0.15), (*speed_up, top + 0.85)];
        let colour = super::colour("ours");
        chart.draw_series([Rectangle::new(corners, colour.filled())])?;
        let (_, middle) = chart.backend_coord(&(0.0, top + 0.5));
        write_row_name(area, row, middle)?;
        let beside = (px(WIDTH - MARGINS.right + 10.0), middle);
        let style = text(11.0, INK, HPos::Left);
        write(area, &format!("{speed_up:.2} x"), &style, beside)?;
    }
    let (dash, gap) = (px(5.0), px(4.0));
    let limit = [(threads, 0.0), (threads, n_rows)];
    chart.draw_series(DashedLineSeries::new(limit, dash, gap, stroke(INK, 1.5)))?;
    let one = vec![(1.0, 0.0), (1.0, n_rows)];
    chart.draw_series([PathElement::new(one, stroke(INK, 1.5))])?;
    Ok(())
}
