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
            Ok(mlx::addmm(&c, &a, &b, alpha, beta)),
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
        Ok(mlx::addmm(&bad, &a, &w.t(), 1.0, 0.0)),
    );
    results.keep(
        "addmm of 0 times NaN".to_owned(),
        1e-5,
        Ok(mlx::addmm(
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
        let dtype = random.of(&[Dtype::Float32, Dtype::Float32, Dtype::Float16]);
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
}
