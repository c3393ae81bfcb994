//! Random chains of views, writes and small operations give the same in programs of the CPU as one by one.
//!
//! Inputs come in row-major order, transposed, backwards and repeated. `CPU_PROGRAMS=20000` runs more, `CPU_PROGRAMS_SEED=17` one.

#[path = "random_graphs/random.rs"]
mod random;

use mlx::compiler_api::MaskMode;
use mlx::{Array, Dtype, Op, bind};
use mlx_compiler::{CompileOptions, KernelFusion, jit_with};
use random::Random;

const PROGRAMS: u64 = 300;

/// Operations applied one after the other. Values are inputs, then constants, then results.
#[derive(Clone, Debug)]
struct Program {
    steps: Vec<(Op, Vec<usize>)>,
    outputs: Vec<usize>,
}

impl Program {
    fn run(&self, constants: &[Array], inputs: &[Array]) -> Vec<Array> {
        let mut values: Vec<Array> = inputs.iter().chain(constants).cloned().collect();
        for (op, operands) in &self.steps {
            let operands: Vec<&Array> = operands.iter().map(|&value| &values[value]).collect();
            values.push(bind(op.clone(), &operands));
        }
        self.outputs
            .iter()
            .map(|&value| values[value].clone())
            .collect()
    }
}

struct Generator {
    random: Random,
    values: Vec<Array>,
    steps: Vec<(Op, Vec<usize>)>,
}

fn numbers(random: &mut Random, shape: &[i32], dtype: Dtype) -> Array {
    let n = shape.iter().product::<i32>();
    match dtype {
        Dtype::Bool => {
            let bits: Vec<bool> = (0..n).map(|_| random.percent(50)).collect();
            Array::from_slice(&bits, shape).unwrap()
        }
        _ => {
            let numbers: Vec<f32> = (0..n).map(|_| random.real() as f32).collect();
            Array::from_slice(&numbers, shape).unwrap().astype(dtype)
        }
    }
}

/// The same elements, lying otherwise.
fn laid(random: &mut Random, array: &Array) -> Array {
    let ndim = array.ndim().unwrap() as i32;
    let turned: Vec<i32> = (0..ndim).rev().collect();
    let turn = |array: &Array| {
        bind(
            Op::Transpose {
                axes: turned.clone(),
            },
            &[array],
        )
    };
    let back = |array: &Array| bind(Op::Flip { axes: vec![-1] }, &[array]);
    let fresh = |array: &Array| {
        bind(
            Op::Contiguous {
                allow_col_major: false,
            },
            &[array],
        )
    };
    let laid = match random.below(4) {
        0 if ndim > 1 => turn(&fresh(&turn(array))),
        1 if ndim > 0 => back(&fresh(&back(array))),
        2 if ndim > 1 => turn(&back(&fresh(&back(&turn(array))))),
        _ => array.clone(),
    };
    laid.eval().unwrap();
    laid
}

impl Generator {
    fn shape(&self, value: usize) -> Vec<i32> {
        self.values[value].shape().unwrap()
    }

    fn dtype(&self, value: usize) -> Dtype {
        self.values[value].dtype().unwrap()
    }

