//! How many times as fast are all threads as one? A bar for each row.

use super::Plot;
use super::axis::label;
use super::svg::{Anchor, FAINT, INK, Svg};
use crate::harness::results::{Line, Results};
use crate::harness::rows::{Group, ONE_THREAD};
use crate::harness::statistics::ratio;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = WIDTH - 90.0;
const TOP: f64 = 66.0;
const STEP: f64 = 20.0;

/// Draws the rows of operations and models that were measured with one thread too.
pub(super) fn scaling(results: &Results) -> Option<Plot> {
    let speed_up = |row: &Line| ratio(row.forms.get(ONE_THREAD)?, row.ours.as_ref()?);
    let wanted = |row: &&Line| matches!(row.group, Group::Kernels | Group::Models);
    let rows = results.rows.iter().filter(wanted);
    let rows: Vec<(&Line, f64)> = rows.filter_map(|row| Some((row, speed_up(row)?))).collect();
    let best = rows.iter().map(|(_, speed_up)| *speed_up);
    let threads = results.machine.threads.max(1) as f64;
    let most = best.fold(threads, f64::max) * 1.08;
    if rows.is_empty() || threads < 2.0 {
        return None;
    }
    let at = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
    let bottom = TOP + STEP * rows.len() as f64;
    let title = format!("Speed of {threads} threads relative to one thread");
    let mut svg = Svg::new(WIDTH, bottom + 44.0, &title);
    let about = "dashed: as many times as fast as there are threads";
    svg.text(16.0, 46.0, Anchor::Start, 11.0, "#555555", about);
    let step = (most / 4.0).ceil() / 2.0;
    for tick in (0..)
        .map(|idx| f64::from(idx) * step)
        .take_while(|tick| *tick <= most)
    {
        let x = at(tick);
        svg.line((x, TOP), (x, bottom), FAINT, 1.0);
        svg.text(x, bottom + 16.0, Anchor::Middle, 11.0, INK, &label(tick));
    }
    for (idx, (row, speed_up)) in rows.iter().enumerate() {
        let y = TOP + STEP * idx as f64;
        let name = row.id.trim_end_matches("/cpu").replace("float32/", "");
        svg.text(LEFT - 8.0, y + 14.0, Anchor::End, 11.0, INK, &name);
        let length = at(*speed_up) - LEFT;
        svg.bar(LEFT, y + 3.0, length, STEP - 6.0, super::colour("ours"));
        let words = format!("{speed_up:.2} x");
        svg.text(RIGHT + 10.0, y + 14.0, Anchor::Start, 11.0, INK, &words);
    }
    svg.dashed((at(threads), TOP - 4.0), (at(threads), bottom), INK);
    svg.line((at(1.0), TOP - 4.0), (at(1.0), bottom), INK, 1.5);
    Some(Plot {
        caption: title,
        file: "threads.svg".to_owned(),
        svg: svg.finish(),
    })
}
