//! Makes a random program out of a seed.

use mlx::{Array, ArrayType, Dtype, Op};
use mlx_interpreter::Tensor;

use super::formulas;
use super::program::{Operand, Program, Source, Step, random_tensor};
use super::random::Random;

/// No result may be greater, so that half precision does not overflow and errors stay in proportion.
const GREATEST: f64 = 30.0;
const MOST_ELEMENTS: usize = 400;

/// A program being made, with the values of all steps.
pub struct Builder {
    pub random: Random,
    pub program: Program,
    arrays: Vec<Array>,
    types: Vec<ArrayType>,
    /// The elements of each value.
    numbers: Vec<Vec<f64>>,
}

pub fn program(seed: u64) -> Program {
    let mut builder = Builder::new(seed);
    builder.begin();
    let n_steps = 4 + builder.random.below(14);
    let n_formulas = 1 + builder.random.below(2);
    for k in 0..n_steps {
        if k * n_formulas / n_steps.max(1) < (k + 1) * n_formulas / n_steps.max(1) {
            formulas::plant(&mut builder);
        } else {
            builder.step();
        }
    }
    builder.finish()
}

impl Builder {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            program: Program::default(),
            arrays: Vec::new(),
            types: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// One to three inputs; the first is floating.
    fn begin(&mut self) {
        let n = 1 + self.random.below(3);
        for k in 0..n {
            let ndim = 1 + self.random.below(3);
            let shape: Vec<i32> = (0..ndim)
                .map(|_| *self.random.pick(&[1, 2, 3, 4, 8]))
                .collect();
            let dtype = if k == 0 {
                self.floating()
            } else {
                self.any_dtype()
            };
            self.source(&ArrayType::new(shape, dtype), false);
        }
    }

    pub fn floating(&mut self) -> Dtype {
        *self.random.pick(&[
            Dtype::Float32,
            Dtype::Float32,
            Dtype::Float32,
            Dtype::Float16,
            Dtype::Bfloat16,
        ])
    }

    fn any_dtype(&mut self) -> Dtype {
        if self.random.percent(60) {
            return self.floating();
        }
        *self.random.pick(&[
            Dtype::Int32,
            Dtype::Int8,
            Dtype::Uint8,
            Dtype::Int64,
            Dtype::Bool,
        ])
    }

    /// Adds an input or a constant of random elements.
    pub fn source(&mut self, array_type: &ArrayType, constant: bool) -> usize {
        let tensor = random_tensor(&mut self.random, array_type);
        self.given(tensor, constant)
    }

    /// Adds an input or a constant.
    pub fn given(&mut self, tensor: Tensor, constant: bool) -> usize {
        self.arrays.push(tensor.to_array().unwrap());
        self.types.push(tensor.array_type());
        self.numbers.push(tensor.to_f64());
        self.program.values.push(if constant {
            Source::Constant(tensor)
        } else {
            Source::Input(tensor)
        });
        self.arrays.len() - 1
    }

    /// Adds an input or a constant, either.
    pub fn fresh(&mut self, shape: &[i32], dtype: Dtype) -> usize {
        let constant = self.random.percent(50);
        self.source(&ArrayType::new(shape.to_vec(), dtype), constant)
    }

    pub fn array_type(&self, value: usize) -> &ArrayType {
        &self.types[value]
    }

    pub fn shape(&self, value: usize) -> Vec<i32> {
        self.types[value].shape.to_vec()
    }

    pub fn dtype(&self, value: usize) -> Dtype {
        self.types[value].dtype
    }

    /// Adds a step, unless MLX refuses it or its result is too large, not finite, or of too many elements.
    pub fn push(&mut self, op: Op, operands: Vec<Operand>) -> Option<usize> {
        let step = Step { op, operands };
        let array = step.apply(&self.arrays).ok()?;
        let array_type = array.array_type().ok()?;
        let n: usize = array_type.shape.iter().map(|&n| n as usize).product();
        if n == 0 || n > MOST_ELEMENTS {
            return None;
        }
        let numbers = Tensor::of(&array).ok()?.to_f64();
        if numbers.iter().any(|x| !x.is_finite() || x.abs() > GREATEST) {
            return None;
        }
        self.arrays.push(array);
        self.types.push(array_type);
        self.numbers.push(numbers);
        self.program.values.push(Source::Step(step));
        Some(self.arrays.len() - 1)
    }

    pub fn apply(&mut self, op: Op, values: &[usize]) -> Option<usize> {
        self.push(op, values.iter().map(|&k| Operand::Value(k)).collect())
    }

    /// A step with a number, of the value's dtype, on its right side.
    pub fn with_number(&mut self, op: Op, value: usize, number: f64) -> Option<usize> {
        let dtype = self.dtype(value);
        self.push(
            op,
            vec![Operand::Value(value), Operand::Number(number, dtype)],
        )
    }

    /// A step with a number on its left side.
    pub fn number_with(&mut self, op: Op, number: f64, value: usize) -> Option<usize> {
        let dtype = self.dtype(value);
        self.push(
            op,
            vec![Operand::Number(number, dtype), Operand::Value(value)],
        )
    }

