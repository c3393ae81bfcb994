//! Elementwise programs against the same functions one by one, and against `f64`; broadcasts, strides, dtypes, refusals.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{
    BinaryOp, ElementwiseProgram, Error, Instruction, StridedInput, StridedSlice, TypedSlice,
    TypedSliceMut, UnaryOp, unary, zip,
};
use reference::random;
use rstest::rstest;

const SIMPLE: [UnaryOp; 18] = [
    UnaryOp::Abs,
    UnaryOp::Negate,
    UnaryOp::Square,
    UnaryOp::Sqrt,
    UnaryOp::Rsqrt,
    UnaryOp::Reciprocal,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Round,
    UnaryOp::Truncate,
    UnaryOp::Sign,
    UnaryOp::Not,
    UnaryOp::IsTrue,
    UnaryOp::IsNan,
    UnaryOp::IsInfinite,
    UnaryOp::IsFinite,
    UnaryOp::RoundToF16,
    UnaryOp::RoundToBf16,
];
const BINARY: [BinaryOp; 15] = [
    BinaryOp::Add,
    BinaryOp::Subtract,
    BinaryOp::Multiply,
    BinaryOp::Divide,
    BinaryOp::Maximum,
    BinaryOp::Minimum,
    BinaryOp::Power,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterEqual,
    BinaryOp::And,
    BinaryOp::Or,
];
const UNARY: [UnaryOp; 17] = [
    UnaryOp::Expm1,
    UnaryOp::Log1p,
    UnaryOp::Log2,
    UnaryOp::Log10,
    UnaryOp::Tan,
    UnaryOp::Sinh,
    UnaryOp::Cosh,
    UnaryOp::Exp,
    UnaryOp::Log,
    UnaryOp::Sin,
    UnaryOp::Cos,
    UnaryOp::Tanh,
    UnaryOp::Sigmoid,
    UnaryOp::Erf,
    UnaryOp::Gelu,
    UnaryOp::GeluTanh,
    UnaryOp::Silu,
];

/// What a function of one value is, written once more.
fn simple(function: UnaryOp, x: f32) -> f32 {
    let truth = |holds: bool| f32::from(u8::from(holds));
    match function {
        UnaryOp::Abs => x.abs(),
        UnaryOp::Negate => -x,
        UnaryOp::Square => x * x,
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Truncate => x.trunc(),
        UnaryOp::Sign if x == 0.0 => 0.0,
        UnaryOp::Sign => x.signum(),
        UnaryOp::Not => truth(x == 0.0),
        UnaryOp::IsTrue => truth(x != 0.0),
        UnaryOp::IsNan => truth(x.is_nan()),
        UnaryOp::IsInfinite => truth(x.is_infinite()),
        UnaryOp::IsFinite => truth(x.is_finite()),
        UnaryOp::RoundToF16 => f16::from_f32(x).to_f32(),
        UnaryOp::RoundToBf16 => bf16::from_f32(x).to_f32(),
        _ => unreachable!("listed above"),
    }
}

fn two(function: BinaryOp, a: f32, b: f32) -> f32 {
    let truth = |holds: bool| f32::from(u8::from(holds));
    match function {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Maximum | BinaryOp::Minimum if a.is_nan() || b.is_nan() => f32::NAN,
        BinaryOp::Maximum => [b, a][usize::from(a > b)],
        BinaryOp::Minimum => [b, a][usize::from(a < b)],
        BinaryOp::Power => {
            let operand = |values| StridedSlice {
                values,
                start: 0,
                strides: &[1],
            };
            let (a, b, mut out) = ([a], [b], [0.0]);
            zip(BinaryOp::Power, &[1], operand(&a), operand(&b), &mut out).unwrap();
            out[0]
        }
        BinaryOp::Equal => truth(a == b),
        BinaryOp::NotEqual => truth(a != b),
        BinaryOp::Less => truth(a < b),
        BinaryOp::LessEqual => truth(a <= b),
        BinaryOp::Greater => truth(a > b),
        BinaryOp::GreaterEqual => truth(a >= b),
        BinaryOp::And => truth(a != 0.0 && b != 0.0),
        BinaryOp::Or => truth(a != 0.0 || b != 0.0),
        _ => unreachable!("listed above"),
    }
}

/// All instructions over whole arrays, one after the other.
fn one_by_one(steps: &[Instruction], inputs: &[Vec<f32>], count: usize) -> Vec<Vec<f32>> {
    let mut values: Vec<Vec<f32>> = Vec::new();
    for step in steps {
        let value = match *step {
            Instruction::Input(input) => inputs[input].clone(),
            Instruction::Constant(value) => vec![value; count],
            Instruction::Unary(function, a) if SIMPLE.contains(&function) => {
                values[a].iter().map(|x| simple(function, *x)).collect()
            }
            Instruction::Unary(function, a) => {
                let mut out = vec![0.0; count];
                unary(function, &values[a], &mut out).unwrap();
                out
            }
            Instruction::Binary(function, a, b) => {
                let pairs = values[a].iter().zip(&values[b]);
                pairs.map(|(a, b)| two(function, *a, *b)).collect()
            }
            Instruction::Select { condition, yes, no } => (0..count)
                .map(|i| [values[no][i], values[yes][i]][usize::from(values[condition][i] != 0.0)])
                .collect(),
        };
        values.push(value);
    }
    values
}

