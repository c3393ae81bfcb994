//! Formulas of element by element: chains, half precision, integers, small and large arrays, an optimizer's step.

use mlx::{Array, Dtype, where_};

use super::Formula;
use super::formula::{normal, pair, single, whole};

pub(super) fn formulas() -> Vec<Formula> {
    [chains(), mixed()].into_iter().flatten().collect()
}

/// Short and long chains over several dtypes and sizes.
fn chains() -> Vec<Formula> {
    vec![
        Formula {
            name: "affine/float32/1024x1024",
            make: || pair((normal(&[1024, 1024], Dtype::Float32),), affine),
        },
        Formula {
            name: "affine/float16/1024x1024",
            make: || pair((normal(&[1024, 1024], Dtype::Float16),), affine),
        },
        Formula {
            name: "affine/bfloat16/1024x1024",
            make: || pair((normal(&[1024, 1024], Dtype::Bfloat16),), affine),
        },
        Formula {
            name: "affine/float32/4096x4096",
            make: || pair((normal(&[4096, 4096], Dtype::Float32),), affine),
        },
        Formula {
            name: "affine/float32/8",
            make: || pair((normal(&[8], Dtype::Float32),), affine),
        },
        Formula {
            name: "chain/float32/512x1024",
            make: || pair((single(1, &[512, 1024]), single(2, &[1024])), chain),
        },
        Formula {
            name: "chain/float16/512x1024",
            make: || {
                let x = normal(&[512, 1024], Dtype::Float16);
                pair((x, normal(&[1024], Dtype::Float16)), chain)
            },
        },
        Formula {
            name: "chain/float32/4x64",
            make: || pair((single(1, &[4, 64]), single(2, &[64])), chain),
        },
        Formula {
            name: "polynomial/bfloat16/512x1024",
            make: || {
                pair((normal(&[512, 1024], Dtype::Bfloat16),), |x: &Array| {
                    ((x * 0.5 + 1.0) * x - 2.0) * x + 0.25
                })
            },
        },
    ]
}

/// Several inputs, comparisons, integers, and an update of Adam.
fn mixed() -> Vec<Formula> {
    vec![
        Formula {
            name: "bias_relu/float32/1024x2048",
            make: || {
                let args = (single(1, &[1024, 2048]), single(2, &[2048]));
                pair(args, |x: &Array, b: &Array| (x + b).maximum(0.0))
            },
        },
        Formula {
            name: "where_between/float32/1024x1024",
            make: || {
                pair((single(1, &[1024, 1024]),), |x: &Array| {
                    let inside = x.greater(-0.5).logical_and(x.less(0.5));
                    where_(&inside, x * 2.0, x.abs())
                })
            },
        },
        Formula {
            name: "integers/int32/1024x1024",
            make: || {
                let args = (whole(1, &[1024, 1024], 100), whole(2, &[1024, 1024], 100));
                pair(args, |a: &Array, b: &Array| a * b + a - 3)
            },
        },
        Formula {
            name: "images/uint8/8x224x224x3",
            make: || {
                let pixels = whole(1, &[8, 224, 224, 3], 256).astype(Dtype::Uint8);
                let args = (pixels, single(2, &[3]), single(3, &[3]).abs() + 0.5);
                pair(args, |x: &Array, mean: &Array, std: &Array| {
                    (x.astype(Dtype::Float32) / 255.0 - mean) / std
                })
            },
        },
        Formula {
            name: "adam/float32/1048576",
            make: || {
                let n = &[1 << 20];
                let args = (
                    single(1, n),
                    single(2, n),
                    single(3, n) * 0.1,
                    single(4, n).square(),
                );
                pair(args, adam)
            },
        },
    ]
}

fn affine(x: &Array) -> Array {
    x * 2.0 + 1.0
}

fn chain(x: &Array, w: &Array) -> Array {
    ((x * 2.0 + w).tanh() - x).abs().sqrt()
}

fn adam(p: &Array, g: &Array, m: &Array, v: &Array) -> (Array, Array, Array) {
    let m = m * 0.9 + g * 0.1;
    let v = v * 0.999 + g.square() * 0.001;
    (p - &m * 1e-3 / (v.sqrt() + 1e-8), m, v)
}
