//! Products: of matrices, with packed weights, convolutions.

use mlx::{ConvGeneralOptions, Dtype, Quantization, fast};

use super::{FLOATS, Random, Results, Values, grad_of, tolerance};

pub(super) fn products(results: &mut Results, random: &mut Random) {
    for _ in 0..60 {
        let dtype = random.of(&FLOATS);
        let (m, k, n) = (
            random.of(&[0, 1, 2, 3, 4, 9]),
            random.of(&[0, 1, 2, 17, 64, 129]),
            random.of(&[0, 1, 3, 16, 67]),
        );
        let batch = random.of(&[&[][..], &[1], &[2], &[3, 1], &[2, 2]]).to_vec();
        let a = random.view(&[batch.clone(), vec![m, k]].concat(), dtype, Values::Plain);
        let b_batch = if random.below(4) == 0 {
            batch.clone()
        } else {
            Vec::new()
        };
        let b = if random.below(3) == 0 {
            random.view(&[b_batch, vec![k, n]].concat(), dtype, Values::Plain)
        } else {
            random
                .view(&[b_batch, vec![n, k]].concat(), dtype, Values::Plain)
                .swapaxes(-1, -2)
        };
        let tol = tolerance(dtype, 2e-5) * 4.0;
        let what = format!("{dtype} {batch:?} {m} {k} {n}");
        results.keep(format!("matmul {what}"), tol, Ok(a.matmul(&b)));
        let c_shape = random.of(&[[1, 1], [1, n], [m, 1], [m, n]]);
        let c_dtype = random.of(&[dtype, dtype, Dtype::Float32]);
        let c = random.view(&c_shape, c_dtype, Values::Plain);
        let (alpha, beta) = (
            random.of(&[1.0, 0.0, -0.5, 3.0]),
            random.of(&[1.0, 0.0, 2.0]),
        );
        results.keep(
            format!("addmm {what} {c_shape:?} {alpha} {beta}"),
            tol,
            Ok(mlx::addmm_with(&c, &a, &b, alpha, beta)),
        );
        let w = random.view(&[n, k], dtype, Values::Plain);
        let x = a.astype(Dtype::Float32);
        results.keep(format!("linear {what}"), tol, Ok(fast::linear(&x, &w)));
        let (fixed, weight) = (x.clone(), w.clone());
        results.keep(
            format!("linear {what} grad x"),
            tol,
            grad_of(move |x| fast::linear(x, &weight), &x),
        );
        results.keep(
            format!("linear {what} grad w"),
            tol,
            grad_of(move |w| fast::linear(&fixed, w), &w),
        );
        let vector = random.view(&[k], dtype, Values::Plain);
        results.keep(
            format!("matmul {what} vector"),
            tol,
            Ok(b.swapaxes(-1, -2).matmul(&vector)),
        );
        results.keep(format!("vector matmul {what}"), tol, Ok(vector.matmul(&b)));
    }
    let bad = mlx::full([3, 67], f32::NAN);
    let (a, w) = (
        random.plain(&[3, 64], Values::Plain),
        random.plain(&[67, 64], Values::Plain),
    );
    results.keep(
        "addmm of NaN times 0".to_owned(),
        1e-5,
        Ok(mlx::addmm_with(&bad, &a, &w.t(), 1.0, 0.0)),
    );
    results.keep(
        "addmm of 0 times NaN".to_owned(),
        1e-5,
        Ok(mlx::addmm_with(
            &a.matmul(&w.t()),
            &(&a * f32::NAN),
            &w.t(),
            0.0,
            1.0,
        )),
    );
    for bits in [2, 3, 4, 5, 6, 8] {
        for group_size in [32, 64, 128] {
            for dtype in FLOATS {
                for transpose in [true, false] {
                    let quantization = Quantization {
                        group_size,
                        bits,
                        ..Default::default()
                    };
                    let w = random.plain(&[128, 256], Values::Plain).astype(dtype);
                    let batch = random.of(&[&[1][..], &[5], &[2, 3], &[3, 1, 2]]);
                    let inner = if transpose { 256 } else { 128 };
                    let x = random.view(&[batch, &[inner]].concat(), dtype, Values::Plain);
                    let result = w
                        .quantize(quantization)
                        .map(|w| x.quantized_matmul(&w, transpose));
                    let what = format!(
                        "quantized_matmul {bits} {group_size} {dtype} {transpose} {batch:?}"
                    );
                    results.keep(what.clone(), tolerance(dtype, 2e-5) * 8.0, result);
                    if let Ok(w) = w.quantize(quantization) {
                        let result = grad_of(move |x| x.quantized_matmul(&w, transpose), &x);
                        results.keep(format!("{what} grad"), tolerance(dtype, 2e-5) * 8.0, result);
                    }
                }
            }
        }
    }
    for _ in 0..60 {
        one_axis(results, random);
    }
    for _ in 0..60 {
        more_axes(results, random);
    }
    for _ in 0..40 {
        batched(results, random);
    }
}

