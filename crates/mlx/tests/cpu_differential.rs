//! Kernels of ours against MLX's own code: hundreds of operations over random shapes, dtypes, views and values, computed
//! here and, with `MLX_HOST_KERNELS=0`, in a child process, must agree.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions};
use mlx::index::Slice;
use mlx::{
    Array, CompiledClosure, ConvGeneralOptions, Device, Dtype, Quantization, Result, grad, jvp,
    vmap,
};

const FLOATS: [Dtype; 3] = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];

/// What numbers a case is made of.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    Plain,
    /// With infinities, NaN, both zeros, subnormal and very large ones between.
    Special,
}

/// Xorshift: the same numbers in both processes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn number(&mut self, values: Values) -> f32 {
        const SPECIAL: [f32; 12] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0,
            -0.0,
            1e-40,
            -1e-40,
            6e-8,
            3e38,
            -3e38,
            65504.0,
            -1e4,
        ];
        if values == Values::Special && self.below(4) == 0 {
            return self.of(&SPECIAL);
        }
        (self.next() >> 40) as f32 / (1 << 22) as f32 - 2.0
    }

    fn plain(&mut self, shape: &[i32], values: Values) -> Array {
        let size = shape.iter().product::<i32>() as usize;
        let data: Vec<f32> = (0..size).map(|_| self.number(values)).collect();
        Array::from_slice(&data, shape.to_vec()).unwrap()
    }

    /// An array that lies in memory in one of many ways.
    fn view(&mut self, shape: &[i32], dtype: Dtype, values: Values) -> Array {
        let ndim = shape.len();
        if ndim == 0 {
            return self.plain(shape, values).astype(dtype);
        }
        let axis = self.below(ndim);
        let mut bigger = shape.to_vec();
        match self.below(9) {
            0 => {
                bigger.reverse();
                self.plain(&bigger, values).astype(dtype).t()
            }
            1 => {
                bigger[axis] *= 2;
                let x = self.plain(&bigger, values).astype(dtype);
                let every_other = Slice::new(None, None, 2);
                let moved = x.moveaxis(axis as i32, 0).i(every_other);
                moved.moveaxis(0, axis as i32)
            }
            2 => {
                bigger[axis] *= 2;
                let x = self.plain(&bigger, values).astype(dtype);
                x.split(2, axis as i32).unwrap().swap_remove(1)
            }
            3 => self.plain(shape, values).astype(dtype).flip([axis as i32]),
            4 => {
                bigger[axis] = 1;
                let x = self.plain(&bigger, values).astype(dtype);
                x.broadcast_to(shape.to_vec())
            }
            // From the middle down to the first.
            5 if shape[axis] > 0 => {
                let size = shape[axis];
                bigger[axis] *= 2;
                let x = self.plain(&bigger, values).astype(dtype);
                let down = Slice::new(i64::from(size) - 1, None, -1);
                x.moveaxis(axis as i32, 0).i(down).moveaxis(0, axis as i32)
            }
            // Rows that overlap.
            6 if shape.iter().all(|&size| size > 0) => {
                let size = shape.iter().map(|size| size + 1).sum::<i32>() + 3;
                let x = self.plain(&[size], values).astype(dtype);
                let strides: Vec<i64> = shape.iter().map(|_| 1).collect();
                x.as_strided(shape.to_vec(), strides, 2)
            }
            7 if dtype == Dtype::Float32 => {
                let x = self.plain(shape, values);
                x.view(Dtype::Uint32).view(Dtype::Float32)
            }
            _ => self.plain(shape, values).astype(dtype),
        }
    }

    fn shape(&mut self, ndim: usize) -> Vec<i32> {
        const SIZES: [i32; 11] = [0, 1, 1, 2, 3, 5, 8, 17, 33, 64, 129];
        let mut shape: Vec<i32> = (0..ndim).map(|_| self.of(&SIZES)).collect();
        while shape.iter().map(|&size| i64::from(size)).product::<i64>() > 40_000 {
            let largest = shape.iter().copied().max().unwrap();
            shape
                .iter_mut()
                .filter(|size| **size == largest)
                .for_each(|size| *size /= 2);
        }
        shape
    }
}

