//! Beam search.

use super::super::{Logits, Session};
use super::scores::{log_sum_exp, top};
use super::task::{DecodingTask, Hypothesis};
use crate::Result;

/// Extends `task.beam_size` hypotheses until `beam_size * patience` have ended.
///
/// Unfinished hypotheses are returned only when too few have ended.
pub(super) fn search<S: Session>(
    session: &mut S,
    first: &[f32],
    task: &DecodingTask,
) -> Result<Vec<Hypothesis>> {
    let wanted = ((task.beam_size as f32 * task.patience).round() as usize).max(1);
    let mut ended: Vec<Hypothesis> = Vec::new();
    let mut beams = vec![Hypothesis::default()];
    let mut logits = Logits::new(first.to_vec(), first.len())?;
    loop {
        let (rows, next) = advance(&beams, &mut logits, task, &mut ended, wanted)?;
        let full = next
            .first()
            .is_some_and(|beam| beam.tokens.len() >= task.max_tokens);
        let tokens: Vec<u32> = next
            .iter()
            .filter_map(|beam| beam.tokens.last().copied())
            .collect();
        let n_before = beams.len();
        beams = next;
        if ended.len() >= wanted || full || beams.is_empty() {
            break;
        }
        let same = rows.len() == n_before && rows.iter().enumerate().all(|(i, &row)| i == row);
        if !same {
            session.select(&rows)?;
        }
        logits = session.step(&tokens)?.expect_rows(tokens.len())?;
    }
    let missing = task.beam_size.saturating_sub(ended.len());
    // Beams are sorted by score.
    ended.extend(beams.into_iter().take(missing));
    Ok(ended)
}

/// Extends every beam by its most likely tokens; returns the best hypotheses, and the row that each came from.
fn advance(
    beams: &[Hypothesis],
    logits: &mut Logits,
    task: &DecodingTask,
    ended: &mut Vec<Hypothesis>,
    wanted: usize,
) -> Result<(Vec<usize>, Vec<Hypothesis>)> {
    let mut choices: Vec<(f64, usize, u32)> = Vec::new();
    for ((row, beam), logits) in beams.iter().enumerate().zip(logits.rows_mut()) {
        task.filters.apply(&beam.tokens, logits)?;
        let total = log_sum_exp(logits)?;
        if total == f32::NEG_INFINITY && ended.len() < wanted {
            // The filters leave no token, so the text ends.
            ended.push(Hypothesis {
                ended: true,
                ..beam.clone()
            });
            continue;
        }
        // One more than the beams, because one can be the end of text.
        for (token, logit) in top(logits, task.beam_size + 1) {
            choices.push((
                beam.sum_logprob + f64::from(logit - total),
                row,
                token as u32,
            ));
        }
    }
    choices.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut rows, mut next) = (Vec::new(), Vec::new());
    for (sum_logprob, row, token) in choices {
        let mut text = beams[row].clone();
        text.sum_logprob = sum_logprob;
        text.push(token, task.eot);
        if text.ended {
            if ended.len() < wanted {
                ended.push(text);
            }
        } else {
            rows.push(row);
            next.push(text);
            if next.len() == task.beam_size {
                break;
            }
        }
    }
    Ok((rows, next))
}