    /// A value that fits; later ones are likelier.
    fn value(&mut self, fits: impl Fn(&[i32], Dtype) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.values.len())
            .filter(|&value| fits(&self.shape(value), self.dtype(value)))
            .collect();
        let (a, b) = (
            self.random.below(found.len()),
            self.random.below(found.len()),
        );
        found.get(a.max(b)).copied()
    }

    fn like(&mut self, shape: &[i32], dtype: Dtype) -> Option<usize> {
        self.value(|other, found| other == shape && found == dtype)
    }

    /// Adds a step unless MLX refuses it or the result is too large.
    fn push(&mut self, op: Op, operands: &[usize]) -> Option<usize> {
        let arrays: Vec<&Array> = operands.iter().map(|&value| &self.values[value]).collect();
        let result = bind(op.clone(), &arrays);
        result.eval().ok()?;
        if result.size().ok()? > 2000 || result.ndim().ok()? > 5 {
            return None;
        }
        self.values.push(result);
        self.steps.push((op, operands.to_vec()));
        Some(self.values.len() - 1)
    }

    fn step(&mut self) -> Option<usize> {
        match self.random.below(10) {
            0..=2 => self.view(),
            3 => self.write(),
            4 => self.write_where_told(),
            5 | 6 => self.elementwise(),
            7 => self.product(),
            8 => self.attention(),
            _ => self.kernel(),
        }
    }

    fn view(&mut self) -> Option<usize> {
        let x = self.value(|shape, _| !shape.is_empty())?;
        let shape = self.shape(x);
        let ndim = shape.len();
        let axis = self.random.below(ndim) as i32;
        let op = match self.random.below(10) {
            0 => Op::Reshape { shape: vec![-1] },
            1 => Op::Flatten {
                start_axis: 0,
                end_axis: axis,
            },
            2 => {
                let mut axes: Vec<i32> = (0..ndim as i32).collect();
                axes.rotate_left(axis as usize);
                if self.random.percent(50) {
                    axes.iter_mut().for_each(|axis| *axis -= ndim as i32);
                }
                Op::Transpose { axes }
            }
            3 => Op::Swapaxes {
                axis1: axis,
                axis2: -1,
            },
            4 => Op::Moveaxis {
                source: axis - ndim as i32,
                destination: 0,
            },
            5 => Op::ExpandDims { axes: vec![axis] },
            6 => {
                let ones = (0..ndim as i32).filter(|&axis| shape[axis as usize] == 1);
                Op::Squeeze {
                    axes: ones.collect(),
                }
            }
            7 => {
                let mut wide = shape.clone();
                wide.iter_mut()
                    .for_each(|size| *size = if *size == 1 { 3 } else { *size });
                wide.insert(0, 2);
                Op::BroadcastTo { shape: wide }
            }
            8 => Op::StopGradient,
            _ => {
                let (start, stop, strides) = self.range(&shape);
                Op::Slice {
                    start,
                    stop,
                    strides,
                }
            }
        };
        self.push(op, &[x])
    }

    /// A range of each axis, perhaps counted from the end or beyond it.
    fn range(&mut self, shape: &[i32]) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
        let (mut start, mut stop, mut strides) = (Vec::new(), Vec::new(), Vec::new());
        for &size in shape {
            let first = self.random.below(size as usize + 1) as i32;
            let end = first + self.random.below((size - first) as usize + 1) as i32;
            let whole = self.random.percent(60);
            start.push(match self.random.below(4) {
                _ if whole => 0,
                0 if first < size => first - size,
                _ => first,
            });
            stop.push(match self.random.below(4) {
                _ if whole => size,
                0 if end < size => end - size,
                1 if end == size => size + 2,
                _ => end,
            });
            strides.push(if self.random.percent(70) { 1 } else { 2 });
        }
        (start, stop, strides)
    }

    fn write(&mut self) -> Option<usize> {
        let x = self.value(|shape, _| !shape.is_empty())?;
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let (start, stop, strides) = self.range(&shape);
        let part = bind(
            Op::Slice {
                start: start.clone(),
                stop: stop.clone(),
                strides: strides.clone(),
            },
            &[&self.values[x]],
        );
        let mut wanted = part.shape().ok()?;
        if self.random.percent(40) {
            // MLX repeats an update.
            let axis = self.random.below(wanted.len());
            wanted[axis] = 1;
        }
        let update = match self.value(|other, found| *other == *wanted && found == dtype) {
            Some(update) if self.random.percent(50) => update,
            _ => {
                let like = self.value(|_, found| found == dtype)?;
                let one = self.push(Op::Reshape { shape: vec![-1] }, &[like])?;
                let n: i32 = wanted.iter().product();
                let cut = Op::Slice {
                    start: vec![0],
                    stop: vec![n],
                    strides: vec![1],
                };
                let cut = self.push(cut, &[one])?;
                self.push(Op::Reshape { shape: wanted }, &[cut])?
            }
        };
        let op = Op::SliceUpdate {
            start,
            stop,
            strides,
        };
        self.push(op, &[x, update])
    }

    fn write_where_told(&mut self) -> Option<usize> {
        let at = self.value(|shape, dtype| shape == [1] && dtype == Dtype::Int32)?;
        let x = self.value(|shape, dtype| !shape.is_empty() && dtype != Dtype::Int32)?;
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let update = self.value(|other, found| other.len() == shape.len() && found == dtype)?;
        let axis = self.random.below(shape.len()) as i32;
        self.push(
            Op::SliceUpdateDynamic { axes: vec![axis] },
            &[x, update, at],
        )
    }

    fn elementwise(&mut self) -> Option<usize> {
        let x = self.value(|_, dtype| dtype.is_floating())?;
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let fits = |other: &[i32], found: Dtype| {
            let pairs = other.iter().rev().zip(shape.iter().rev());
            found == dtype && pairs.into_iter().all(|(a, b)| a == b || *a == 1 || *b == 1)
        };
        let y = self.value(fits)?;
        match self.random.below(9) {
            0 => self.push(Op::Add, &[x, y]),
            1 => self.push(Op::Multiply, &[x, y]),
            2 => self.push(Op::Maximum, &[x, y]),
            3 => self.push(Op::Tanh, &[x]),
            4 => self.push(Op::Less, &[x, y]),
            5 => {
                let at = self.value(|other, found| found == Dtype::Bool && *other == *shape)?;
                self.push(Op::Where, &[at, x, y])
            }
            6 => self.push(Op::LogicalNot, &[x]),
            7 => {
                let dtypes = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];
                let dtype = *self.random.pick(&dtypes);
                self.push(Op::Astype { dtype }, &[x])
            }
            _ => self.push(Op::Subtract, &[y, x]),
        }
    }

    fn product(&mut self) -> Option<usize> {
        let x = self.value(|shape, dtype| dtype.is_floating() && shape.len() >= 2)?;
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let inner = *shape.last()?;
        if self.random.percent(60) {
            let rows =
                self.value(|other, found| other.len() == 2 && other[1] == inner && found == dtype)?;
            let w = self.push(Op::Transpose { axes: vec![1, 0] }, &[rows])?;
            if self.random.percent(40) {
                let n = self.shape(w)[1];
                let c = self.value(|other, found| {
                    found == dtype && other.last().is_none_or(|&last| last == n || last == 1)
                })?;
                let op = Op::Addmm {
                    alpha: 0.5,
                    beta: 2.0,
                };
                return self.push(op, &[c, x, w]);
            }
            return self.push(Op::Matmul, &[x, w]);
        }
        let w = self.value(|other, found| other.first() == Some(&inner) && found == dtype)?;
        self.push(Op::Matmul, &[x, w])
    }

    fn attention(&mut self) -> Option<usize> {
        let q = self.value(|shape, dtype| shape.len() == 4 && dtype.is_floating())?;
        let (shape, dtype) = (self.shape(q), self.dtype(q));
        let k = self.like(&shape, dtype)?;
        let v = self.like(&shape, dtype)?;
        let length = shape[2];
        let mask = self.value(|other, found| {
            found == Dtype::Bool
                && other.last() == Some(&length)
                && (other.len() == 1 || *other == [length, length])
        });
        let sinks = self.like(&[shape[1]], Dtype::Float32);
        let sinks = sinks.filter(|_| dtype == Dtype::Float32 && self.random.percent(30));
        let mut operands = vec![q, k, v];
        operands.extend(mask);
        operands.extend(sinks);
        let mask = match mask {
            Some(_) => MaskMode::Array,
            None if self.random.percent(50) => MaskMode::Causal,
            None => MaskMode::None,
        };
        let op = Op::ScaledDotProductAttention {
            scale: 0.5,
            mask,
            sinks: sinks.is_some(),
            force_fused: false,
        };
        self.push(op, &operands)
    }

    fn kernel(&mut self) -> Option<usize> {
        let x = self.value(|shape, dtype| !shape.is_empty() && dtype.is_floating())?;
        let (shape, dtype) = (self.shape(x), self.dtype(x));
        let last = *shape.last()?;
        let weight = self.like(&[last], dtype);
        match self.random.below(6) {
            0 => {
                let mut operands = vec![x];
                operands.extend(weight);
                self.push(Op::RmsNorm { eps: 1e-3 }, &operands)
            }
            1 => {
                let mut operands = vec![x];
                operands.extend(weight);
                let op = Op::LayerNorm {
                    weight: weight.is_some(),
                    bias: false,
                    eps: 1e-3,
                };
                self.push(op, &operands)
            }
            2 => {
                let axes = vec![if self.random.percent(80) { -1 } else { 0 }];
                let precise = self.random.percent(50);
                self.push(Op::Softmax { axes, precise }, &[x])
            }
            3 => self.push(Op::Gelu, &[x]),
            4 => {
                let gate = self.like(&shape, dtype)?;
                self.push(Op::SwiGlu, &[gate, x])
            }
            _ => {
                let first = shape[0];
                let offset = self.value(|other, found| {
                    found == Dtype::Int32 && (other == [1] || other.is_empty() || other == [first])
                })?;
                let op = Op::Rope {
                    dims: last / 2 * 2,
                    traditional: self.random.percent(50),
                    base: Some(100.0),
                    scale: 1.0,
                    freqs: false,
                };
                self.push(op, &[x, offset])
            }
        }
    }
}

