//! Formulas that read arrays in another layout than they are stored in: slices, transposes, joined halves, gathered rows.

use mlx::{Array, Dtype, concatenate, keepdims, s};

use super::Formula;
use super::formula::{normal, pair, single, whole};

pub(super) fn formulas() -> Vec<Formula> {
    [
        slices(),
        transposes(),
        gathers(),
        strided_inputs(),
        regrouped(),
        updates(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Slices, also with steps and backwards.
fn slices() -> Vec<Formula> {
    vec![
        Formula {
            name: "negated_slices/float32/256x512",
            make: || {
                pair((single(1, &[256, 512]),), |x: &Array| {
                    (-x.i(s![.., ..256]), -x.i(s![.., 256..]))
                })
            },
        },
        Formula {
            name: "negated_slices/float16/1024x1024",
            make: || {
                pair((normal(&[1024, 1024], Dtype::Float16),), |x: &Array| {
                    (-x.i(s![.., ..512]), -x.i(s![.., 512..]))
                })
            },
        },
        Formula {
            name: "rotate_half/float32/16x256x64",
            make: || {
                pair((single(1, &[16, 256, 64]),), |x: &Array| {
                    let (first, second) = (x.i(s![..., ..32]), x.i(s![..., 32..]));
                    concatenate([&-second, &first], -1)
                })
            },
        },
        Formula {
            name: "differences/float32/1024x1024",
            make: || {
                pair((single(1, &[1024, 1024]),), |x: &Array| {
                    let rows = x.i(s![1.., ..]) - x.i(s![..-1, ..]);
                    let columns = x.i(s![.., 1..]) - x.i(s![.., ..-1]);
                    (rows.abs() * 0.5, columns.abs() * 0.5)
                })
            },
        },
        Formula {
            name: "every_second/float32/512x2048",
            make: || {
                pair((single(1, &[512, 2048]),), |x: &Array| {
                    x.i(s![.., ..;2]) * x.i(s![.., 1..;2]) + 1.0
                })
            },
        },
        Formula {
            name: "backwards/float32/512x1024",
            make: || {
                pair((single(1, &[512, 1024]),), |x: &Array| {
                    x.i(s![..;-1, ..]) * 2.0 + 1.0
                })
            },
        },
    ]
}

/// Transposes of inputs and of results.
fn transposes() -> Vec<Formula> {
    vec![
        Formula {
            name: "plus_transposed/float32/1024x1024",
            make: || pair((single(1, &[1024, 1024]),), |x: &Array| (x + x.t()) * 0.5),
        },
        Formula {
            name: "of_transposed/float32/1024x1024",
            make: || {
                pair((single(1, &[1024, 1024]),), |x: &Array| {
                    (x.t() * 2.0 + 1.0).exp()
                })
            },
        },
        Formula {
            name: "channels_last/float32/8x64x32x32",
            make: || {
                let args = (
                    single(1, &[8, 64, 32, 32]),
                    single(2, &[64]),
                    single(3, &[64]),
                );
                pair(args, |x: &Array, scale: &Array, shift: &Array| {
                    x.transpose([0, 2, 3, 1]) * scale + shift
                })
            },
        },
        Formula {
            name: "split_heads/float32/256x3x8x64",
            make: || pair((single(1, &[1, 256, 1536]),), split_heads),
        },
        Formula {
            name: "split_heads/float16/256x3x8x64",
            make: || pair((normal(&[1, 256, 1536], Dtype::Float16),), split_heads),
        },
    ]
}

/// Joined and gathered arrays, and broadcasts of new axes.
fn gathers() -> Vec<Formula> {
    vec![
        Formula {
            name: "sines_joined/float32/1024x256",
            make: || {
                pair((single(1, &[1024, 256]),), |x: &Array| {
                    concatenate([&x.sin(), &x.cos()], -1) * 0.5
                })
            },
        },
        Formula {
            name: "embedding/float32/512x256",
            make: || {
                let args = (
                    single(1, &[8192, 256]),
                    whole(2, &[512], 8192),
                    single(3, &[512, 256]),
                );
                pair(args, |table: &Array, ids: &Array, positions: &Array| {
                    table.take(ids, 0) * 16.0 + positions
                })
            },
        },
        Formula {
            name: "distances/float32/256x256x32",
            make: || {
                pair(
                    (single(1, &[256, 32]), single(2, &[256, 32])),
                    |a: &Array, b: &Array| {
                        (a.i(s![.., new, ..]) - b.i(s![new, .., ..]))
                            .square()
                            .sum(-1)
                            .sqrt()
                    },
                )
            },
        },
    ]
}

/// Inputs that are not contiguous.
fn strided_inputs() -> Vec<Formula> {
    vec![
        Formula {
            name: "given_transposed/float32/1024x512",
            make: || {
                let args = (single(1, &[512, 1024]).t(), single(2, &[1024, 512]));
                pair(args, |x: &Array, y: &Array| {
                    let scaled = x * 0.5 + y;
                    scaled.reshape([1024, 8, 64]).transpose([1, 0, 2]) + 1.0
                })
            },
        },
        Formula {
            name: "given_slice/float16/512x1024",
            make: || {
                let x = normal(&[512, 2048], Dtype::Float16).i(s![.., 1024..]);
                pair(
                    (x, normal(&[1024], Dtype::Float16)),
                    |x: &Array, w: &Array| (x * w + 1.0).square() - x,
                )
            },
        },
        Formula {
            name: "given_slice_in_heads/float32/8x128x64",
            make: || {
                let x = single(1, &[128, 1024]).i(s![.., ..512]);
                pair((x, single(2, &[64])), |x: &Array, w: &Array| {
                    let heads = x.reshape([128, 8, 64]).transpose([1, 0, 2]);
                    (&heads * w).softmax(-1) + heads
                })
            },
        },
    ]
}

/// Axes that are split, exchanged and merged again.
fn regrouped() -> Vec<Formula> {
    vec![
        Formula {
            name: "windows/float32/64x4096",
            make: || {
                pair((single(1, &[64, 4096]),), |x: &Array| {
                    let parts = x.reshape([64, 16, 256]);
                    let (mean, max) = (parts.mean(keepdims(-1)), parts.max(keepdims(-1)));
                    ((&parts - mean) / (max.abs() + 1.0)).reshape([64, 4096])
                })
            },
        },
        Formula {
            name: "patches/float32/4x3x64x64",
            make: || {
                pair((single(1, &[4, 3, 64, 64]),), |x: &Array| {
                    let patches = x.reshape([4, 3, 8, 8, 8, 8]).transpose([0, 2, 4, 3, 5, 1]);
                    patches.reshape([4, 64, 192]) * 2.0 - 1.0
                })
            },
        },
        Formula {
            name: "swapped_back/float32/64x64x64",
            make: || {
                pair((single(1, &[64, 64, 64]),), |x: &Array| {
                    let y = (x.swapaxes(0, 2) + 1.0).tanh();
                    y.swapaxes(0, 2) * x
                })
            },
        },
    ]
}

/// Shifted arrays and updates of a slice.
fn updates() -> Vec<Formula> {
    vec![
        Formula {
            name: "shifted_sum/float32/8x1024x64",
            make: || {
                pair((single(1, &[8, 1024, 64]),), |x: &Array| {
                    let (a, b) = (x.i(s![.., 1.., ..]), x.i(s![.., ..-1, ..]));
                    let c = concatenate([&(&a * 0.5 + &b * 0.5), &x.i(s![.., -1.., ..])], 1);
                    c + x
                })
            },
        },
        Formula {
            name: "cache_written/float32/8x256x64",
            make: || {
                let args = (
                    single(1, &[1, 8, 256, 64]),
                    single(2, &[1, 8, 1, 64]),
                    Array::from_slice(&[17], [1])?,
                );
                pair(args, |cache: &Array, new: &Array, at: &Array| {
                    let cache = cache.slice_update(&(new * 0.5), at, 2);
                    (cache.sum(-1), cache)
                })
            },
        },
    ]
}

fn split_heads(x: &Array) -> (Array, Array, Array) {
    let heads = x.reshape([1, 256, 3, 8, 64]).transpose([2, 0, 3, 1, 4]);
    let part = |k: i64| heads.i(k);
    (part(0) * 0.125, part(1) + 1.0, part(2))
}
