//! How far is everyone from what the machine can do? Achieved bandwidth and arithmetic against the measured limits.

use super::Plot;
use super::axis::{Axis, label};
use super::svg::{Anchor, FAINT, INK, Svg};
use crate::harness::results::{Line, Results};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = WIDTH - 40.0;
const STEP: f64 = 20.0;

/// Rows that wait for the same thing.
struct Panel<'a> {
    title: &'a str,
    limits: Vec<(&'a str, f64)>,
    /// The row, what we achieve, and what the best rival achieves.
    rows: Vec<(&'a Line, Option<f64>, Option<f64>)>,
}

pub(super) fn roofline(results: &Results) -> Option<Plot> {
    let limits = &results.limits;
    let mut moving = Panel {
        title: "Rows that wait for memory: 10^9 bytes a second",
        limits: vec![("copy", limits.copy_gb_s), ("read", limits.read_gb_s)],
        rows: Vec::new(),
    };
    let mut computing = Panel {
        title: "Rows that wait for arithmetic: 10^9 operations a second",
        limits: vec![("sgemm", limits.sgemm_gflop_s)],
        rows: Vec::new(),
    };
    for row in &results.rows {
        let bytes = row.cost.read + row.cost.written;
        let waits_for_arithmetic =
            row.cost.flops / limits.sgemm_gflop_s > bytes / limits.copy_gb_s.max(limits.read_gb_s);
        let (panel, amount) = if waits_for_arithmetic {
            (&mut computing, row.cost.flops)
        } else {
            (&mut moving, bytes)
        };
        if amount <= 0.0 {
            continue;
        }
        let achieved = |ms: f64| amount / (ms * 1e6);
        let rival = row
            .best_rival
            .as_ref()
            .and_then(|name| row.samples.get(name));
        let rival = rival.map(|summary| achieved(summary.median_ms));
        panel.rows.push((row, row.ours_ms.map(achieved), rival));
    }
    let panels: Vec<&Panel<'_>> = [&moving, &computing]
        .into_iter()
        .filter(|panel| !panel.rows.is_empty())
        .collect();
    if panels.is_empty() {
        return None;
    }
    let height = |panel: &Panel<'_>| STEP * panel.rows.len() as f64 + 78.0;
    let total: f64 = panels.iter().map(|panel| height(panel)).sum();
    let mut svg = Svg::new(
        WIDTH,
        total + 58.0,
        "Achieved against the limits measured in the same run",
    );
    legend(&mut svg);
    let mut top = 66.0;
    for panel in panels {
        draw(&mut svg, panel, top)?;
        top += height(panel);
    }
    Some(Plot {
        caption: "Achieved bandwidth and arithmetic against the machine's measured limits"
            .to_owned(),
        file: "roofline.svg".to_owned(),
        svg: svg.finish(),
    })
}

fn legend(svg: &mut Svg) {
    svg.dot(22.0, 43.0, 4.0, super::colour("ours"));
    svg.text(32.0, 47.0, Anchor::Start, 11.0, INK, "ours");
    svg.ring(82.0, 43.0, 5.5, super::colour("onnxruntime"));
    svg.text(94.0, 47.0, Anchor::Start, 11.0, INK, "best rival");
    let about = "dashed: the limit; beyond it are rows that the caches hold";
    svg.text(170.0, 47.0, Anchor::Start, 11.0, "#555555", about);
}

fn draw(svg: &mut Svg, panel: &Panel<'_>, top: f64) -> Option<()> {
    let achieved = panel
        .rows
        .iter()
        .flat_map(|(_, ours, rival)| [*ours, *rival])
        .flatten();
    let limits = panel.limits.iter().map(|(_, limit)| *limit);
    let axis = Axis::around(achieved.chain(limits), LEFT, RIGHT)?;
    let first = top + 34.0;
    let bottom = first + STEP * panel.rows.len() as f64;
    svg.text(16.0, top + 12.0, Anchor::Start, 12.0, INK, panel.title);
    for tick in axis.ticks() {
        let x = axis.at(tick);
        svg.line((x, first), (x, bottom), FAINT, 1.0);
        svg.text(x, bottom + 16.0, Anchor::Middle, 11.0, INK, &label(tick));
    }
    let mut limits = panel.limits.clone();
    limits.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (idx, (name, limit)) in limits.iter().enumerate() {
        let x = axis.at(*limit);
        svg.dashed((x, first - 6.0), (x, bottom), INK);
        // Two limits are near each other: the lower one's name stands to the left.
        let (anchor, x) = match (idx, limits.len()) {
            (_, 1) => (Anchor::Middle, x),
            (0, _) => (Anchor::End, x - 1.0),
            _ => (Anchor::Start, x + 1.0),
        };
        svg.text(
            x,
            first - 10.0,
            anchor,
            10.0,
            INK,
            &format!("{name} {limit:.0}"),
        );
    }
    for (idx, (row, ours, rival)) in panel.rows.iter().enumerate() {
        let y = first + STEP * (idx as f64 + 0.5);
        let name = row.id.trim_end_matches("/cpu").replace("float32/", "");
        svg.text(LEFT - 8.0, y + 4.0, Anchor::End, 11.0, INK, &name);
        if let (Some(ours), Some(rival)) = (ours, rival) {
            svg.line((axis.at(*ours), y), (axis.at(*rival), y), "#bbbbbb", 1.5);
        }
        if let Some(rival) = rival {
            svg.ring(axis.at(*rival), y, 5.5, super::colour("onnxruntime"));
        }
        if let Some(ours) = ours {
            svg.dot(axis.at(*ours), y, 4.0, super::colour("ours"));
        }
    }
    Some(())
}
