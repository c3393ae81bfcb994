//! Attention: `softmax(q @ k^T * scale + mask) @ v`, with grouped heads, typed masks and sinks.

use super::attention_mask::{AttentionMask, Resolved, Scores, causal};
use super::inputs::{check_floating, reject};
use super::path::{Kernel, took};
use crate::op::{MaskMode, Op};
use crate::{Array, Dtype, Result, bind, concatenate, where_, zeros};

const NAME: &str = "fast.scaled_dot_product_attention";

/// How attention is computed; by default scaled by `1 / sqrt(dim)`, with no mask and no sinks.
#[derive(Clone, Default)]
pub struct AttentionOptions {
    /// What scores are multiplied by; `None` for `1 / sqrt(dim)` of the queries.
    pub scale: Option<f32>,
    /// Which keys each query may look at.
    pub mask: AttentionMask,
    /// For each query head, a score that takes part in the softmax but has no value; `[heads]`.
    pub sinks: Option<Array>,
    /// Limits scaled scores to `softcap * tanh(score / softcap)` before the mask. No kernel has it, so the fused
    /// function is composed then.
    pub softcap: Option<f32>,
    /// Whether it is an error when this device has no kernel for the call. Composed attention does not look at it.
    pub force_fused: bool,
}

/// Returns, for each query, the mean of the values weighted by how well the query fits their keys.
///
/// Computes `softmax(q @ k^T * scale + mask) @ v`, the softmax in `float32`. `q` is `[batch, heads, queries, dim]`, `k`
/// is `[batch, kv_heads, keys, dim]`, `v` is `[batch, kv_heads, keys, value_dim]`; each of the `kv_heads` serves
/// `heads / kv_heads` neighbouring heads of `q`. The result is `[batch, heads, queries, value_dim]` in the dtype of
/// the three together, to which mask and sinks are cast. A query that may look at no key gives zeros.
/// Nothing runs until [`eval`](crate::eval()).
///
/// No mask and a plain causal mask go to MLX as such, so that all its kernels can be used; others as one array.
///
/// # Errors
/// The result carries an error when shapes or dtypes do not fit, or `force_fused` is set and there is no kernel.
///
/// ```
/// use mlx::fast::{AttentionOptions, scaled_dot_product_attention};
///
/// # fn main() -> mlx::Result<()> {
/// let (q, k) = (mlx::array!([[[[0.0, 0.0]]]]), mlx::array!([[[[1.0, 0.0], [0.0, 1.0]]]]));
/// let v = mlx::array!([[[[2.0], [4.0]]]]);
/// let mean = scaled_dot_product_attention(&q, &k, &v, &AttentionOptions::default());
/// assert_eq!(mean.item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn scaled_dot_product_attention(
    q: &Array,
    k: &Array,
    v: &Array,
    options: &AttentionOptions,
) -> Array {
    Array::from_result(fused(q, k, v, options))
}

