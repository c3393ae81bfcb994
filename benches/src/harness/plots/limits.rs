//! The distance from what the machine can do: achieved bandwidth and arithmetic against the measured limits.

use mlx_plot::drawing::{
    Area, Axis, ChartArea, Drawn, INK, Margins, axes, picture, px, stroke, text, write,
};
use mlx_plot::plotters::prelude::*;
use mlx_plot::plotters::style::text_anchor::HPos;

use super::{NAMES, Plot, WIDTH, heading, rows_axis, write_row_name};
use crate::harness::results::{Results, RowResult};

const STEP: f64 = 20.0;
/// The height of what is above the first panel.
const HEAD: f64 = 66.0;
const MARGINS: Margins = Margins {
    top: 34.0,
    right: 40.0,
    bottom: 44.0,
    left: NAMES,
};

/// Rows with the same limiting resource.
struct Panel<'a> {
    title: &'a str,
    limits: Vec<(&'a str, f64)>,
    /// The row, what we achieve, and what the best rival achieves.
    rows: Vec<(&'a RowResult, Option<f64>, Option<f64>)>,
}

/// Draws every row with its limit.
pub(super) fn roofline(results: &Results) -> Option<Plot> {
    let panels: Vec<Panel<'_>> = panels(results)
        .into_iter()
        .filter(|panel| !panel.rows.is_empty())
        .collect();
    if panels.is_empty() {
        return None;
    }
    let total: f64 = HEAD + panels.iter().map(Panel::height).sum::<f64>();
    Some(Plot {
        caption: "Achieved bandwidth and arithmetic against the machine's measured limits"
            .to_owned(),
        file: "roofline.svg".to_owned(),
        svg: picture((WIDTH as u32, total as u32), |area| {
            legend(area)?;
            let (_, mut rest) = area.split_vertically(px(HEAD));
            for panel in &panels {
                let (here, below) = rest.split_vertically(px(panel.height()));
                panel.draw(area, &here)?;
                rest = below;
            }
            Ok(())
        }),
    })
}

/// Sorts the rows by what limits them.
fn panels(results: &Results) -> [Panel<'_>; 2] {
    let limits = &results.limits;
    let mut memory = Panel {
        title: "Rows limited by memory: 10^9 bytes a second",
        limits: vec![("copy", limits.copy_gb_s), ("read", limits.read_gb_s)]
            .into_iter()
            .filter(|(_, limit)| *limit > 0.0)
            .collect(),
        rows: Vec::new(),
    };
    let mut arithmetic = Panel {
        title: "Rows limited by arithmetic: 10^9 operations a second",
        limits: vec![
            ("sgemm", limits.sgemm_gflop_s),
            ("bfloat16", limits.bf16_gflop_s),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit > 0.0)
        .collect(),
        rows: Vec::new(),
    };
    let rows = results.rows.iter();
    for row in rows.filter(|row| !row.group.is_against_pytorch()) {
        let bytes = row.cost.read + row.cost.written;
        let limited_by_arithmetic =
            row.cost.flops / limits.sgemm_gflop_s > bytes / limits.copy_gb_s.max(limits.read_gb_s);
        let (panel, amount) = if limited_by_arithmetic {
            (&mut arithmetic, row.cost.flops)
        } else {
            (&mut memory, bytes)
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
    [memory, arithmetic]
}

fn legend(area: &Area<'_>) -> Drawn {
    let title = "Achieved against the limits measured in the same run";
    heading(area, title, "")?;
    let y = px(43.0);
    dot(|mark| area.draw(&mark), (px(22.0), y))?;
    ring(|mark| area.draw(&mark), (px(82.0), y))?;
    let style = text(11.0, INK, HPos::Left);
    write(area, "ours", &style, (px(32.0), y))?;
    write(area, "best rival", &style, (px(94.0), y))?;
    let about = "dashed: the limit; beyond it are rows that the caches hold";
    write(area, about, &style, (px(170.0), y))
}

/// Draws our mark.
fn dot<T>(mut draw: impl FnMut(Circle<T, i32>) -> Drawn, at: T) -> Drawn {
    draw(Circle::new(at, px(4.0), super::colour("ours").filled()))
}

/// Draws a rival's mark, in which another one can be seen.
fn ring<T: Clone>(mut draw: impl FnMut(Circle<T, i32>) -> Drawn, at: T) -> Drawn {
    draw(Circle::new(at.clone(), px(5.5), WHITE.filled()))?;
    let colour = super::colour("onnxruntime");
    draw(Circle::new(at, px(5.5), stroke(colour, 2.5)))
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        MARGINS.top + STEP * self.rows.len() as f64 + MARGINS.bottom
    }

    /// Draws into `here`; texts are written on the whole `area`, in whose pixels charts give positions.
    fn draw(&self, area: &Area<'_>, here: &Area<'_>) -> Drawn {
        let title = text(12.0, INK, HPos::Left);
        write(here, self.title, &title, (px(16.0), px(8.0)))?;
        let achieved = self.rows.iter();
        let achieved = achieved
            .flat_map(|(_, ours, rival)| [*ours, *rival])
            .flatten();
        let limits = self.limits.iter().map(|(_, limit)| *limit);
        let x = Axis::around(achieved.chain(limits), true);
        let y = rows_axis(self.rows.len());
        let mut chart = axes(here, MARGINS, (&x, &y), ("", ""), true)?;
        self.draw_limits(area, &mut chart)?;
        for (top, (row, ours, rival)) in (0..).map(f64::from).zip(&self.rows) {
            let y = top + 0.5;
            let (_, middle) = chart.backend_coord(&(1.0, y));
            write_row_name(area, row, middle)?;
            if let (Some(ours), Some(rival)) = (ours, rival) {
                const GREY: RGBColor = RGBColor(0xbb, 0xbb, 0xbb);
                let between = vec![(*ours, y), (*rival, y)];
                chart.draw_series([PathElement::new(between, stroke(GREY, 1.5))])?;
            }
            if let Some(rival) = rival {
                ring(|mark| chart.draw_series([mark]).map(|_| ()), (*rival, y))?;
            }
            if let Some(ours) = ours {
                dot(|mark| chart.draw_series([mark]).map(|_| ()), (*ours, y))?;
            }
        }
        Ok(())
    }

    fn draw_limits(&self, area: &Area<'_>, chart: &mut ChartArea<'_, '_>) -> Drawn {
        let mut limits = self.limits.clone();
        limits.sort_by(|a, b| a.1.total_cmp(&b.1));
        let n_rows = self.rows.len() as f64;
        for (idx, (name, limit)) in limits.iter().enumerate() {
            let ends = [(*limit, 0.0), (*limit, n_rows)];
            let style = stroke(INK, 1.5);
            chart.draw_series(DashedLineSeries::new(ends, px(5.0), px(4.0), style))?;
            // Two limits are near each other: the lower one's name is written to the left.
            let anchor = match (idx, limits.len()) {
                (_, 1) => HPos::Center,
                (0, _) => HPos::Right,
                _ => HPos::Left,
            };
            let (x, y) = chart.backend_coord(&ends[0]);
            let name = format!("{name} {limit:.0}");
            write(area, &name, &text(10.0, INK, anchor), (x, y - px(10.0)))?;
        }
        Ok(())
    }
}