/// A program, constants that it holds, and inputs.
fn generated(seed: u64) -> (Program, Vec<Array>, Vec<Array>) {
    let mut random = Random::new(seed);
    let dtype = *random.pick(&[
        Dtype::Float32,
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Bfloat16,
    ]);
    let sizes: Vec<i32> = (0..5).map(|_| *random.pick(&[1, 2, 3, 4, 8, 5])).collect();
    let empty = random.percent(5);
    let dims = |random: &mut Random| -> Vec<i32> {
        let n = 1 + random.below(4);
        let mut shape: Vec<i32> = (0..n).map(|axis| sizes[axis + 1 - n.min(1)]).collect();
        if empty {
            shape[0] = 0;
        }
        shape
    };
    let mut inputs = Vec::new();
    for _ in 0..2 + random.below(3) {
        let shape = dims(&mut random);
        let given = numbers(&mut random, &shape, dtype);
        inputs.push(laid(&mut random, &given));
    }
    inputs.push(Array::from_slice(&[random.below(3) as i32], [1]).unwrap());
    if random.percent(20) {
        inputs.push(inputs[0].clone());
    }
    let mut constants = Vec::new();
    for _ in 0..2 {
        let shape = dims(&mut random);
        let given = numbers(&mut random, &shape, dtype);
        constants.push(laid(&mut random, &given));
    }
    let last = *sizes.get(random.below(5)).unwrap();
    constants.push(numbers(&mut random, &[last], Dtype::Bool));
    let steps = 3 + random.below(10);
    let mut generator = Generator {
        random,
        values: inputs.iter().chain(&constants).cloned().collect(),
        steps: Vec::new(),
    };
    for _ in 0..100 {
        if generator.steps.len() >= steps {
            break;
        }
        generator.step();
    }
    let n = generator.values.len();
    let mut outputs = vec![n - 1];
    for _ in 0..generator.random.below(4) {
        let output = generator.random.below(n);
        outputs.push(output);
    }
    let program = Program {
        steps: generator.steps,
        outputs,
    };
    (program, constants, inputs)
}