/// Returns the mean of the values weighted by attention, in plain operations: see
/// [`scaled_dot_product_attention`](super::scaled_dot_product_attention).
#[track_caller]
pub fn composed(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Array {
    Array::from_result(formula(q, k, v, options))
}

#[track_caller]
fn fused(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Result<Array> {
    let sizes = check(q, k, v, options)?;
    if options.softcap.is_some() {
        if options.force_fused {
            let message = "no kernel has softcap, but force_fused is set".to_owned();
            return reject(NAME, message, &[q, k, v]);
        }
        return formula(q, k, v, options);
    }
    if sizes.is_empty() {
        return Ok(sizes.zeros());
    }
    let (mode, mask, alive) = match options.mask.resolve(&sizes.scores())? {
        Resolved::None => (MaskMode::None, None, None),
        Resolved::Causal => (MaskMode::Causal, None, None),
        Resolved::Array { mask, alive } => (MaskMode::Array, Some(mask), alive),
    };
    let op = Op::ScaledDotProductAttention {
        scale: sizes.scale(options),
        mask: mode,
        sinks: options.sinks.is_some(),
        force_fused: options.force_fused,
    };
    let sinks = options
        .sinks
        .as_ref()
        .map(|sinks| sinks.astype(sizes.dtype));
    let mut inputs = vec![q, k, v];
    inputs.extend(&mask);
    inputs.extend(&sinks);
    let result = took(Kernel::ScaledDotProductAttention, bind(op, &inputs));
    Ok(silence(result, alive))
}

#[track_caller]
fn formula(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Result<Array> {
    let sizes = check(q, k, v, options)?;
    if sizes.is_empty() {
        return Ok(sizes.zeros());
    }
    let Sizes {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        value_dim,
        dtype,
        ..
    } = sizes;
    let group = heads / kv_heads;
    // Heads in groups get an axis of their own, over which keys and values broadcast.
    let is_grouped = group > 1;
    let per_query: &[i32] = if is_grouped {
        &[batch, kv_heads, group, queries]
    } else {
        &[batch, heads, queries]
    };
    let (mut q, mut k, mut v) = (q.astype(dtype), k.astype(dtype), v.astype(dtype));
    if is_grouped {
        q = q.unflatten(1, [kv_heads, group]);
        (k, v) = (k.expand_dims(2), v.expand_dims(2));
    }
    let mut scores = (q * sizes.scale(options)).matmul(&k.swapaxes(-1, -2));
    if let Some(softcap) = options.softcap {
        scores = (scores / softcap).tanh() * softcap;
    }
    let (mask, alive) = match options.mask.resolve(&sizes.scores())? {
        Resolved::None => (None, None),
        Resolved::Causal => (Some(causal(&sizes.scores())), None),
        Resolved::Array { mask, alive } => (Some(mask), alive),
    };
    if let Some(mut mask) = mask {
        if is_grouped {
            mask = grouped(&mask, kv_heads, group)?;
        }
        scores = match mask.dtype()? {
            Dtype::Bool => where_(&mask, scores, f32::NEG_INFINITY),
            _ => scores + mask,
        };
    }
    let weights = match &options.sinks {
        None => scores.softmax_precise(-1),
        Some(sinks) => {
            let per_head = if is_grouped {
                [kv_heads, group, 1, 1].to_vec()
            } else {
                [heads, 1, 1].to_vec()
            };
            let one_more = |n: i32| [per_query, &[n]].concat();
            let sinks = sinks
                .astype(dtype)
                .reshape(per_head)
                .broadcast_to(one_more(1));
            let weights = concatenate([&sinks, &scores], -1).softmax_precise(-1);
            let mut start = vec![0; per_query.len()];
            start.push(1);
            let op = Op::Slice {
                strides: vec![1; start.len()],
                start,
                stop: one_more(keys + 1),
            };
            bind(op, &[&weights])
        }
    };
    let result = weights.matmul(&v);
    let result = if is_grouped {
        result.reshape([batch, heads, queries, value_dim])
    } else {
        result
    };
    Ok(silence(result, alive))
}

/// A mask that broadcasts to `[batch, heads, queries, keys]`, with its heads in groups.
#[track_caller]
fn grouped(mask: &Array, kv_heads: i32, group: i32) -> Result<Array> {
    let shape = mask.shape()?;
    Ok(match shape.len().checked_sub(3).map(|axis| shape[axis]) {
        None => mask.clone(),
        Some(1) => mask.expand_dims(-3),
        Some(_) => mask.unflatten(-3, [kv_heads, group]),
    })
}

/// Makes zeros of queries that see no key.
#[track_caller]
fn silence(result: Array, alive: Option<Array>) -> Array {
    match alive {
        None => result,
        Some(alive) => where_(&alive, result, 0),
    }
}

/// What `check` found out.
struct Sizes {
    batch: i32,
    heads: i32,
    kv_heads: i32,
    queries: i32,
    keys: i32,
    dim: i32,
    value_dim: i32,
    dtype: Dtype,
}

impl Sizes {
    fn scores(&self) -> Scores {
        Scores {
            shape: [self.batch, self.heads, self.queries, self.keys],
            dtype: self.dtype,
        }
    }

    /// Nothing to compute: no results, or no keys to look at.
    fn is_empty(&self) -> bool {
        [
            self.batch,
            self.heads,
            self.queries,
            self.keys,
            self.value_dim,
        ]
        .contains(&0)
    }

    #[track_caller]
    fn zeros(&self) -> Array {
        let shape = [self.batch, self.heads, self.queries, self.value_dim];
        zeros(shape, self.dtype)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn scale(&self, options: &AttentionOptions) -> f32 {
        // With no features all scores are 0, whatever the scale.
        let default = 1.0 / f64::from(self.dim.max(1)).sqrt();
        options.scale.unwrap_or(default as f32)
    }
}

#[track_caller]
fn check(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Result<Sizes> {
    let mut inputs = vec![q, k, v];
    let mut shapes = Vec::new();
    for (name, input) in ["q", "k", "v"].into_iter().zip([q, k, v]) {
        let shape = input.shape()?;
        let Ok(shape) = <[i32; 4]>::try_from(shape.as_slice()) else {
            let message = format!("{name} must be [batch, heads, seq, dim], got {shape:?}");
            return reject(NAME, message, &inputs);
        };
        shapes.push(shape);
    }
    let (q_shape, k_shape, v_shape) = (shapes[0], shapes[1], shapes[2]);
    let [batch, heads, queries, dim] = q_shape;
    let [_, kv_heads, keys, value_dim] = v_shape;
    if k_shape != [batch, kv_heads, keys, dim] {
        let message = format!(
            "k must be {:?} to match q {q_shape:?} and v {v_shape:?}, got {k_shape:?}",
            [batch, kv_heads, keys, dim]
        );
        return reject(NAME, message, &inputs);
    }
    if v_shape[0] != batch {
        let message = format!("v must have batch {batch} as q, got {v_shape:?}");
        return reject(NAME, message, &inputs);
    }
    if heads.checked_rem(kv_heads).unwrap_or(heads) != 0 {
        let message = format!(
            "heads of q must be a multiple of those of k and v, got {heads} and {kv_heads}"
        );
        return reject(NAME, message, &inputs);
    }
    if let Some(sinks) = &options.sinks {
        inputs.push(sinks);
        let got = sinks.shape()?;
        if got != [heads] {
            let message = format!("sinks must be [{heads}], one for each head of q, got {got:?}");
            return reject(NAME, message, &inputs);
        }
    }
    let is_bad = |softcap: &f32| softcap.is_nan() || *softcap <= 0.0;
    if let Some(softcap) = options.softcap.filter(is_bad) {
        return reject(
            NAME,
            format!("softcap must be positive, got {softcap}"),
            &inputs,
        );
    }
    let dtypes = [q.dtype()?, k.dtype()?, v.dtype()?];
    let dtype = check_floating(NAME, &dtypes, &inputs)?;
    Ok(Sizes {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        dim,
        value_dim,
        dtype,
    })
}
