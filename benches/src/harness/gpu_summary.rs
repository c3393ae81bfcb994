//! What a run on a GPU says as a whole: where we are against each rival, and which targets are missed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::results::{Results, RowResult};
use super::rows::Aim;
use super::statistics::ratio;

/// Returns lines of Markdown, or nothing when the run has no row of a GPU.
pub fn text(results: &Results) -> String {
    let rows = results.rows.iter().filter(|row| row.group.is_of_gpu());
    let rows: Vec<&RowResult> = rows.collect();
    let mut out = String::new();
    let mut of_rival: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in &rows {
        for (name, theirs) in &row.samples {
            let ratio = row.ours.as_ref().and_then(|ours| ratio(ours, theirs));
            let ratios = of_rival.entry(name).or_default();
            ratios.extend(ratio.filter(|ratio| *ratio > 0.0));
        }
    }
    for (name, ratios) in of_rival {
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        let ahead = ratios.iter().filter(|ratio| **ratio <= 1.0).count();
        let (count, mean) = (ratios.len(), mean.exp());
        let _ = writeln!(
            out,
            "- geometric mean of ours / {name}: {mean:.3}; at or ahead of it: {ahead} of {count}"
        );
    }
    let with_target = rows.iter().filter(|row| row.met.is_some());
    let (met, missed): (Vec<&&RowResult>, Vec<&&RowResult>) =
        with_target.partition(|row| row.met == Some(true));
    let judged = met.len() + missed.len();
    if judged > 0 {
        let _ = writeln!(out, "- targets met: {} of {judged} rows", met.len());
    }
    for row in missed {
        let _ = writeln!(out, "- missed: `{}`: {}", row.id, missing(row));
    }
    out
}

/// Returns which targets of a row are missed, and by how much.
fn missing(row: &RowResult) -> String {
    let mut words = Vec::new();
    if let (Some(most), Some(is)) = (row.target, row.target_ratio())
        && is > most
    {
        let rival = row.target_rival.as_deref().unwrap_or("the best rival");
        words.push(format!("{is:.2} of {rival}, wanted {most}"));
    }
    if let (Some(least), Some(is)) = (row.target_share, row.limit_share)
        && is < least
    {
        let percent = |share: f64| share * 100.0;
        words.push(format!(
            "{:.0} % of the limit, wanted {:.0} %",
            percent(is),
            percent(least)
        ));
    }
    for aim in &row.aims {
        if let Some(is) = aim.is.filter(|is| *is > aim.most) {
            let of = Some(&aim.of).filter(|of| *of != Aim::OURS);
            let of = of.map(|of| format!("{of} ")).unwrap_or_default();
            words.push(format!("{of}{is:.2} of {}, wanted {}", aim.over, aim.most));
        }
    }
    words.join("; ")
}