/// The same bits, but any NaN equals any other.
#[track_caller]
fn same_bits(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    for (i, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
        assert!(same, "{what}, element {i}: {got:e}, one by one {wanted:e}");
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % count
    }
}

fn random_steps(dice: &mut Dice, inputs: usize) -> Vec<Instruction> {
    let mut steps: Vec<Instruction> = (0..inputs).map(Instruction::Input).collect();
    for _ in 0..1 + dice.below(24) {
        let n = steps.len();
        // Neighbours are likelier: chains and shared values both occur.
        let mut pick = || match dice.below(2) {
            0 => n - 1 - dice.below(n.min(3)),
            _ => dice.below(n),
        };
        let (a, b, c) = (pick(), pick(), pick());
        steps.push(match dice.below(10) {
            0 => Instruction::Constant([0.5, -2.0, 0.0, 3.25, f32::INFINITY, -0.0][dice.below(6)]),
            1..4 => Instruction::Unary(SIMPLE[dice.below(SIMPLE.len())], a),
            4 => Instruction::Unary(UNARY[dice.below(UNARY.len())], a),
            5..9 => Instruction::Binary(BINARY[dice.below(BINARY.len())], a, b),
            _ => Instruction::Select {
                condition: a,
                yes: b,
                no: c,
            },
        });
    }
    steps
}

#[test]
fn random_programs_give_the_bits_of_their_steps_one_by_one() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for round in 0..1500 {
        let n_inputs = 1 + dice.below(4);
        let steps = random_steps(&mut dice, n_inputs);
        let shape = [
            1 + dice.below(4),
            1 + dice.below(5),
            [1, 7, 64, 257, 700][dice.below(5)],
        ];
        let count: usize = shape.iter().product();
        // Each axis of each input is there or repeated.
        let mut stored = Vec::new();
        for input in 0..n_inputs {
            let here = [(); 3].map(|()| dice.below(3) > 0);
            let sizes = [0, 1, 2].map(|axis| if here[axis] { shape[axis] } else { 1 });
            let mut strides = [sizes[1] * sizes[2], sizes[2], 1];
            (0..3)
                .filter(|axis| !here[*axis])
                .for_each(|axis| strides[axis] = 0);
            let values: Vec<f32> = random(sizes.iter().product(), round * 8 + input as u64)
                .iter()
                .map(|x| x * 4.0)
                .collect();
            stored.push((values, strides));
        }
        let whole: Vec<Vec<f32>> = stored
            .iter()
            .map(|(values, strides)| spread(values, &shape, strides))
            .collect();
        let wanted = one_by_one(&steps, &whole, count);
        let outputs: Vec<usize> = (0..1 + dice.below(3))
            .map(|_| dice.below(steps.len()))
            .collect();
        let program = ElementwiseProgram::new(n_inputs, &steps, &outputs).unwrap();
        let inputs: Vec<StridedInput> = stored
            .iter()
            .map(|(values, strides)| StridedInput {
                values: TypedSlice::F32(values),
                strides,
            })
            .collect();
        let mut results = vec![vec![7.0; count]; outputs.len()];
        let mut places: Vec<TypedSliceMut> = results
            .iter_mut()
            .map(|out| TypedSliceMut::F32(out))
            .collect();
        program.run(&shape, &inputs, &mut places).unwrap();
        for (output, got) in outputs.iter().zip(&results) {
            same_bits(got, &wanted[*output], &format!("round {round}, {steps:?}"));
        }
    }
}

/// An array read with strides, written out.
fn spread(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let at = |mut index: usize| {
        let mut place = 0;
        for (size, stride) in shape.iter().zip(strides).rev() {
            place += index % size * stride;
            index /= size;
        }
        values[place]
    };
    (0..count).map(at).collect()
}

#[test]
fn extreme_values_go_through_every_step_unharmed() {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        65_504.0,
        65_520.0,
        1e-8,
    ];
    let n = special.len();
    let a: Vec<f32> = (0..n * n).map(|i| special[i / n]).collect();
    let b: Vec<f32> = (0..n * n).map(|i| special[i % n]).collect();
    let mut steps = vec![Instruction::Input(0), Instruction::Input(1)];
    let functions = SIMPLE
        .iter()
        .map(|function| Instruction::Unary(*function, 0));
    let pairs = BINARY
        .iter()
        .map(|function| Instruction::Binary(*function, 0, 1));
    let all: Vec<Instruction> = functions.chain(pairs).collect();
    for step in all {
        steps.truncate(2);
        steps.push(step);
        let wanted = one_by_one(&steps, &[a.clone(), b.clone()], n * n);
        let got = run_flat(&steps, &[&a, &b]);
        same_bits(&got, &wanted[2], &format!("{step:?}"));
    }
}

