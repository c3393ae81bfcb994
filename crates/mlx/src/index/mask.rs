//! Updating where a boolean mask is true.

use super::plan::refused;
use super::update::Update;
use crate::op::Op;
use crate::{Array, Result, bind, where_};

/// Returns `x` with `value`, of its dtype, put where `mask` is true.
#[track_caller]
pub(super) fn updated(x: &Array, mask: &Array, update: Update, value: &Array) -> Result<Array> {
    let (shape, covered) = (x.shape()?, mask.shape()?);
    if !shape.starts_with(&covered) {
        return Err(refused(format!(
            "wanted a mask with the shape of the first axes of {shape:?}, got {covered:?}"
        )));
    }
    let rest = &shape[covered.len()..];
    if value.size()? == 0 {
        return nothing_placed(x, mask);
    }
    let mut spread = covered.clone();
    spread.resize(shape.len(), 1);
    let everywhere = if rest.is_empty() {
        mask.clone()
    } else {
        mask.reshape(&spread)
    };
    let placed = placed(x, mask, value, rest)?;
    let changed = match update {
        Update::Set => placed,
        Update::Add => bind(Op::Add, &[x, &placed]),
        Update::Multiply => bind(Op::Multiply, &[x, &placed]),
        Update::Maximum => bind(Op::Maximum, &[x, &placed]),
        Update::Minimum => bind(Op::Minimum, &[x, &placed]),
    };
    Ok(where_(&everywhere, &changed, x))
}

/// Returns `x` for a value with no elements, which fits a mask that is true nowhere. MLX would divide by zero.
#[track_caller]
fn nothing_placed(x: &Array, mask: &Array) -> Result<Array> {
    if x.size()? == 0 || !mask.any(()).item::<bool>()? {
        return Ok(x.clone());
    }
    Err(refused(
        "wanted a value for each true position of the mask, got an empty one".to_owned(),
    ))
}

/// Returns an array that broadcasts to the shape of `x` and has the value for each place where the mask is true.
#[track_caller]
fn placed(x: &Array, mask: &Array, value: &Array, rest: &[i32]) -> Result<Array> {
    let own = value.shape()?;
    let extra = own.len().saturating_sub(rest.len());
    let fits = own
        .iter()
        .rev()
        .zip(rest.iter().rev())
        .all(|(&a, &b)| a == b || a == 1);
    let (leading, counted) = own[..extra].split_at(extra.saturating_sub(1));
    if !fits || leading.iter().any(|&size| size != 1) {
        return Err(refused(format!(
            "wanted a value that broadcasts to [true positions of the mask, {rest:?}], got shape {own:?}"
        )));
    }
    let value = if leading.is_empty() {
        value.clone()
    } else {
        value.reshape(&own[leading.len()..])
    };
    match counted {
        // One value for every place.
        [] => Ok(value),
        [1] => Ok(value.reshape(&own[extra..])),
        // One after another; running out of values is found when it runs.
        _ => Ok(bind(Op::MaskedScatter, &[x, mask, &value])),
    }
}