/// Products of many matrices, each side broadcast, transposed and moved in its own way.
fn batched(results: &mut Results, random: &mut Random) {
    let dtype = random.of(&FLOATS);
    let (m, k, n) = (
        random.of(&[1, 2, 9, 40, 150]),
        random.of(&[1, 7, 64, 300]),
        random.of(&[1, 5, 32, 70]),
    );
    let (batch, other) = random.of(&[
        ([2, 3], [2, 3]),
        ([2, 3], [1, 3]),
        ([1, 3], [2, 1]),
        ([4, 1], [4, 2]),
        ([1, 1], [3, 2]),
    ]);
    let mut factor = |batch: [i32; 2], rows: i32, columns: i32| match random.below(3) {
        // Heads between rows and columns, as attention has them.
        0 => {
            let shape = [batch[0], rows, batch[1], columns];
            random.view(&shape, dtype, Values::Plain).swapaxes(1, 2)
        }
        1 => {
            let shape = [batch[0], batch[1], columns, rows];
            random.view(&shape, dtype, Values::Plain).swapaxes(-1, -2)
        }
        _ => random.view(&[batch[0], batch[1], rows, columns], dtype, Values::Plain),
    };
    let (a, b) = (factor(batch, m, k), factor(other, k, n));
    let tol = tolerance(dtype, 2e-5) * 4.0;
    let what = format!("batched {dtype} {batch:?} {other:?} {m} {k} {n}");
    results.keep(what.clone(), tol, Ok(a.matmul(&b)));
    let c = random.view(&[n], dtype, Values::Plain);
    results.keep(
        format!("{what} addmm"),
        tol,
        Ok(mlx::addmm_with(&c, &a, &b, 0.5, -2.0)),
    );
    if dtype == Dtype::Float32 && m * k * n < 50_000 {
        let (fixed, right) = (a.clone(), b.clone());
        results.keep(
            format!("{what} grad a"),
            1e-4,
            grad_of(move |a| a.matmul(&right), &a),
        );
        results.keep(
            format!("{what} grad b"),
            1e-4,
            grad_of(move |b| fixed.matmul(b), &b),
        );
    }
}

/// Convolutions over two and three axes.
fn more_axes(results: &mut Results, random: &mut Random) {
    let dtype = random.of(&FLOATS);
    let n_axes = random.of(&[2, 2, 3]);
    let groups = random.of(&[1, 1, 2, 6]);
    let is_depthwise = random.below(3) == 0;
    let per_group = |random: &mut Random| {
        if is_depthwise {
            1
        } else {
            random.of(&[1, 3, 20])
        }
    };
    let (channels, outputs) = (groups * per_group(random), groups * per_group(random));
    let mut list = |all: &[i32]| -> Vec<i32> { (0..n_axes).map(|_| random.of(all)).collect() };
    let (input, kernel) = (list(&[1, 4, 7, 10]), list(&[1, 2, 3]));
    let (low, high) = (list(&[0, 1, 2, -1]), list(&[0, 1, 2]));
    let (stride, kernel_dilation) = (list(&[1, 1, 2]), list(&[1, 1, 2]));
    let input_dilation = list(&[1, 1, 2]);
    let options = ConvGeneralOptions {
        stride: stride.into(),
        padding_low: low.clone().into(),
        padding_high: high.clone().into(),
        kernel_dilation: kernel_dilation.into(),
        input_dilation: input_dilation.into(),
        groups,
        flip: random.below(4) == 0,
    };
    let x_shape = [&[2], &*input, &[channels]].concat();
    let w_shape = [&[outputs], &*kernel, &[channels / groups]].concat();
    let x = random.view(&x_shape, dtype, Values::Plain);
    let w = random.view(&w_shape, dtype, Values::Plain);
    let what = format!("conv {dtype} {x_shape:?} {w_shape:?} {low:?} {high:?} {groups}");
    let tol = tolerance(dtype, 2e-5) * 4.0;
    results.keep(what.clone(), tol, Ok(x.conv_general(&w, options.clone())));
    if dtype == Dtype::Float32 {
        let (weight, fixed, same) = (w.clone(), x.clone(), options.clone());
        let of_x = grad_of(move |x| x.conv_general(&weight, same.clone()), &x);
        results.keep(format!("{what} grad x"), 1e-4, of_x);
        let of_w = grad_of(move |w| fixed.conv_general(w, options.clone()), &w);
        results.keep(format!("{what} grad w"), 1e-4, of_w);
    }
}

/// Convolutions over one axis.
fn one_axis(results: &mut Results, random: &mut Random) {
    let dtype = random.of(&[
        Dtype::Float32,
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Bfloat16,
    ]);
    let groups = random.of(&[1, 1, 2, 3]);
    let (channels, outputs) = (
        groups * random.of(&[1, 2, 5]),
        groups * random.of(&[1, 3, 8]),
    );
    let (length, kernel) = (random.of(&[1, 4, 9, 31]), random.of(&[1, 2, 3, 5]));
    let (low, high) = (random.of(&[0, 1, 2, -1]), random.of(&[0, 1, 2, -1]));
    let high = if random.below(2) == 0 { low } else { high };
    let options = ConvGeneralOptions {
        stride: random.of(&[1, 2, 3]).into(),
        padding_low: low.into(),
        padding_high: high.into(),
        kernel_dilation: random.of(&[1, 2]).into(),
        input_dilation: random.of(&[1, 1, 1, 2]).into(),
        groups,
        flip: random.below(5) == 0,
    };
    let batch = random.of(&[1, 2, 3]);
    let x = random.view(&[batch, length, channels], dtype, Values::Plain);
    let w = random.view(&[outputs, kernel, channels / groups], dtype, Values::Plain);
    let what = format!(
        "conv {dtype} {batch} {length} {channels} {outputs} {kernel} {low} {high} {groups}"
    );
    results.keep(
        what.clone(),
        tolerance(dtype, 2e-5) * 4.0,
        Ok(x.conv_general(&w, options.clone())),
    );
    if dtype == Dtype::Float32 {
        let (weight, same) = (w.clone(), options.clone());
        results.keep(
            format!("{what} grad x"),
            1e-4,
            grad_of(move |x| x.conv_general(&weight, same.clone()), &x),
        );
        results.keep(
            format!("{what} grad w"),
            1e-4,
            grad_of(move |w| x.conv_general(w, options.clone()), &w),
        );
    }
}