    /// A value that meets a condition; later ones are likelier.
    fn value(&mut self, fits: impl Fn(&ArrayType) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.types.len())
            .filter(|&k| fits(&self.types[k]))
            .collect();
        if found.is_empty() {
            return None;
        }
        let (a, b) = (
            self.random.below(found.len()),
            self.random.below(found.len()),
        );
        Some(found[a.max(b)])
    }

    pub fn floating_value(&mut self) -> Option<usize> {
        self.value(|t| t.dtype.is_floating())
    }

    fn integer_value(&mut self) -> Option<usize> {
        self.value(|t| t.dtype.is_integer())
    }

    fn least(&self, value: usize) -> f64 {
        self.numbers[value]
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min)
    }

    fn greatest(&self, value: usize) -> f64 {
        self.numbers[value]
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }

    fn least_size(&self, value: usize) -> f64 {
        self.numbers[value]
            .iter()
            .map(|x| x.abs())
            .fold(f64::INFINITY, f64::min)
    }

    /// Adds some step; nothing where its inputs do not fit.
    fn step(&mut self) -> Option<usize> {
        match self.random.below(12) {
            0..=2 => self.unary(),
            3..=5 => self.binary(),
            6 | 7 => self.reduction(),
            8 => self.movement(),
            9 => self.product(),
            10 => self.integers(),
            _ => self.other(),
        }
    }

    fn unary(&mut self) -> Option<usize> {
        let x = self.floating_value()?;
        let (least, greatest, size) = (self.least(x), self.greatest(x), self.least_size(x));
        // Not `erf`, whose error in MLX is a small number and not a small part; it is inside of gelu.
        let mut ops = vec![
            Op::Negative,
            Op::Abs,
            Op::Square,
            Op::Tanh,
            Op::Sigmoid,
            Op::Sin,
            Op::Cos,
            Op::Arctan,
        ];
        if greatest < 3.0 {
            ops.extend([Op::Exp, Op::Expm1]);
        }
        if least > 0.1 {
            ops.extend([Op::Log, Op::Sqrt, Op::Rsqrt]);
        }
        if least > -0.5 {
            ops.push(Op::Log1p);
        }
        if size > 0.2 {
            ops.push(Op::Reciprocal);
        }
        let op = self.random.pick(&ops).clone();
        self.apply(op, &[x])
    }

    fn binary(&mut self) -> Option<usize> {
        let x = self.floating_value()?;
        let ops = [
            Op::Add,
            Op::Subtract,
            Op::Multiply,
            Op::Maximum,
            Op::Minimum,
            Op::Divide,
        ];
        let op = self.random.pick(&ops).clone();
        if self.random.percent(35) {
            let number = *self
                .random
                .pick(&[0.5, 2.0, 1.0, 0.0, -1.0, 3.0, 0.25, 1e-5]);
            if op == Op::Divide && number == 0.0 {
                return None;
            }
            if self.random.percent(70) {
                return self.with_number(op, x, number);
            }
            return if op == Op::Divide && self.least_size(x) < 0.2 {
                None
            } else {
                self.number_with(op, number, x)
            };
        }
        let shape = self.shape(x);
        let y = self.value(|t| t.dtype != Dtype::Bool && broadcasts(&t.shape, &shape))?;
        if op == Op::Divide && self.least_size(y) < 0.2 {
            return None;
        }
        self.apply(op, &[x, y])
    }

    /// Some axes of a value, at least one.
    fn some_axes(&mut self, ndim: usize) -> Vec<i32> {
        let ndim = ndim as i32;
        match self.random.below(3) {
            0 => vec![-1],
            1 => vec![self.random.below(ndim as usize) as i32],
            _ => (0..ndim).collect(),
        }
    }

    fn reduction(&mut self) -> Option<usize> {
        let x = self.value(|t| t.dtype.is_floating() && !t.shape.is_empty())?;
        let (axes, keepdims) = (self.some_axes(self.shape(x).len()), self.random.percent(70));
        // MLX adds up half precision in half precision, so the error of a long sum is its own.
        let n: i32 = self.shape(x).iter().product();
        if n > 32 && self.dtype(x) != Dtype::Float32 {
            return None;
        }
        let op = match self.random.below(7) {
            0 => Op::Sum { axes, keepdims },
            1 => Op::Mean { axes, keepdims },
            2 => Op::Max { axes, keepdims },
            3 => Op::Min { axes, keepdims },
            4 => Op::Logsumexp { axes, keepdims },
            5 => Op::Softmax {
                axes,
                precise: self.random.percent(50),
            },
            // In half precision MLX rounds every step inside.
            _ if self.dtype(x) != Dtype::Float32 => return None,
            _ => Op::Var {
                axes,
                keepdims,
                ddof: 0,
            },
        };
        self.apply(op, &[x])
    }

    fn movement(&mut self) -> Option<usize> {
        let x = self.value(|t| !t.shape.is_empty())?;
        let shape = self.shape(x);
        let last = shape.len() - 1;
        let op = match self.random.below(9) {
            0 => Op::Reshape { shape: vec![-1] },
            1 => {
                let mut axes: Vec<i32> = (0..shape.len() as i32).collect();
                let by = self.random.below(shape.len());
                axes.rotate_left(by);
                Op::Transpose { axes }
            }
            2 => Op::ExpandDims {
                axes: vec![self.random.below(shape.len() + 1) as i32],
            },
            3 => {
                let mut wide = vec![2];
                wide.extend(&shape);
                Op::BroadcastTo { shape: wide }
            }
            4 => {
                let (mut start, mut stop) = (vec![0; shape.len()], shape.clone());
                start[last] = (self.random.below(2) as i32).min(shape[last] - 1);
                stop[last] = (start[last] + 1 + self.random.below(3) as i32).min(shape[last]);
                Op::Slice {
                    start,
                    stop,
                    strides: vec![1; shape.len()],
                }
            }
            5 => Op::Flip { axes: vec![-1] },
            6 => Op::Tile { reps: vec![2] },
            7 => Op::Swapaxes {
                axis1: 0,
                axis2: -1,
            },
            _ => {
                let wanted = self.array_type(x).clone();
                let other = self.value(|t| *t == wanted)?;
                let axis = *self.random.pick(&[0, -1]);
                return self.apply(Op::Concatenate { axis }, &[x, other]);
            }
        };
        self.apply(op, &[x])
    }

    fn product(&mut self) -> Option<usize> {
        let x = self.value(|t| t.dtype.is_floating() && t.shape.len() >= 2)?;
        let inner = *self.shape(x).last()?;
        let n = *self.random.pick(&[1, 2, 3, 4]);
        let dtype = self.dtype(x);
        let w = self.fresh(&[inner, n], dtype);
        self.apply(Op::Matmul, &[x, w])
    }

    fn integers(&mut self) -> Option<usize> {
        let a = self.integer_value()?;
        let op = match self.random.below(8) {
            0 => Op::Add,
            1 => Op::Multiply,
            2 => Op::FloorDivide,
            3 => Op::Remainder,
            4 => Op::Maximum,
            5 => return self.with_number(Op::Greater, a, 1.0),
            6 => {
                let axes = self.some_axes(self.shape(a).len());
                return if self.shape(a).is_empty() {
                    None
                } else {
                    self.apply(
                        Op::Sum {
                            axes,
                            keepdims: true,
                        },
                        &[a],
                    )
                };
            }
            _ => Op::Subtract,
        };
        if self.random.percent(40) {
            return self.with_number(op, a, 2.0);
        }
        let shape = self.shape(a);
        let b = self.value(|t| t.dtype.is_integer() && broadcasts(&t.shape, &shape))?;
        self.apply(op, &[a, b])
    }

    fn other(&mut self) -> Option<usize> {
        match self.random.below(5) {
            0 => {
                let x = self.floating_value()?;
                let dtype = self.floating();
                self.apply(Op::Astype { dtype }, &[x])
            }
            1 => {
                let x = self.integer_value()?;
                let dtype = self.floating();
                self.apply(Op::Astype { dtype }, &[x])
            }
            2 => {
                let x = self.floating_value()?;
                let shape = self.shape(x);
                let condition =
                    self.value(|t| t.dtype == Dtype::Bool && broadcasts(&t.shape, &shape))?;
                let dtype = self.dtype(x);
                self.push(
                    Op::Where,
                    vec![
                        Operand::Value(condition),
                        Operand::Value(x),
                        Operand::Number(0.5, dtype),
                    ],
                )
            }
            3 => {
                let x = self.value(|t| t.dtype.is_floating() && !t.shape.is_empty())?;
                let reverse = self.random.percent(30);
                self.apply(
                    Op::Cumsum {
                        axis: -1,
                        reverse,
                        inclusive: true,
                    },
                    &[x],
                )
            }
            _ => {
                let x = self.value(|t| t.dtype.is_floating() && !t.shape.is_empty())?;
                let indices = self.source(&ArrayType::new(vec![2], Dtype::Bool), true);
                let indices = self.apply(
                    Op::Astype {
                        dtype: Dtype::Int32,
                    },
                    &[indices],
                )?;
                if self.shape(x)[0] < 2 {
                    None
                } else {
                    self.apply(Op::Take { axis: 0 }, &[x, indices])
                }
            }
        }
    }

    /// Chooses outputs: the last value, and perhaps others.
    fn finish(mut self) -> Program {
        let last = (0..self.types.len())
            .rev()
            .find(|&k| matches!(self.program.values[k], Source::Step(_)));
        let last = last.unwrap_or(0);
        self.program.outputs.push(last);
        let n = self.random.below(3);
        for _ in 0..n {
            let other = self.random.below(self.types.len());
            self.program.outputs.push(other);
        }
        self.program.pruned()
    }
}

/// Whether two shapes broadcast together.
pub fn broadcasts(a: &[i32], b: &[i32]) -> bool {
    a.iter()
        .rev()
        .zip(b.iter().rev())
        .all(|(&a, &b)| a == b || a == 1 || b == 1)
}