/// Runs a program of equally long inputs with its last step as output.
fn run_flat(steps: &[Instruction], inputs: &[&[f32]]) -> Vec<f32> {
    let program = ElementwiseProgram::new(inputs.len(), steps, &[steps.len() - 1]).unwrap();
    let count = inputs[0].len();
    let inputs: Vec<StridedInput> = inputs
        .iter()
        .map(|values| StridedInput {
            values: TypedSlice::F32(values),
            strides: &[1],
        })
        .collect();
    let mut out = vec![7.0; count];
    program
        .run(&[count], &inputs, &mut [TypedSliceMut::F32(&mut out)])
        .unwrap();
    out
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(63)]
#[case(4097)]
#[case(40_001)]
#[case(7_000_003)]
fn a_formula_is_close_to_f64_at_every_length(#[case] count: usize) {
    // sqrt(x^2 + y^2) / (1 + exp(-x))
    let steps = [
        Instruction::Input(0),
        Instruction::Input(1),
        Instruction::Unary(UnaryOp::Square, 0),
        Instruction::Unary(UnaryOp::Square, 1),
        Instruction::Binary(BinaryOp::Add, 2, 3),
        Instruction::Unary(UnaryOp::Sqrt, 4),
        Instruction::Unary(UnaryOp::Negate, 0),
        Instruction::Unary(UnaryOp::Exp, 6),
        Instruction::Constant(1.0),
        Instruction::Binary(BinaryOp::Add, 8, 7),
        Instruction::Binary(BinaryOp::Divide, 5, 9),
    ];
    let (x, y) = (random(count, 1), random(count, 2));
    let got = run_flat(&steps, &[&x, &y]);
    for (i, got) in got.iter().enumerate() {
        let (x, y) = (f64::from(x[i]), f64::from(y[i]));
        let wanted = (x * x + y * y).sqrt() / (1.0 + (-x).exp());
        assert!(
            (f64::from(*got) - wanted).abs() <= 5e-7 * wanted,
            "element {i}"
        );
    }
}

#[test]
fn half_precision_truth_values_and_integers_are_read_and_written() {
    // [half, brain, whole, truth] -> half * brain + whole where truth, else half; and whether that is positive.
    let steps = [
        Instruction::Input(0),
        Instruction::Input(1),
        Instruction::Input(2),
        Instruction::Input(3),
        Instruction::Binary(BinaryOp::Multiply, 0, 1),
        Instruction::Binary(BinaryOp::Add, 4, 2),
        Instruction::Select {
            condition: 3,
            yes: 5,
            no: 0,
        },
        Instruction::Constant(0.0),
        Instruction::Binary(BinaryOp::Greater, 6, 7),
    ];
    let count = 5000;
    let half: Vec<f16> = random(count, 1).iter().map(|x| f16::from_f32(*x)).collect();
    let brain: Vec<bf16> = random(count, 2)
        .iter()
        .map(|x| bf16::from_f32(*x))
        .collect();
    let whole: Vec<i32> = (0..count as i32).map(|i| i % 5 - 2).collect();
    let truth: Vec<bool> = (0..count).map(|i| i % 3 == 0).collect();
    let program = ElementwiseProgram::new(4, &steps, &[6, 6, 6, 8]).unwrap();
    let all = [
        TypedSlice::F16(&half),
        TypedSlice::Bf16(&brain),
        TypedSlice::I32(&whole),
        TypedSlice::Bool(&truth),
    ];
    let inputs = all.map(|values| StridedInput {
        values,
        strides: &[1],
    });
    let mut wide = vec![0.0_f32; count];
    let mut narrow = vec![f16::ZERO; count];
    let mut short = vec![bf16::ZERO; count];
    let mut positive = vec![false; count];
    let mut outputs = [
        TypedSliceMut::F32(&mut wide),
        TypedSliceMut::F16(&mut narrow),
        TypedSliceMut::Bf16(&mut short),
        TypedSliceMut::Bool(&mut positive),
    ];
    program.run(&[count], &inputs, &mut outputs).unwrap();
    for i in 0..count {
        let value = half[i].to_f32();
        let wanted = if truth[i] {
            value * brain[i].to_f32() + whole[i] as f32
        } else {
            value
        };
        assert_eq!(wide[i], wanted);
        assert_eq!(narrow[i], f16::from_f32(wanted));
        assert_eq!(short[i], bf16::from_f32(wanted));
        assert_eq!(positive[i], wanted > 0.0);
    }
}

