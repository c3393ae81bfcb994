//! Formulas of losses and statistics: cross entropies in several spellings, distances, normalized columns.

use mlx::{Array, Dtype, keepdims, where_};

use super::Formula;
use super::formula::{normal, pair, single, whole};

pub(super) fn formulas() -> Vec<Formula> {
    [cross_entropies(), others()]
        .into_iter()
        .flatten()
        .collect()
}

/// Cross-entropy in several spellings.
fn cross_entropies() -> Vec<Formula> {
    vec![
        Formula {
            name: "cross_entropy_jax/float32/64x32000",
            make: || pair((single(1, &[64, 32000]), whole(2, &[64], 32000)), jax),
        },
        Formula {
            name: "cross_entropy_jax/float16/64x32000",
            make: || {
                let logits = normal(&[64, 32000], Dtype::Float16);
                pair((logits, whole(2, &[64], 32000)), jax)
            },
        },
        Formula {
            name: "cross_entropy_logsumexp/float32/64x32000",
            make: || {
                let args = (single(1, &[64, 32000]), whole(2, &[64], 32000));
                pair(args, |x: &Array, t: &Array| {
                    let picked = x.take_along_axis(&t.expand_dims(-1), -1).squeeze(-1);
                    (x.logsumexp(-1) - picked).mean(())
                })
            },
        },
        Formula {
            name: "cross_entropy_one_hot/float32/128x1000",
            make: || {
                let args = (single(1, &[128, 1000]), whole(2, &[128], 1000));
                pair(args, |x: &Array, t: &Array| {
                    let classes = mlx::iota(1000);
                    let hot = t.expand_dims(-1).equal(&classes).astype(Dtype::Float32);
                    let log_p = x - x.logsumexp(keepdims(-1));
                    -(hot * log_p).sum(-1).mean(())
                })
            },
        },
        Formula {
            name: "nll_of_log_softmax/float32/512x1000",
            make: || pair((single(1, &[512, 1000]), whole(2, &[512], 1000)), nll),
        },
        Formula {
            name: "nll_of_log_softmax/float32/64x32000",
            make: || pair((single(1, &[64, 32000]), whole(2, &[64], 32000)), nll),
        },
    ]
}

/// Other losses, and statistics of rows and columns.
fn others() -> Vec<Formula> {
    vec![
        Formula {
            name: "binary_cross_entropy/float32/512x1024",
            make: || {
                let args = (single(1, &[512, 1024]), single(2, &[512, 1024]).sigmoid());
                pair(args, |x: &Array, t: &Array| {
                    (x.maximum(0.0) - x * t + (-x.abs()).exp().log1p()).mean(())
                })
            },
        },
        Formula {
            name: "squared_error/float32/1024x1024",
            make: || {
                let args = (single(1, &[1024, 1024]), single(2, &[1024, 1024]));
                pair(args, |x: &Array, y: &Array| (x - y).square().mean(()))
            },
        },
        Formula {
            name: "huber/float32/512x1024",
            make: || {
                let args = (single(1, &[512, 1024]), single(2, &[512, 1024]));
                pair(args, |x: &Array, y: &Array| {
                    let d = (x - y).abs();
                    where_(&d.less(1.0), d.square() * 0.5, &d - 0.5).mean(())
                })
            },
        },
        Formula {
            name: "kl_divergence/float32/256x1000",
            make: || {
                let args = (single(1, &[256, 1000]), single(2, &[256, 1000]));
                pair(args, |p: &Array, q: &Array| {
                    let log_softmax = |x: &Array| x - x.logsumexp(keepdims(-1));
                    let (p, q) = (log_softmax(p), log_softmax(q));
                    (p.exp() * (p - q)).sum(-1).mean(())
                })
            },
        },
        Formula {
            name: "standardized_columns/float32/2048x256",
            make: || {
                pair((single(1, &[2048, 256]),), |x: &Array| {
                    (x - x.mean(keepdims(0))) / (x.std(keepdims(0)) + 1e-6)
                })
            },
        },
        Formula {
            name: "softmax_by_hand/float32/512x1024",
            make: || {
                pair((single(1, &[512, 1024]),), |x: &Array| {
                    let e = (x - x.max(keepdims(-1))).exp();
                    &e / e.sum(keepdims(-1))
                })
            },
        },
        Formula {
            name: "softmax_of_columns/float32/512x512",
            make: || {
                pair((single(1, &[512, 512]),), |x: &Array| {
                    let e = (x - x.max(keepdims(0))).exp();
                    &e / e.sum(keepdims(0))
                })
            },
        },
    ]
}

/// Of `jax.nn.log_softmax`.
fn nll(x: &Array, t: &Array) -> Array {
    let x = x - x.max(keepdims(-1)).stop_gradient();
    let log_p = &x - x.exp().sum(keepdims(-1)).log();
    -log_p.take_along_axis(&t.expand_dims(-1), -1).mean(())
}

/// `optax.softmax_cross_entropy_with_integer_labels`.
fn jax(logits: &Array, labels: &Array) -> Array {
    let shifted = logits - logits.max(keepdims(-1)).stop_gradient();
    let picked = shifted
        .take_along_axis(&labels.expand_dims(-1), -1)
        .squeeze(-1);
    shifted.exp().sum(-1).log() - picked
}
