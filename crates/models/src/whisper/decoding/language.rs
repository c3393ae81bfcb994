//! Detection of the spoken language.

use super::super::{Model, Session, SpecialTokens};
use super::scores::log_sum_exp;
use crate::{Error, Result};

/// The languages of a window with their probabilities, the most likely first.
pub type Languages = Vec<(String, f32)>;

/// Returns the probability of each language, the most likely first.
///
/// # Errors
/// [`Error::Decoding`] when the vocabulary has no languages; or an error of the model.
pub fn detect_language<M: Model>(
    model: &M,
    features: &M::Features,
    special: &SpecialTokens,
) -> Result<Languages> {
    if !special.multilingual || special.languages.is_empty() {
        return Err(Error::Decoding(
            "language detection: wanted a multilingual model, got an English-only one".into(),
        ));
    }
    let mut logits = model
        .start(features)?
        .prompt(&[special.sot], &[0])?
        .expect_rows(1)?;
    let row: &[f32] = logits.rows_mut().next().unwrap_or_default();
    let of_languages: Vec<f32> = special
        .languages
        .iter()
        .map(|&(_, token)| {
            row.get(token as usize)
                .copied()
                .unwrap_or(f32::NEG_INFINITY)
        })
        .collect();
    let total = log_sum_exp(&of_languages)?;
    let mut languages: Languages = special
        .languages
        .iter()
        .zip(&of_languages)
        .map(|((code, _), logit)| (code.clone(), (logit - total).exp()))
        .collect();
    languages.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(languages)
}