#[rstest]
#[case(&[3, 5], &[1, 3])]
#[case(&[40, 50], &[1, 40])]
#[case(&[4, 600], &[601, 1])]
#[case(&[4, 3, 7], &[1, 28, 4])]
#[case(&[2, 2, 2, 600], &[0, 600, 0, 1])]
#[case(&[5], &[9])]
#[case(&[], &[])]
fn inputs_are_read_with_any_strides(#[case] shape: &[usize], #[case] strides: &[usize]) {
    let reach: usize = shape.iter().zip(strides).map(|(n, s)| (n - 1) * s).sum();
    let values = random(reach + 1, 4);
    let count: usize = shape.iter().product();
    let steps = [
        Instruction::Input(0),
        Instruction::Unary(UnaryOp::Negate, 0),
    ];
    let program = ElementwiseProgram::new(1, &steps, &[1]).unwrap();
    let narrow: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
    for (values, exact) in [
        (TypedSlice::F32(&values), values.clone()),
        (
            TypedSlice::F16(&narrow),
            narrow.iter().map(|x| x.to_f32()).collect(),
        ),
    ] {
        let mut out = vec![7.0; count];
        program
            .run(
                shape,
                &[StridedInput { values, strides }],
                &mut [TypedSliceMut::F32(&mut out)],
            )
            .unwrap();
        let wanted: Vec<f32> = spread(&exact, shape, strides).iter().map(|x| -x).collect();
        assert_eq!(out, wanted);
    }
}

#[test]
fn registers_are_used_again() {
    let mut steps = vec![Instruction::Input(0)];
    (0..100).for_each(|i| steps.push(Instruction::Unary(UnaryOp::Negate, i)));
    let program = ElementwiseProgram::new(1, &steps, &[100]).unwrap();
    assert_eq!(program.registers(), 2);
}

#[test]
fn steps_that_no_output_needs_are_left_out() {
    let steps = [
        Instruction::Input(0),
        Instruction::Unary(UnaryOp::Exp, 0),
        Instruction::Unary(UnaryOp::Abs, 0),
    ];
    let program = ElementwiseProgram::new(1, &steps, &[2, 0]).unwrap();
    assert_eq!(
        (program.registers(), program.inputs(), program.outputs()),
        (1, 1, 2)
    );
}

#[test]
fn refuses_programs_that_do_not_hold_together() {
    let text = |inputs, steps: &[Instruction], outputs: &[usize]| {
        ElementwiseProgram::new(inputs, steps, outputs)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text(
            1,
            &[Instruction::Input(0), Instruction::Unary(UnaryOp::Abs, 1)],
            &[1]
        ),
        "elementwise: an operand must be an earlier instruction, got 1"
    );
    assert_eq!(
        text(1, &[Instruction::Input(1)], &[0]),
        "elementwise: an input must be less than the number of inputs, got 1"
    );
    assert_eq!(
        text(1, &[Instruction::Input(0)], &[1]),
        "elementwise: an output must be an instruction, got 1"
    );
    assert_eq!(
        text(1, &[Instruction::Input(0)], &[0; 17]),
        "elementwise: the number of outputs must be at most 16, got 17"
    );
}

#[test]
fn refuses_lengths_that_do_not_match_and_writes_nothing() {
    let program = ElementwiseProgram::new(1, &[Instruction::Input(0)], &[0]).unwrap();
    let values = [1.0, 2.0, 3.0];
    let run = |shape: &[usize], strides: &[usize], out: &mut [f32]| {
        let values = TypedSlice::F32(&values);
        program.run(
            shape,
            &[StridedInput { values, strides }],
            &mut [TypedSliceMut::F32(out)],
        )
    };
    let mut out = [7.0; 4];
    assert_eq!(
        run(&[4], &[1], &mut out).unwrap_err().to_string(),
        "elementwise: an input must have 4 elements, got 3"
    );
    assert!(matches!(
        run(&[3], &[1], &mut out),
        Err(Error::Length {
            what: "an output",
            ..
        })
    ));
    assert!(matches!(
        run(&[4], &[1, 1], &mut out),
        Err(Error::Length {
            what: "strides",
            ..
        })
    ));
    assert!(matches!(
        run(&[4], &[usize::MAX], &mut out),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        run(&[usize::MAX, 2], &[0, 0], &mut out),
        Err(Error::TooLarge { .. })
    ));
    assert!(
        program
            .run(&[4], &[], &mut [TypedSliceMut::F32(&mut out)])
            .is_err()
    );
    assert_eq!(out, [7.0; 4]);
    run(&[4], &[0], &mut out).unwrap();
    assert_eq!(out, [1.0; 4]);
    run(&[0, 4], &[9, 9], &mut []).unwrap();
}
