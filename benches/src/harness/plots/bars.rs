//! How many times as fast are we as the best rival? A bar for each row.

use super::Plot;
use super::axis::{Axis, label};
use super::svg::{Anchor, FAINT, INK, Svg};
use crate::harness::results::{Line, Results};
use crate::harness::rows::Group;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = WIDTH - 190.0;
const TOP: f64 = 66.0;
const STEP: f64 = 22.0;

pub(super) fn speed_ups(results: &Results) -> Option<Plot> {
    let wanted = |row: &&Line| matches!(row.group, Group::Kernels | Group::Models);
    let rows: Vec<(&Line, f64)> = results
        .rows
        .iter()
        .filter(wanted)
        .filter_map(|row| Some((row, 1.0 / row.ratio?)))
        .collect();
    let aims = rows.iter().filter_map(|(row, _)| Some(1.0 / row.target?));
    let values = rows
        .iter()
        .map(|(_, speed_up)| *speed_up)
        .chain(aims)
        .chain([1.0]);
    if rows.is_empty() {
        return None;
    }
    let axis = Axis::around(values, LEFT, RIGHT)?;
    let bottom = TOP + STEP * rows.len() as f64;
    let mut svg = Svg::new(
        WIDTH,
        bottom + 44.0,
        "Speed relative to the best rival of each row (1 = as fast)",
    );
    let about = "bars: orange where we are at least as fast, grey where the rival is; | marks the target against its rival";
    svg.text(16.0, 46.0, Anchor::Start, 11.0, "#555555", about);
    for tick in axis.ticks() {
        let x = axis.at(tick);
        svg.line((x, TOP), (x, bottom), FAINT, 1.0);
        svg.text(x, bottom + 16.0, Anchor::Middle, 11.0, INK, &label(tick));
    }
    let one = axis.at(1.0);
    for (idx, (row, speed_up)) in rows.iter().enumerate() {
        let y = TOP + STEP * idx as f64;
        let x = axis.at(*speed_up);
        let colour = if *speed_up >= 1.0 {
            super::colour("ours")
        } else {
            "#a8a8a8"
        };
        svg.bar(
            x.min(one),
            y + 4.0,
            (x - one).abs().max(1.0),
            STEP - 8.0,
            colour,
        );
        let name = row.id.trim_end_matches("/cpu").replace("float32/", "");
        svg.text(LEFT - 8.0, y + 15.0, Anchor::End, 11.0, INK, &name);
        if let Some(target) = row.target {
            let x = axis.at(1.0 / target);
            svg.line((x, y + 2.0), (x, y + STEP - 2.0), INK, 2.0);
        }
        let rival = row.best_rival.as_deref().unwrap_or("none");
        let words = format!("{speed_up:.2} x {rival}");
        svg.text(RIGHT + 10.0, y + 15.0, Anchor::Start, 11.0, INK, &words);
    }
    svg.line((one, TOP - 4.0), (one, bottom), INK, 1.5);
    Some(Plot {
        caption: "Speed relative to the best rival of each row".to_owned(),
        file: "speed-ups.svg".to_owned(),
        svg: svg.finish(),
    })
}
