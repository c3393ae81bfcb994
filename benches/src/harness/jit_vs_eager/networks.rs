//! Formulas of layers: norms in several spellings, rotary positions, gated activations, attention, a gradient.

use mlx::{Array, Dtype, concatenate, grad, keepdims, s, where_};

use super::Formula;
use super::formula::{normal, pair, single};

pub(super) fn formulas() -> Vec<Formula> {
    let mut all = norms();
    all.extend(rotations());
    all.extend(layers());
    all
}

fn norms() -> Vec<Formula> {
    [row_norms(), group_norms()].into_iter().flatten().collect()
}

/// Norms of the last axis.
fn row_norms() -> Vec<Formula> {
    vec![
        Formula {
            name: "rms_norm_by_hand/float32/512x1024",
            make: || pair((single(1, &[512, 1024]), single(2, &[1024])), rms_norm),
        },
        Formula {
            name: "rms_norm_by_hand/bfloat16/512x1024",
            make: || {
                let x = normal(&[512, 1024], Dtype::Bfloat16);
                pair((x, normal(&[1024], Dtype::Bfloat16)), rms_norm)
            },
        },
        Formula {
            name: "layer_norm_by_hand/float16/512x1024",
            make: || {
                let half = |shape: &[i32]| normal(shape, Dtype::Float16);
                let args = (half(&[512, 1024]), half(&[1024]), half(&[1024]));
                pair(args, |x: &Array, w: &Array, b: &Array| {
                    let centered = x - x.mean(keepdims(-1));
                    let variance = centered.square().mean(keepdims(-1));
                    centered * (variance + 1e-5).rsqrt() * w + b
                })
            },
        },
    ]
}

/// Norms of groups, instances and batches.
fn group_norms() -> Vec<Formula> {
    vec![
        Formula {
            name: "group_norm_by_transposes/float32/8x256x256",
            make: || {
                let args = (
                    single(1, &[8, 256, 256]),
                    single(2, &[256]),
                    single(3, &[256]),
                );
                pair(args, group_norm)
            },
        },
        Formula {
            name: "group_norm_by_transposes/float16/4x256x256",
            make: || {
                let half = |shape: &[i32]| normal(shape, Dtype::Float16);
                pair(
                    (half(&[4, 256, 256]), half(&[256]), half(&[256])),
                    group_norm,
                )
            },
        },
        Formula {
            name: "group_norm_channels_first/float32/8x64x32x32",
            make: || {
                let args = (single(1, &[8, 64, 32, 32]), single(2, &[64, 1, 1]));
                pair(args, |x: &Array, w: &Array| {
                    let groups = x.reshape([8, 8, -1]);
                    let (mean, var) = (groups.mean(keepdims(-1)), groups.var(keepdims(-1)));
                    ((groups - mean) * (var + 1e-5).rsqrt()).reshape([8, 64, 32, 32]) * w
                })
            },
        },
        Formula {
            name: "instance_norm/float32/8x32x32x64",
            make: || {
                pair((single(1, &[8, 32, 32, 64]),), |x: &Array| {
                    let (mean, var) = (x.mean(keepdims([1, 2])), x.var(keepdims([1, 2])));
                    (x - mean) * (var + 1e-5).rsqrt()
                })
            },
        },
        Formula {
            name: "batch_norm/float32/16x32x32x64",
            make: || {
                let c = &[64];
                let args = (
                    single(1, &[16, 32, 32, 64]),
                    single(2, c),
                    single(3, c).square(),
                    single(4, c),
                    single(5, c),
                );
                pair(
                    args,
                    |x: &Array, mean: &Array, var: &Array, w: &Array, b: &Array| {
                        (x - mean) * (var + 1e-5).rsqrt() * w + b
                    },
                )
            },
        },
    ]
}