/// Results by name: a tolerance and the numbers, or what went wrong.
struct Results(BTreeMap<String, (f64, std::result::Result<Vec<f32>, String>)>);

impl Results {
    /// `tolerance` is relative to each number where `is_exact`, to the largest of all else.
    fn keep(&mut self, name: String, tolerance: f64, result: Result<Array>) {
        let numbers = result.and_then(|array| {
            let shape = array.shape()?;
            let mut numbers = array.astype(Dtype::Float32).to_vec::<f32>()?;
            numbers.extend(shape.iter().map(|&size| size as f32));
            Ok(numbers)
        });
        let numbers = numbers.map_err(|error| error.to_string());
        let n = self.0.len();
        self.0
            .insert(format!("{n:05} {name}"), (tolerance, numbers));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, (_, numbers)) in &self.0 {
            write!(text, "CASE {name}\t").unwrap();
            match numbers {
                Ok(numbers) => numbers
                    .iter()
                    .for_each(|x| write!(text, "{:08x}", x.to_bits()).unwrap()),
                Err(_) => text.push('!'),
            }
            text.push('\n');
        }
        text
    }
}

/// The same number, be it a zero of the other sign.
const SAME: f64 = -1e-11;
/// The same number and the same zero.
const EXACT: f64 = -1e-12;

/// Negative: relative to each number. Positive: to the largest.
fn tolerance(dtype: Dtype, single: f64) -> f64 {
    let least = match dtype {
        Dtype::Float16 => 2e-3,
        Dtype::Bfloat16 => 1.6e-2,
        _ => 0.0,
    };
    single.signum() * single.abs().max(least)
}

fn grad_of(function: impl Fn(&Array) -> Array + 'static, x: &Array) -> Result<Array> {
    // A weight on each result, so that no gradient is lost in a sum.
    grad(move |x: &Array| {
        let y = function(x).astype(Dtype::Float32).reshape([-1]);
        let n = y.size().unwrap_or(0);
        let weights: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() + 0.1).collect();
        (y * Array::from_slice(&weights, [n as i32]).unwrap()).sum(())
    })
    .call(x)
}

type One = fn(&Array) -> Array;

/// A function forwards, its derivatives, mapped and compiled.
fn transformed(results: &mut Results, name: &str, tol: f64, function: One, x: &Array) {
    results.keep(name.to_owned(), tol, Ok(function(x)));
    let slack = tol.abs() * 8.0;
    results.keep(format!("{name} grad"), slack, grad_of(function, x));
    let pushed = jvp(move |x: &Array| function(x), x, &(x * 0.5)).map(|(_, tangent)| tangent);
    results.keep(format!("{name} jvp"), slack, pushed);
    if x.ndim().unwrap() > 1 {
        for axis in 0..2 {
            let mapped = vmap(move |x: &Array| function(x)).in_axes(vec![Some(axis)]);
            results.keep(format!("{name} vmap {axis}"), tol.abs(), mapped.call(x));
        }
    }
    for is_shapeless in [false, true] {
        // MLX's own reduction over an axis of one element crashes in a shapeless function.
        if is_shapeless && x.shape().unwrap().contains(&1) {
            continue;
        }
        let compiled = CompiledClosure::new(move |x| Ok(vec![function(&x[0])]), is_shapeless);
        let result = compiled.and_then(|compiled| Ok(compiled.call(&[x])?.swap_remove(0)));
        results.keep(format!("{name} compiled {is_shapeless}"), tol, result);
    }
}