fn difference(one: &Array, other: &Array) -> Option<String> {
    let (a, b) = (one.array_type().unwrap(), other.array_type().unwrap());
    if a != b {
        return Some(format!("got {a}, want {b}"));
    }
    let most = match a.dtype {
        Dtype::Float16 => 4e-3,
        Dtype::Bfloat16 => 3e-2,
        Dtype::Float32 => 2e-5,
        _ => 0.0,
    };
    let read = |array: &Array| array.astype(Dtype::Float32).to_vec::<f32>();
    let (one, other) = match (read(one), read(other)) {
        (Ok(one), Ok(other)) => (one, other),
        (one, other) => return Some(format!("{:?} {:?}", one.err(), other.err())),
    };
    let pairs = one.iter().zip(&other).enumerate();
    pairs
        .map(|(at, (&a, &b))| (at, a, b))
        .find(|&(_, a, b)| {
            let same = a == b || a.is_nan() && b.is_nan();
            let within = (a - b).abs() <= most * (1.0 + b.abs());
            !(same || within)
        })
        .map(|(at, a, b)| format!("element {at}: got {a}, want {b}"))
}

fn check(seed: u64) -> (usize, Option<String>) {
    let (program, constants, inputs) = generated(seed);
    let function = |inputs: &Vec<Array>| program.run(&constants, inputs);
    let plain = CompileOptions {
        kernel_fusion: KernelFusion::Off,
        ..CompileOptions::default()
    };
    let wanted = match jit_with(function, plain).call(&inputs) {
        Ok(wanted) => wanted,
        Err(error) => return (0, Some(format!("plain: {error}"))),
    };
    let before: Vec<Vec<f32>> = inputs.iter().map(read_all).collect();
    let compiled = jit_with(function, CompileOptions::default());
    for call in 0..2 {
        let got = match compiled.call(&inputs) {
            Ok(got) => got,
            Err(error) => return (0, Some(format!("call {call}: {error}"))),
        };
        for (index, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            if let Some(text) = difference(got, wanted) {
                return (0, Some(format!("call {call}, output {index}: {text}")));
            }
        }
    }
    if before != inputs.iter().map(read_all).collect::<Vec<_>>() {
        return (0, Some("inputs have changed".to_owned()));
    }
    // Arrays that nobody else holds may be written.
    let own: Vec<Array> = inputs
        .iter()
        .map(|input| {
            let own = bind(
                Op::Contiguous {
                    allow_col_major: false,
                },
                &[&(input + mlx::zeros_like(input))],
            );
            own.eval().unwrap();
            own
        })
        .collect();
    let got = compiled.call(&own).unwrap();
    drop(own);
    for (index, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        if let Some(text) = difference(got, wanted) {
            return (0, Some(format!("own inputs, output {index}: {text}")));
        }
    }
    let made = compiled.report().map_or(0, |report| report.programs.len());
    (made, None)
}

fn read_all(array: &Array) -> Vec<f32> {
    let numbers = array.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    numbers
        .iter()
        .map(|x| if x.is_nan() { 7.0 } else { *x })
        .collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_chains_give_the_same_in_programs() {
    let seeds: Vec<u64> = match variable("CPU_PROGRAMS_SEED") {
        Some(seed) => vec![seed],
        None => (0..variable("CPU_PROGRAMS").unwrap_or(PROGRAMS)).collect(),
    };
    let (mut made, mut failed) = (0, Vec::new());
    for seed in &seeds {
        let (n, failure) = check(*seed);
        made += n;
        if let Some(text) = failure {
            failed.push(format!("seed {seed}: {text}\n{:?}", generated(*seed).0));
        }
    }
    println!("{} chains, {made} programs", seeds.len());
    assert!(
        failed.is_empty(),
        "{} failed\n{}",
        failed.len(),
        failed
            .iter()
            .take(12)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}
