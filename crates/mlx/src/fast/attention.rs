//! Attention: `softmax(q @ k^T * scale + mask) @ v`, with grouped heads, typed masks and sinks.

use super::attention_mask::{AttentionMask, Resolved, Scores, causal};
use super::backend::{FastOp, record_backend};
use super::inputs::{cast, check_floating, count, reject};
use crate::bind::bind_slice;
use crate::op::{MaskMode, Op};
use crate::{Array, Dtype, Result, Scalar, Size, bind, concatenate, where_, zeros_with};

const NAME: &str = "fast.scaled_dot_product_attention";

/// How attention is computed; by default scaled by `1 / sqrt(dim)`, with no mask and no sinks.
#[derive(Clone, Default)]
pub struct AttentionOptions {
    /// What scores are multiplied by; `None` for `1 / sqrt(dim)` of the queries.
    pub scale: Option<f32>,
    /// Which keys each query may attend to.
    pub mask: AttentionMask,
    /// For each query head, a score that takes part in the softmax but has no value; `[heads]`.
    pub sinks: Option<Array>,
    /// Limits scaled scores to `softcap * tanh(score / softcap)` before the mask. No kernel has it, so the fused
    /// function is composed then.
    pub softcap: Option<f32>,
    /// Whether it is an error when this device has no kernel for the call. Composed attention ignores it.
    pub force_fused: bool,
}

/// Returns, for each query, the mean of the values weighted by how well the query fits their keys.
///
/// Computes `softmax(q @ k^T * scale + mask) @ v`, the softmax in `float32`. `q` is `[batch, heads, queries, dim]`, `k`
/// is `[batch, kv_heads, keys, dim]`, `v` is `[batch, kv_heads, keys, value_dim]`; each of the `kv_heads` serves
/// `heads / kv_heads` neighbouring heads of `q`. The result is `[batch, heads, queries, value_dim]` in the dtype of
/// the three together, to which mask and sinks are cast. A query that may attend to no key gives zeros.
/// Nothing runs until [`eval`](crate::eval()).
///
/// `scale` is a number, `mask` is `"causal"`, `None`, an array of `bool` or to be added, or an [`AttentionMask`].
/// No mask and a plain causal mask go to MLX as such, so that all its kernels can be used; others as one array.
///
/// # Errors
/// The result carries an error when shapes or dtypes do not fit, or `force_fused` is set and there is no kernel.
///
/// ```
/// use mlx::fast::scaled_dot_product_attention;
///
/// # fn main() -> mlx::Result<()> {
/// let (q, k) = (mlx::array!([[[[0.0, 0.0]]]]), mlx::array!([[[[1.0, 0.0], [0.0, 1.0]]]]));
/// let v = mlx::array!([[[[2.0], [4.0]]]]);
/// let mean = scaled_dot_product_attention(&q, &k, &v, 0.5, None);
/// assert_eq!(mean.item::<f32>()?, 3.0);
/// let last = scaled_dot_product_attention(&q, &k, &v, 0.5, "causal");
/// # assert_eq!(last.item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn scaled_dot_product_attention(
    q: &Array,
    k: &Array,
    v: &Array,
    scale: impl Into<Scalar>,
    mask: impl Into<AttentionMask>,
) -> Array {
    #[allow(clippy::cast_possible_truncation)]
    let options = AttentionOptions {
        scale: Some(scale.into().as_f64() as f32),
        mask: mask.into(),
        ..AttentionOptions::default()
    };
    scaled_dot_product_attention_with(q, k, v, &options)
}

/// Returns attention as [`scaled_dot_product_attention`] does, with all options: sinks, soft caps, the default scale.
#[track_caller]
pub fn scaled_dot_product_attention_with(
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
    let sinks = options.sinks.as_ref().map(|sinks| cast(sinks, sizes.dtype));
    let mut inputs = vec![q, k, v];
    inputs.extend(&mask);
    inputs.extend(&sinks);
    let result = record_backend(FastOp::ScaledDotProductAttention, bind(op, &inputs));
    Ok(silence(result, alive))
}