fn elementwise(results: &mut Results, random: &mut Random) {
    const ONE: [(&str, One); 15] = [
        ("exp", Array::exp),
        ("log", Array::log),
        ("sin", Array::sin),
        ("cos", Array::cos),
        ("tanh", Array::tanh),
        ("sigmoid", Array::sigmoid),
        ("erf", Array::erf),
        ("square", Array::square),
        ("sqrt", Array::sqrt),
        ("rsqrt", Array::rsqrt),
        ("negative", |x| -x),
        ("abs", Array::abs),
        ("gelu", |x| fast::gelu(x)),
        ("gelu_approx", |x| fast::gelu_approx(x)),
        ("silu", |x| fast::silu(x)),
    ];
    for (name, function) in ONE {
        for round in 0..14 {
            let ndim = random.below(4);
            let mut shape = random.shape(ndim);
            if round > 9 {
                shape = vec![67, 71];
            }
            let dtype = random.of(&FLOATS);
            let values = random.of(&[Values::Plain, Values::Special]);
            let x = random.view(&shape, dtype, values);
            let what = format!("{name} {dtype} {shape:?}");
            // MLX's own erf has no small numbers, and what is made of several operations rounds each.
            let is_loose = ["erf", "gelu", "gelu_approx"].contains(&name);
            let tol = tolerance(dtype, if is_loose { 6e-6 } else { -6e-6 });
            results.keep(what.clone(), tol, Ok(function(&x)));
            if round < 3 {
                let x = random.view(&shape, dtype, Values::Plain);
                transformed(results, &what, tolerance(dtype, 1e-5), function, &x);
            }
        }
        for dtype in [Dtype::Complex64, Dtype::Int32, Dtype::Uint8, Dtype::Bool] {
            let x = random.plain(&[80, 80], Values::Plain).astype(dtype);
            results.keep(format!("{name} {dtype}"), 1e-5, Ok(function(&x)));
        }
    }
    type Two = fn(&Array, &Array) -> Array;
    const TWO: [(&str, Two); 7] = [
        ("add", |a, b| a + b),
        ("subtract", |a, b| a - b),
        ("multiply", |a, b| a * b),
        ("divide", |a, b| a / b),
        ("maximum", |a, b| a.maximum(b)),
        ("minimum", |a, b| a.minimum(b)),
        ("swiglu", |a, b| fast::swiglu(a, b)),
    ];
    for (name, function) in TWO {
        for round in 0..24 {
            let ndim = 1 + random.below(3);
            let mut shape = random.shape(ndim);
            if round > 4 {
                shape = random
                    .of(&[&[65, 67][..], &[5000], &[17, 3, 129], &[2, 3, 5, 7, 29]])
                    .to_vec();
            }
            let dtype = random.of(&FLOATS);
            let values = if name == "swiglu" {
                Values::Plain
            } else {
                Values::Special
            };
            let a = random.view(&shape, dtype, values);
            let mut other = shape.clone();
            if random.below(3) == 0 {
                other = other[random.below(other.len())..].to_vec();
                let axis = random.below(other.len());
                other[axis] = 1;
            }
            let b = random.view(&other, dtype, values);
            let what = format!("{name} {dtype} {shape:?} {other:?}");
            let tol = match name {
                "swiglu" => tolerance(dtype, 6e-6),
                "maximum" | "minimum" => SAME,
                _ => EXACT,
            };
            results.keep(what, tol, Ok(function(&a, &b)));
        }
    }
}