fn rotations() -> Vec<Formula> {
    vec![
        Formula {
            name: "rope_by_tables/float32/16x256x64",
            make: || {
                let table = |seed| single(seed, &[256, 64]);
                let x = |seed| single(seed, &[1, 16, 256, 64]);
                pair((x(1), x(2), table(3), table(4)), rope_by_tables)
            },
        },
        Formula {
            name: "rope_by_tables/float16/16x256x64",
            make: || {
                let table = || normal(&[256, 64], Dtype::Float16);
                let x = || normal(&[1, 16, 256, 64], Dtype::Float16);
                pair((x(), x(), table(), table()), rope_by_tables)
            },
        },
        Formula {
            name: "rope_by_tables/float32/8x1x64",
            make: || {
                let table = |seed| single(seed, &[1, 64]);
                let x = |seed| single(seed, &[1, 8, 1, 64]);
                pair((x(1), x(2), table(3), table(4)), rope_by_tables)
            },
        },
        Formula {
            name: "rope_of_pairs/float32/16x256x64",
            make: || {
                let table = |seed| single(seed, &[256, 32]);
                pair(
                    (single(1, &[1, 16, 256, 64]), table(2), table(3)),
                    |x: &Array, cos: &Array, sin: &Array| {
                        let (a, b) = (x.i(s![..., ..;2]), x.i(s![..., 1..;2]));
                        let (re, im) = (&a * cos - &b * sin, &a * sin + &b * cos);
                        mlx::stack([&re, &im], -1).reshape([1, 16, 256, 64])
                    },
                )
            },
        },
        Formula {
            name: "rope_of_transposed/float32/256x16x64",
            make: || {
                let table = |seed| single(seed, &[256, 64]);
                let x = |seed| single(seed, &[1, 256, 1024]);
                pair(
                    (x(1), x(2), table(3), table(4)),
                    |q: &Array, k: &Array, cos: &Array, sin: &Array| {
                        let heads = |x: &Array| x.reshape([1, 256, 16, 64]).transpose([0, 2, 1, 3]);
                        rope_by_tables(&heads(q), &heads(k), cos, sin)
                    },
                )
            },
        },
    ]
}

fn layers() -> Vec<Formula> {
    [gates(), attentions(), blocks()]
        .into_iter()
        .flatten()
        .collect()
}

/// Gated activations.
fn gates() -> Vec<Formula> {
    vec![
        Formula {
            name: "swiglu_of_halves/float32/256x2x1024",
            make: || pair((single(1, &[256, 2048]),), swiglu),
        },
        Formula {
            name: "swiglu_of_halves/float16/256x2x1024",
            make: || pair((normal(&[256, 2048], Dtype::Float16),), swiglu),
        },
        Formula {
            name: "swiglu_of_halves/float32/1x2x1024",
            make: || pair((single(1, &[1, 2048]),), swiglu),
        },
        Formula {
            name: "geglu_of_halves/float32/256x2x1024",
            make: || {
                pair((single(1, &[256, 2048]),), |x: &Array| {
                    let (gate, x) = (x.i(s![.., ..1024]), x.i(s![.., 1024..]));
                    let gelu = (gate.clone() / std::f32::consts::SQRT_2).erf() + 1.0;
                    gate * gelu * 0.5 * x
                })
            },
        },
    ]
}

/// Attention and its parts.
fn attentions() -> Vec<Formula> {
    vec![
        Formula {
            name: "masked_softmax/float32/8x128x128",
            make: || {
                let args = (
                    single(1, &[8, 128, 128]),
                    single(2, &[128, 128]).greater(0.0),
                );
                pair(args, |scores: &Array, mask: &Array| {
                    where_(mask, scores * 0.125, -1e9).softmax(-1)
                })
            },
        },
        Formula {
            name: "attention_by_hand/float32/8x128x64",
            make: || {
                let x = |seed| single(seed, &[1, 128, 512]);
                pair((x(1), x(2), x(3)), |q: &Array, k: &Array, v: &Array| {
                    let heads = |x: &Array| x.reshape([1, 128, 8, 64]).transpose([0, 2, 1, 3]);
                    let scores = heads(q).matmul(&heads(k).swapaxes(-1, -2)) * 0.125;
                    let mixed = (scores.clone() - scores.max(keepdims(-1))).exp();
                    let mixed = &mixed / mixed.sum(keepdims(-1));
                    mixed
                        .matmul(&heads(v))
                        .transpose([0, 2, 1, 3])
                        .reshape([1, 128, 512])
                })
            },
        },
        Formula {
            name: "attention_grouped/float16/8x64x64",
            make: || {
                let half = |shape: &[i32]| normal(shape, Dtype::Float16);
                let args = (
                    half(&[1, 8, 64, 64]),
                    half(&[1, 2, 64, 64]),
                    half(&[64, 64]),
                );
                pair(args, |q: &Array, k: &Array, bias: &Array| {
                    let k = k.expand_dims(2);
                    let q = q.reshape([1, 2, 4, 64, 64]) * 0.125;
                    let scores = q.matmul(&k.swapaxes(-1, -2)) + bias;
                    scores.softmax(-1).matmul(&k).reshape([1, 8, 64, 64])
                })
            },
        },
    ]
}

