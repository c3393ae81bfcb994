//! Kernels of ours against MLX's own code: hundreds of operations over random shapes, dtypes, views and values, computed
//! here and, with `MLX_HOST_KERNELS=0`, in a child process, must agree.

mod along_axes;
mod data;
mod elementwise;
mod fused;
mod order;
mod products;
mod scatter;
mod typed;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use mlx::compiler_api::CompiledClosure;
use mlx::fast;
use mlx::index::Slice;
use mlx::{Array, Device, Dtype, Result, grad, jvp, vmap};

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
    let compiled = CompiledClosure::new(move |x| Ok(vec![function(&x[0])]));
    let result = compiled.and_then(|compiled| Ok(compiled.call(&[x])?.swap_remove(0)));
    results.keep(format!("{name} compiled"), tol, result);
}

fn all_cases() -> Results {
    let mut results = Results(BTreeMap::new());
    let random = &mut Random(0x9E37_79B9_7F4A_7C15);
    elementwise::elementwise(&mut results, random);
    along_axes::along_axes(&mut results, random);
    data::moved(&mut results, random);
    data::reduced(&mut results, random);
    scatter::scattered(&mut results, random);
    products::products(&mut results, random);
    fused::fused(&mut results, random);
    typed::typed(&mut results, random);
    order::order(&mut results, random);
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
    if !mlx::cpu::are_kernels_enabled() {
        println!("\n{}", all_cases().text());
        return;
    }
    if Device::current().unwrap() != Device::Cpu {
        return;
    }
    let results = all_cases();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--nocapture", "kernels_agree_with_what_they_replace"])
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
    type Pair = (fn(&Array) -> Array, fn(f32) -> f32);
    let functions: [Pair; 3] = [
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
                    let logits = mlx::ones([3, 5]);
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
