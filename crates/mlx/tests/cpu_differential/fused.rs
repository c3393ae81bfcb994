//! Operations of `fast`.

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions};
use mlx::{Array, Dtype};

use super::{FLOATS, Random, Results, Values, grad_of, tolerance};

pub(super) fn fused(results: &mut Results, random: &mut Random) {
    for round in 0..80 {
        let dtype = random.of(&FLOATS);
        let (batch, kv, group) = (
            random.of(&[1, 2]),
            random.of(&[1, 2, 3]),
            random.of(&[1, 2, 4]),
        );
        let (n, m) = (random.of(&[1, 2, 7, 33]), random.of(&[1, 5, 33, 70]));
        let (dim, value_dim) = (random.of(&[1, 8, 16, 33]), random.of(&[1, 8, 16, 33]));
        let q = random.view(&[batch, kv * group, n, dim], dtype, Values::Plain);
        let k = random.view(&[batch, kv, m, dim], dtype, Values::Plain);
        let v = random.view(&[batch, kv, m, value_dim], dtype, Values::Plain);
        let mask_shape = random.of(&[[n, m], [1, m], [n, 1]]);
        let numbers = random.view(&mask_shape, dtype, Values::Plain);
        let heads = random.view(&[batch, kv * group, n, m], dtype, Values::Plain);
        let kind = random.below(7);
        let mask = match kind {
            0 => AttentionMask::none(),
            1 => AttentionMask::causal(),
            2 => AttentionMask::bool(&numbers.greater(0.3)),
            3 => AttentionMask::additive(&numbers),
            // Rows with no key at all.
            4 => AttentionMask::bool(&mlx::zeros_with([n, m], Dtype::Bool)),
            5 => AttentionMask::additive(&mlx::where_(
                &heads.greater(0.0),
                &heads,
                f32::NEG_INFINITY,
            )),
            _ => AttentionMask::causal()
                .and_window(3, None)
                .and_bool(&heads.greater(-1.0)),
        };
        let sinks =
            (random.below(3) == 0).then(|| random.view(&[kv * group], dtype, Values::Plain));
        let what = format!(
            "attention {dtype} {batch} {kv} {group} {n} {m} {dim} {value_dim} mask {kind} sinks {}",
            sinks.is_some()
        );
        let options = AttentionOptions {
            mask,
            sinks,
            ..Default::default()
        };
        let tol = tolerance(dtype, 2e-5) * 3.0;
        results.keep(
            what.clone(),
            tol,
            Ok(fast::scaled_dot_product_attention_with(
                &q, &k, &v, &options,
            )),
        );
        if round % 2 == 0 {
            let (q1, k1, v1, same) = (q.clone(), k.clone(), v.clone(), options.clone());
            let of_k = move |k: &Array| fast::scaled_dot_product_attention_with(&q1, k, &v1, &same);
            results.keep(format!("{what} grad k"), tol * 4.0, grad_of(of_k, &k));
            let (v2, same) = (v.clone(), options.clone());
            let of_q = move |q: &Array| fast::scaled_dot_product_attention_with(q, &k1, &v2, &same);
            results.keep(format!("{what} grad q"), tol * 4.0, grad_of(of_q, &q));
            if let Some(sinks) = &options.sinks {
                let (mask, q, k, v) = (options.mask.clone(), q.clone(), k.clone(), v.clone());
                let of_sinks = move |sinks: &Array| {
                    let options = AttentionOptions {
                        mask: mask.clone(),
                        sinks: Some(sinks.clone()),
                        ..Default::default()
                    };
                    fast::scaled_dot_product_attention_with(&q, &k, &v, &options)
                };
                results.keep(
                    format!("{what} grad sinks"),
                    tol * 8.0,
                    grad_of(of_sinks, sinks),
                );
            }
        }
    }
    for _ in 0..60 {
        let dtype = random.of(&FLOATS);
        let (batch, length, dim) = (
            random.of(&[1, 2, 3]),
            random.of(&[1, 2, 9]),
            random.of(&[8, 10, 33]),
        );
        let shape = if random.below(2) == 0 {
            vec![batch, length, dim]
        } else {
            vec![batch, 3, length, dim]
        };
        let dims = random.of(&[2, 6, 8]);
        let freqs = random.plain(&[dims / 2], Values::Plain).abs() + 0.5;
        let offsets: Vec<i32> = (0..batch).map(|_| random.of(&[0, 7, -5, 1000])).collect();
        let options = RopeOptions {
            dims: Some(dims),
            traditional: random.below(2) == 0,
            scale: random.of(&[1.0, 0.5, -2.0]),
            frequencies: if random.below(2) == 0 {
                1000.0.into()
            } else {
                freqs.into()
            },
            offset: if random.below(2) == 0 {
                offsets[0].into()
            } else {
                Array::from_slice(&offsets, [batch]).unwrap().into()
            },
        };
        let x = random.view(&shape, dtype, Values::Plain);
        let what = format!("rope {dtype} {shape:?} {dims}");
        results.keep(
            what.clone(),
            tolerance(dtype, 3e-4),
            Ok(fast::rope(&x, &options)),
        );
        results.keep(
            format!("{what} grad"),
            tolerance(dtype, 3e-4),
            grad_of(move |x| fast::rope(x, &options), &x),
        );
    }
    for _ in 0..40 {
        let dtype = random.of(&FLOATS);
        let (rows, classes) = (random.of(&[1, 2, 9]), random.of(&[1, 5, 33, 1000]));
        let is_single = dtype == Dtype::Float32;
        let values = random.of(&[
            Values::Plain,
            if is_single {
                Values::Special
            } else {
                Values::Plain
            },
        ]);
        let logits = random.view(&[rows, classes], dtype, values);
        let targets: Vec<i32> = (0..rows)
            .map(|_| random.below(classes as usize) as i32)
            .collect();
        let targets = Array::from_slice(&targets, [rows]).unwrap();
        let targets =
            targets.astype(random.of(&[Dtype::Int32, Dtype::Uint32, Dtype::Int64, Dtype::Uint8]));
        let targets = targets.minimum((classes - 1).min(255));
        let what = format!("cross_entropy {dtype} {rows} {classes}");
        results.keep(
            what.clone(),
            tolerance(dtype, 1e-5),
            Ok(fast::cross_entropy(&logits, &targets)),
        );
        results.keep(
            format!("{what} grad"),
            tolerance(dtype, 1e-5),
            grad_of(move |x| fast::cross_entropy(x, &targets), &logits),
        );
    }
    for bad in [-1, -5, 5, i32::MAX, i32::MIN] {
        let logits = random.plain(&[2, 5], Values::Plain);
        let targets = Array::from_slice(&[bad, 0], [2]).unwrap();
        results.keep(
            format!("cross_entropy target {bad}"),
            1e-5,
            Ok(fast::cross_entropy(&logits, &targets)),
        );
        results.keep(
            format!("cross_entropy target {bad} grad"),
            1e-5,
            grad_of(move |x| fast::cross_entropy(x, &targets), &logits),
        );
    }
    for dtype in FLOATS {
        for shape in [[3, 33], [1, 1], [17, 64]] {
            let x = random.view(&shape, dtype, Values::Plain);
            let w = random.view(&shape[1..], dtype, Values::Plain);
            let b = random.view(&shape[1..], dtype, Values::Plain);
            let tol = tolerance(dtype, 5e-5) * 4.0;
            let what = format!("{dtype} {shape:?}");
            for (has_w, has_b) in [(false, true), (true, false), (true, true)] {
                let (w, b) = (has_w.then(|| w.clone()), has_b.then(|| b.clone()));
                results.keep(
                    format!("layer_norm {what} {has_w} {has_b}"),
                    tol,
                    Ok(fast::layer_norm(&x, w.as_ref(), b.as_ref(), 1e-5)),
                );
                let of_x = {
                    let (w, b) = (w.clone(), b.clone());
                    move |x: &Array| fast::layer_norm(x, w.as_ref(), b.as_ref(), 1e-5)
                };
                results.keep(
                    format!("layer_norm {what} {has_w} {has_b} grad x"),
                    tol,
                    grad_of(of_x, &x),
                );
                if let Some(bias) = b.clone() {
                    let x = x.clone();
                    results.keep(
                        format!("layer_norm {what} {has_w} grad b"),
                        tol,
                        grad_of(move |b| fast::layer_norm(&x, w.as_ref(), b, 1e-5), &bias),
                    );
                }
            }
            let same = x.clone();
            results.keep(
                format!("rms_norm {what} grad w"),
                tol,
                grad_of(move |w| fast::rms_norm(&same, w, 1e-5), &w),
            );
        }
    }
}