fn along_axes(results: &mut Results, random: &mut Random) {
    const ONE: [(&str, One); 7] = [
        ("softmax", |x| x.softmax(-1)),
        ("softmax 0", |x| x.softmax(0)),
        ("logsumexp", |x| x.logsumexp(-1)),
        ("rms_norm", |x| fast::rms_norm(x, None, 1e-5)),
        ("layer_norm", |x| fast::layer_norm(x, None, None, 1e-5)),
        ("sum -1", |x| x.sum(-1)),
        ("max -1", |x| x.max(-1)),
    ];
    for (name, function) in ONE {
        for _ in 0..12 {
            let ndim = 1 + random.below(3);
            let shape = random.shape(ndim);
            let dtype = random.of(&FLOATS);
            let x = random.view(&shape, dtype, Values::Plain);
            let what = format!("{name} {dtype} {shape:?}");
            transformed(results, &what, tolerance(dtype, 2e-5), function, &x);
        }
        for dtype in FLOATS {
            // Where a sum overflows depends on its order.
            let rounds = if name.starts_with("sum") { 1 } else { 3 };
            for round in 0..rounds {
                let x = random.view(&[40, 33], dtype, Values::Special);
                let low = mlx::full([40, 33], f32::NEG_INFINITY).astype(dtype);
                let x = if round == 0 { low } else { x };
                // What is finite must not overflow on the way, where the order of the sum decides.
                let x = x.astype(Dtype::Float16).astype(dtype);
                results.keep(
                    format!("{name} {dtype} special {round}"),
                    tolerance(dtype, 2e-5),
                    Ok(function(&x)),
                );
            }
        }
    }
    let all: [&[i32]; 9] = [
        &[0],
        &[1],
        &[2],
        &[3],
        &[0, 1],
        &[1, 2],
        &[0, 2],
        &[1, 3],
        &[0, 1, 2, 3],
    ];
    for axes in all {
        for dtype in [
            Dtype::Float32,
            Dtype::Float16,
            Dtype::Bfloat16,
            Dtype::Int32,
            Dtype::Complex64,
        ] {
            for values in [Values::Plain, Values::Special] {
                let shape = random.of(&[
                    [3, 1, 33, 65],
                    [2, 5, 1, 129],
                    [8, 7, 6, 5],
                    [1, 2, 1300, 1],
                ]);
                let is_float = FLOATS.contains(&dtype);
                let x = if is_float {
                    random.view(&shape, dtype, values)
                } else {
                    random.plain(&shape, Values::Plain).astype(dtype)
                };
                let what = format!("{dtype} {shape:?} {axes:?} {}", values == Values::Special);
                // MLX adds half precision in half precision.
                let loose = tolerance(dtype, 2e-5)
                    * if is_float && dtype != Dtype::Float32 {
                        30.0
                    } else {
                        1.0
                    };
                // What is left of a sum over everything is small beside what was added.
                let loose = loose * if axes.len() == 4 { 100.0 } else { 1.0 };
                if values == Values::Plain {
                    results.keep(format!("sum {what}"), loose, Ok(x.sum(axes.to_vec())));
                    results.keep(format!("mean {what}"), loose, Ok(x.mean(axes.to_vec())));
                }
                results.keep(format!("max {what}"), SAME, Ok(x.max(axes.to_vec())));
                results.keep(format!("min {what}"), SAME, Ok(x.min(axes.to_vec())));
            }
        }
    }
}

