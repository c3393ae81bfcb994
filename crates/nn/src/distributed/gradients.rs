//! Gradients of which each rank has its own, or its own share.

use mlx::distributed::{Group, all_sum};
use mlx::tree::arrays;
use mlx::{Array, Dtype, Result, Tree, concatenate};

/// How gradients are averaged.
#[derive(Clone, Debug)]
pub struct AverageOptions {
    /// Gradients of one dtype are sent together until they are this many bytes; each by itself with 0.
    pub all_reduce_size: usize,
    /// The dtype in which they are sent and summed: half precision halves the bytes on the wire, and rounds. `None` for
    /// that of the gradients.
    pub communication_dtype: Option<Dtype>,
}

impl Default for AverageOptions {
    fn default() -> Self {
        Self {
            all_reduce_size: 32 << 20,
            communication_dtype: None,
        }
    }
}

/// Returns the mean of the gradients of all ranks: `mlx.nn.average_gradients`.
///
/// Small gradients are sent together. All ranks must give the same shapes in the same order.
///
/// # Errors
/// When a gradient carries an error.
#[track_caller]
pub fn average_gradients<T: Tree>(gradients: &T, group: &Group) -> Result<T> {
    average_gradients_with(gradients, group, &AverageOptions::default())
}

/// As [`average_gradients`], with options.
///
/// # Errors
/// When a gradient carries an error.
#[track_caller]
pub fn average_gradients_with<T: Tree>(
    gradients: &T,
    group: &Group,
    options: &AverageOptions,
) -> Result<T> {
    if group.size() == 1 {
        return Ok(gradients.map(&mut Array::clone));
    }
    let all = arrays(gradients);
    let mut averaged: Vec<Array> = Vec::with_capacity(all.len());
    for bucket in buckets(&all, options.all_reduce_size)? {
        averaged.extend(average(&bucket, group, options.communication_dtype)?);
    }
    let mut averaged = averaged.into_iter();
    Ok(gradients.map(&mut |gradient| averaged.next().unwrap_or_else(|| gradient.clone())))
}

/// Consecutive gradients of one dtype, until they have this many bytes.
fn buckets<'a>(all: &[&'a Array], bytes: usize) -> Result<Vec<Vec<&'a Array>>> {
    let mut buckets: Vec<Vec<&Array>> = Vec::new();
    let mut filled = None;
    for &gradient in all {
        let dtype = gradient.dtype()?;
        let size = gradient.size()? * dtype.size();
        filled = match (filled, buckets.last_mut()) {
            (Some((of, sum)), Some(bucket)) if of == dtype && sum < bytes => {
                bucket.push(gradient);
                Some((of, sum + size))
            }
            _ => {
                buckets.push(vec![gradient]);
                Some((dtype, size))
            }
        };
    }
    Ok(buckets)
}

#[track_caller]
fn average(bucket: &[&Array], group: &Group, wire: Option<Dtype>) -> Result<Vec<Array>> {
    let dtype = bucket[0].dtype()?;
    let wire = wire.filter(|wire| dtype.is_floating() && *wire != dtype);
    let flat: Vec<Array> = bucket
        .iter()
        .map(|gradient| gradient.reshape([-1]))
        .collect();
    let all = concatenate(&flat, 0);
    #[allow(clippy::cast_precision_loss)]
    let ranks = group.size() as f32;
    let mean = match wire {
        // Divided before they are summed, so that the sum does not overflow where the mean does not.
        Some(wire) => all_sum(&(all / ranks).astype(wire), group).astype(dtype),
        None => all_sum(&all, group) / ranks,
    };
    let mut ends = Vec::with_capacity(bucket.len());
    let mut end = 0;
    for gradient in bucket {
        end += i32::try_from(gradient.size()?).unwrap_or(i32::MAX);
        ends.push(end);
    }
    ends.pop();
    let parts = match ends.is_empty() {
        true => vec![mean],
        false => mean.split_at(ends, 0)?,
    };
    parts
        .iter()
        .zip(bucket)
        .map(|(part, gradient)| Ok(part.reshape(gradient.shape()?)))
        .collect()
}

/// Scales gradients of which each rank has a share so that the norm of all together is at most `max_norm`; returns them
/// and the norm: `mlx.nn.clip_grad_norm_sharded`.
#[track_caller]
pub fn clip_grad_norm_sharded<T: Tree>(gradients: &T, max_norm: f32, group: &Group) -> (T, Array) {
    let squares = arrays(gradients).into_iter().map(|gradient| {
        // Squares overflow half precision.
        gradient.astype(Dtype::Float32).square().sum(())
    });
    let local = squares.reduce(|sum, square| sum + square);
    let norm = all_sum(&local.unwrap_or_else(|| mlx::zeros(())), group).sqrt();
    let share = (max_norm / (&norm + 1e-6)).minimum(1.0);
    let clipped = gradients.map(&mut |gradient| match gradient.dtype() {
        Ok(dtype) => (gradient.astype(Dtype::Float32) * &share).astype(dtype),
        Err(_) => gradient.clone(),
    });
    (clipped, norm)
}