/// Blocks of layers, and gradients.
fn blocks() -> Vec<Formula> {
    vec![
        Formula {
            name: "block/float32/128x256",
            make: || {
                let args = (
                    single(1, &[1, 128, 256]),
                    single(2, &[256, 768]) * 0.06,
                    single(3, &[256, 256]) * 0.06,
                );
                pair(args, block)
            },
        },
        Formula {
            name: "gradient_of_layer_norm/float32/256x512",
            make: || {
                let args = (single(1, &[256, 512]), single(2, &[512]));
                pair(args, |x: &Array, w: &Array| {
                    let x = x.clone();
                    let loss = move |w: &Array| {
                        let centered = &x - x.mean(keepdims(-1));
                        let variance = centered.square().mean(keepdims(-1));
                        let y = centered * (variance + 1e-5).rsqrt() * w;
                        (y.abs() + 1.0).log().mean(())
                    };
                    grad(loss).call(w)
                })
            },
        },
        Formula {
            name: "perceptron/float32/1x256",
            make: || {
                let args = (
                    single(1, &[1, 256]),
                    single(2, &[256, 256]),
                    single(3, &[256]),
                );
                pair(args, |x: &Array, w: &Array, b: &Array| {
                    let hidden = (x.matmul(w) + b).tanh();
                    hidden.matmul(w) + b + x
                })
            },
        },
        Formula {
            name: "gradient_of_a_loss/float32/256x256",
            make: || {
                let args = (single(1, &[256, 256]) * 0.06, single(2, &[256, 256]));
                pair(args, |w: &Array, x: &Array| {
                    let x = x.clone();
                    let loss = move |w: &Array| {
                        let y = x.matmul(w).tanh();
                        (y - &x).square().mean(())
                    };
                    grad(loss).call(w)
                })
            },
        },
    ]
}

fn rms_norm(x: &Array, w: &Array) -> Array {
    x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * w
}

/// 32 groups of channels, which are the last axis, as MLX's and PyTorch's ports spell it.
fn group_norm(x: &Array, w: &Array, b: &Array) -> mlx::Result<Array> {
    let [batch, places, dims] = x.dims()?;
    let groups = x
        .reshape([batch, places, 32, dims / 32])
        .transpose([0, 2, 1, 3])
        .reshape([batch, 32, -1]);
    let (mean, var) = (groups.mean(keepdims(-1)), groups.var(keepdims(-1)));
    let normed = (groups - mean) * (var + 1e-5).rsqrt();
    let normed = normed
        .reshape([batch, 32, places, dims / 32])
        .transpose([0, 2, 1, 3])
        .reshape([batch, places, dims]);
    Ok(normed * w + b)
}

fn rope_by_tables(q: &Array, k: &Array, cos: &Array, sin: &Array) -> (Array, Array) {
    let rotate = |x: &Array| {
        let half = x.i(s![..., 32..]);
        x * cos + concatenate([&-half, &x.i(s![..., ..32])], -1) * sin
    };
    (rotate(q), rotate(k))
}

/// Attention of heads cut from one projection, and what comes after it.
fn block(x: &Array, qkv: &Array, out: &Array) -> mlx::Result<Array> {
    let normed = rms_norm(x, &mlx::ones([256]));
    let parts = normed.matmul(qkv).split(3, -1)?;
    let heads = |x: &Array| x.reshape([1, 128, 4, 64]).transpose([0, 2, 1, 3]);
    let (q, k, v) = (heads(&parts[0]), heads(&parts[1]), heads(&parts[2]));
    let scores = (q * 0.125).matmul(&k.swapaxes(-1, -2));
    let mixed = scores.softmax(-1).matmul(&v);
    let mixed = mixed.transpose([0, 2, 1, 3]).reshape([1, 128, 256]);
    let x = x + mixed.matmul(out);
    Ok(&x + (&x * x.sigmoid()) * 0.5)
}

fn swiglu(x: &Array) -> Array {
    let (gate, x) = (x.i(s![.., ..1024]), x.i(s![.., 1024..]));
    &gate * gate.sigmoid() * x
}