fn products(results: &mut Results, random: &mut Random) {
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
        // With padding below 0, MLX gives gradients of another shape than the input.
        if dtype == Dtype::Float32 && low >= 0 && high >= 0 {
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

fn fused(results: &mut Results, random: &mut Random) {
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
            4 => AttentionMask::bool(&mlx::zeros([n, m], Dtype::Bool)),
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
            Ok(fast::scaled_dot_product_attention(&q, &k, &v, &options)),
        );
        if round % 2 == 0 {
            let (q1, k1, v1, same) = (q.clone(), k.clone(), v.clone(), options.clone());
            let of_k = move |k: &Array| fast::scaled_dot_product_attention(&q1, k, &v1, &same);
            results.keep(format!("{what} grad k"), tol * 4.0, grad_of(of_k, &k));
            let (v2, same) = (v.clone(), options.clone());
            let of_q = move |q: &Array| fast::scaled_dot_product_attention(q, &k1, &v2, &same);
            results.keep(format!("{what} grad q"), tol * 4.0, grad_of(of_q, &q));
            if let Some(sinks) = &options.sinks {
                let (mask, q, k, v) = (options.mask.clone(), q.clone(), k.clone(), v.clone());
                let of_sinks = move |sinks: &Array| {
                    let options = AttentionOptions {
                        mask: mask.clone(),
                        sinks: Some(sinks.clone()),
                        ..Default::default()
                    };
                    fast::scaled_dot_product_attention(&q, &k, &v, &options)
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

fn all_cases() -> Results {
    let mut results = Results(BTreeMap::new());
    let random = &mut Random(0x9E37_79B9_7F4A_7C15);
    elementwise(&mut results, random);
    along_axes(&mut results, random);
    products(&mut results, random);
    fused(&mut results, random);
    results
}

fn differs(got: &[f32], want: &[f32], tolerance: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("wanted {} numbers, got {}", want.len(), got.len()));
    }
    let finite = want.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0_f64, |most, &x| most.max(f64::from(x).abs()));
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let scale = if tolerance < 0.0 {
            f64::from(want).abs()
        } else {
            largest
        };
        let error = (f64::from(got) - f64::from(want)).abs();
        let is_same = got == want
            && (tolerance != EXACT
                || want != 0.0
                || got.is_sign_negative() == want.is_sign_negative());
        if !(is_same
            || got.is_nan() && want.is_nan()
            || error <= tolerance.abs() * scale.max(1e-37) && got != want)
        {
            return Some(format!("[{i}]: wanted {want:e}, got {got:e}"));
        }
    }
    None
}

#[test]
fn kernels_agree_with_what_they_replace() {
    if std::env::var("MLX_HOST_KERNELS").is_ok_and(|value| value == "0") {
        println!("\n{}", all_cases().text());
        return;
    }
    if Device::current().unwrap() != Device::Cpu {
        return;
    }
    let results = all_cases();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kernels_agree_with_what_they_replace",
            "--nocapture",
        ])
        .env("MLX_HOST_KERNELS", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut wrong = Vec::new();
    let mut n_compared = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("CASE ")) {
        let (name, numbers) = line.split_once('\t').unwrap();
        let Some((tolerance, got)) = results.0.get(name) else {
            wrong.push(format!("{name}: only there"));
            continue;
        };
        n_compared += 1;
        let want = (numbers != "!").then(|| {
            let hex = numbers
                .as_bytes()
                .chunks(8)
                .map(|hex| std::str::from_utf8(hex).unwrap());
            hex.map(|hex| f32::from_bits(u32::from_str_radix(hex, 16).unwrap()))
                .collect::<Vec<_>>()
        });
        match (got, want) {
            (Ok(got), Some(want)) => {
                if let Some(difference) = differs(got, &want, *tolerance) {
                    wrong.push(format!("{name} {difference}"));
                }
            }
            (Err(text), Some(_)) => wrong.push(format!("{name}: an error here only: {text}")),
            (Ok(_), None) => wrong.push(format!("{name}: an error there only")),
            (Err(_), None) => {}
        }
    }
    assert_eq!(n_compared, results.0.len());
    assert!(
        wrong.is_empty(),
        "{} of {n_compared} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// MLX takes such a view, whose elements lie densely, for one that starts at its first element and goes up.
#[test]
fn functions_of_a_view_that_goes_down_from_the_middle_are_right() {
    let numbers: Vec<f32> = (0..12_000).map(|i| (i as f32 * 0.01).sin()).collect();
    let x = Array::from_slice(&numbers, [12_000]).unwrap();
    let down = x.i(Slice::new(5999, None, -1));
    let functions: [(fn(&Array) -> Array, fn(f32) -> f32); 3] = [
        (Array::exp, f32::exp),
        (Array::square, |x| x * x),
        (Array::floor, f32::floor),
    ];
    for (function, exact) in functions {
        let got = function(&down).to_vec::<f32>().unwrap();
        for (i, got) in got.iter().enumerate() {
            let want = exact(numbers[5999 - i]);
            assert!((got - want).abs() < 1e-5, "[{i}]: wanted {want}, got {got}");
        }
    }
}

#[test]
fn threads_compute_while_others_fail() {
    let (rows, columns) = (40, 129);
    let make = move || {
        let x = Random(7).view(&[rows, columns], Dtype::Float32, Values::Plain);
        let y = fast::rms_norm(&x, None, 1e-5).exp().softmax(-1) + x.sum([0]);
        y.to_vec::<f32>().unwrap()
    };
    let want = make();
    std::thread::scope(|scope| {
        for thread in 0..5 {
            let (make, want) = (&make, &want);
            scope.spawn(move || {
                for _ in 0..200 {
                    if thread > 1 {
                        assert_eq!(make(), *want);
                        continue;
                    }
                    let logits = mlx::ones([3, 5], Dtype::Float32);
                    let targets = Array::from_slice(&[0, 7, 1], [3]).unwrap();
                    let failed = fast::cross_entropy(&logits, &targets).eval();
                    if let Err(error) = failed {
                        assert!(error.to_string().contains("cross_entropy"), "{error}");
                    } else {
                        assert_ne!(Device::current().unwrap(), Device::Cpu);
                    }
                }
            });
        }
    });
}