#[track_caller]
fn formula(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Result<Array> {
    let sizes = check(q, k, v, options)?;
    if sizes.is_empty() {
        return Ok(sizes.zeros());
    }
    let dtype = sizes.dtype;
    let (mask, alive) = match options.mask.resolve(&sizes.scores())? {
        Resolved::None => (None, None),
        Resolved::Causal => (Some(causal(&sizes.scores())), None),
        Resolved::Array { mask, alive } => (Some(mask), alive),
    };
    let (mut q, mut k, mut v) = (cast(q, dtype), cast(k, dtype), cast(v, dtype));
    let mut mask = mask;
    let mut per_head = vec![sizes.heads.clone(), 1.into(), 1.into()];
    let group = &sizes.heads / &sizes.kv_heads;
    let is_grouped = group > 1;
    if is_grouped {
        // Heads in groups get an axis of their own, over which keys and values broadcast.
        q = q.unflatten(1, (&sizes.kv_heads, &group));
        (k, v) = (k.expand_dims(2), v.expand_dims(2));
        mask = mask
            .map(|mask| grouped(&mask, &sizes.kv_heads, &group))
            .transpose()?;
        per_head = vec![sizes.kv_heads.clone(), group, 1.into(), 1.into()];
    }

    let mut scores = (q * sizes.scale(options)).matmul(&k.swapaxes(-1, -2));
    if let Some(softcap) = options.softcap {
        scores = (scores / softcap).tanh() * softcap;
    }
    if let Some(mask) = mask {
        scores = match mask.dtype()? {
            Dtype::Bool => where_(&mask, scores, f32::NEG_INFINITY),
            _ => scores + mask,
        };
    }
    let sinks = options.sinks.as_ref();
    let sinks = sinks.map(|sinks| cast(sinks, dtype).reshape(per_head));
    let result = softmax(&scores, sinks)?.matmul(&v);
    let result = if is_grouped {
        result.flatten(1, 2)
    } else {
        result
    };
    Ok(silence(result, alive))
}

/// Returns the softmax of scores, in which sinks take part as one more key that has no value.
#[track_caller]
fn softmax(scores: &Array, sinks: Option<Array>) -> Result<Array> {
    let Some(sinks) = sinks else {
        return Ok(scores.softmax_precise(-1));
    };
    let mut stop = scores.sizes()?;
    let last = stop.len() - 1;
    let n_keys = std::mem::replace(&mut stop[last], 1.into());
    let weights = concatenate([&sinks.broadcast_to(&stop), scores], -1).softmax_precise(-1);
    stop[last] = n_keys + 1;
    let mut start = vec![Size::from(0); stop.len()];
    start[last] = 1.into();
    let slice = |start: Vec<i32>, stop| Op::Slice {
        strides: vec![1; start.len()],
        start,
        stop,
    };
    Ok(bind_slice(&start, &stop, slice, &[&weights]))
}

/// A mask that broadcasts to `[batch, heads, queries, keys]`, with its heads in groups.
#[track_caller]
fn grouped(mask: &Array, kv_heads: &Size, group: &Size) -> Result<Array> {
    let sizes = mask.sizes()?;
    Ok(match sizes.len().checked_sub(3).map(|axis| &sizes[axis]) {
        None => mask.clone(),
        Some(one) if *one == 1 => mask.expand_dims(-3),
        Some(_) => mask.unflatten(-3, (kv_heads, group)),
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
    batch: Size,
    heads: Size,
    kv_heads: Size,
    queries: Size,
    keys: Size,
    dim: Size,
    value_dim: Size,
    dtype: Dtype,
}

impl Sizes {
    fn scores(&self) -> Scores {
        Scores {
            shape: [&self.batch, &self.heads, &self.queries, &self.keys].map(Clone::clone),
            dtype: self.dtype,
        }
    }

    /// Nothing to compute: no results, or no keys to attend to.
    #[track_caller]
    fn is_empty(&self) -> bool {
        let sizes = [
            &self.batch,
            &self.heads,
            &self.queries,
            &self.keys,
            &self.value_dim,
        ];
        count(sizes) == 0
    }

    #[track_caller]
    fn zeros(&self) -> Array {
        let shape = [&self.batch, &self.heads, &self.queries, &self.value_dim];
        zeros_with(shape.map(Clone::clone), self.dtype)
    }

    /// The scale is one attribute, so that the default one holds for heads of this size.
    #[track_caller]
    #[allow(clippy::cast_possible_truncation)]
    fn scale(&self, options: &AttentionOptions) -> f32 {
        match options.scale {
            Some(scale) => scale,
            // With no features all scores are 0, whatever the scale.
            None => (1.0 / f64::from(self.dim.fixed().max(1)).sqrt()) as f32,
        }
    }
}

#[track_caller]
fn check(q: &Array, k: &Array, v: &Array, options: &AttentionOptions) -> Result<Sizes> {
    let mut inputs = vec![q, k, v];
    let [q_shape, k_shape, v_shape] = check_axes([q, k, v])?;
    let [batch, heads, queries, dim] = q_shape.clone();
    let [_, kv_heads, keys, value_dim] = v_shape.clone();
    let wanted = [&batch, &kv_heads, &keys, &dim].map(Clone::clone);
    let refusal = if k_shape != wanted {
        Some(format!(
            "k must be {wanted:?} to match q {q_shape:?} and v {v_shape:?}, got {k_shape:?}"
        ))
    } else if v_shape[0] != batch {
        Some(format!("v must have batch {batch} as q, got {v_shape:?}"))
    } else if &heads % &kv_heads != 0 || (kv_heads == 0 && heads != 0) {
        Some(format!(
            "heads of q must be a multiple of those of k and v, got {heads} and {kv_heads}"
        ))
    } else {
        None
    };
    if let Some(message) = refusal {
        return reject(NAME, message, &inputs);
    }
    if let Some(sinks) = &options.sinks {
        inputs.push(sinks);
        let got = sinks.sizes()?;
        if got.len() != 1 || got[0] != heads {
            let message = format!("sinks must be [{heads}], one for each head of q, got {got:?}");
            return reject(NAME, message, &inputs);
        }
    }
    let is_bad = |softcap: &f32| softcap.is_nan() || *softcap <= 0.0;
    if let Some(softcap) = options.softcap.filter(is_bad) {
        let message = format!("softcap must be positive, got {softcap}");
        return reject(NAME, message, &inputs);
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

/// Returns the shapes of arrays that must have four axes.
#[track_caller]
fn check_axes(inputs: [&Array; 3]) -> Result<[[Size; 4]; 3]> {
    let shapes = [inputs[0].sizes()?, inputs[1].sizes()?, inputs[2].sizes()?];
    for (name, shape) in ["q", "k", "v"].into_iter().zip(&shapes) {
        if shape.len() != 4 {
            let message = format!("{name} must be [batch, heads, seq, dim], got {shape:?}");
            return reject(NAME, message, &inputs);
        }
    }
    match shapes.map(<[Size; 4]>::try_from) {
        [Ok(q), Ok(k), Ok(v)] => Ok([q, k, v]),
        _ => reject(NAME, "wanted 4 axes".to_owned(), &inputs),
    }
}
