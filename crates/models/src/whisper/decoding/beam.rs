//! How are several texts followed at once, and the likeliest kept?

use super::super::{Logits, Session};
use super::run::{Candidate, Plan};
use super::scores::{log_sum_exp, top};
use crate::Result;

/// Follows `plan.beam_size` texts until `beam_size * patience` have ended.
///
/// Unfinished texts are returned only when too few have ended.
pub(super) fn search<S: Session>(
    session: &mut S,
    first: &[f32],
    plan: &Plan,
) -> Result<Vec<Candidate>> {
    let wanted = ((plan.beam_size as f32 * plan.patience).round() as usize).max(1);
    let mut ended: Vec<Candidate> = Vec::new();
    let mut beams = vec![Candidate::default()];
    let mut logits = Logits::new(first.to_vec(), first.len())?;
    loop {
        let (rows, next) = advance(&beams, &mut logits, plan, &mut ended, wanted)?;
        let full = next
            .first()
            .is_some_and(|beam| beam.tokens.len() >= plan.max_tokens);
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
    let missing = plan.beam_size.saturating_sub(ended.len());
    // Beams are in the order of their scores already.
    ended.extend(beams.into_iter().take(missing));
    Ok(ended)
}

/// Lengthens every beam by its likeliest tokens; returns the best, and which beam each came from.
fn advance(
    beams: &[Candidate],
    logits: &mut Logits,
    plan: &Plan,
    ended: &mut Vec<Candidate>,
    wanted: usize,
) -> Result<(Vec<usize>, Vec<Candidate>)> {
    let mut choices: Vec<(f64, usize, u32)> = Vec::new();
    for ((row, beam), logits) in beams.iter().enumerate().zip(logits.rows_mut()) {
        plan.rules.apply(&beam.tokens, logits)?;
        let total = log_sum_exp(logits)?;
        if total == f32::NEG_INFINITY && ended.len() < wanted {
            // Nothing is allowed: the lists and the rules leave no token, so the text ends.
            ended.push(Candidate {
                ended: true,
                ..beam.clone()
            });
            continue;
        }
        // One more than the beams, since one of them can be the end.
        for (token, logit) in top(logits, plan.beam_size + 1) {
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
        text.push(token, plan.eot);
        if text.ended {
            if ended.len() < wanted {
                ended.push(text);
            }
        } else {
            rows.push(row);
            next.push(text);
            if next.len() == plan.beam_size {
                break;
            }
        }
    }
    Ok((rows, next))
}
