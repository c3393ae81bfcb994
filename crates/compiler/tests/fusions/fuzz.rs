//! Every spelling, changed at random in a place or two: whatever is recognized, compiled results are the eager ones.

use mlx::{Array, Dtype, Op};
use mlx_compiler::graph::Literal;
use mlx_compiler::{Fallback, trace};

use crate::check::{self, Random, Spelling};
use crate::replay::Steps;
use crate::{
    attention, attention_masks, attention_sinks, cross_entropy, gelu, layer_norm, linear,
    quantized_linear, rms_norm, rope, rope_positions, rope_reshaped, silu, softmax, subscripts,
};

/// Changes of each spelling. `MLX_FUZZ_ROUNDS` asks for more.
const ROUNDS: u64 = 4;

fn spellings() -> Vec<Spelling> {
    [
        attention::SPELLINGS,
        attention_masks::SPELLINGS,
        attention_masks::in_half::SPELLINGS,
        attention_sinks::SPELLINGS,
        cross_entropy::SPELLINGS,
        gelu::exact::SPELLINGS,
        gelu::approx::SPELLINGS,
        layer_norm::SPELLINGS,
        linear::SPELLINGS,
        quantized_linear::SPELLINGS,
        rms_norm::SPELLINGS,
        rope::SPELLINGS,
        rope_positions::SPELLINGS,
        silu::plain::SPELLINGS,
        silu::gated::SPELLINGS,
        softmax::SPELLINGS,
        subscripts::attention::SPELLINGS,
        subscripts::linear::SPELLINGS,
        rope_reshaped::SPELLINGS,
    ]
    .concat()
}

#[test]
fn changed_formulas_keep_their_results() {
    let rounds = std::env::var("MLX_FUZZ_ROUNDS").ok();
    let rounds = rounds.and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let (mut n_checked, mut failures) = (0, Vec::new());
    for (place, spelling) in (0..).zip(spellings()) {
        for round in 0..rounds {
            let seed = place * 1_000_003 + round;
            match check_changed(&spelling, seed) {
                Ok(true) => n_checked += 1,
                Ok(false) => {}
                Err(message) => {
                    let (file, name) = (spelling.file, spelling.name);
                    failures.push(format!("{file} {name}, round {round}: {message}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    // Many changes make a formula that fails eagerly too.
    assert!(n_checked > 300, "only {n_checked} changes could be run");
}

/// Changes a spelling and compares; whether the changed one could be run.
fn check_changed(spelling: &Spelling, seed: u64) -> Result<bool, String> {
    let mut random = Random::new(seed);
    let mut inputs = check::inputs(spelling.types);
    let mut what = narrow(&mut inputs, &mut random);
    let formula = |a: &Vec<Array>| vec![(spelling.formula)(a)];
    let Ok(traced) = trace(formula, &inputs) else {
        return Ok(false);
    };
    let mut steps = Steps::of(traced.graph());
    for _ in 0..=random.below(2) {
        what += &change(&mut steps, &mut random);
        what += "; ";
    }
    let run = |a: &[Array]| match steps.run(a) {
        Ok(outputs) => outputs,
        Err(error) => vec![Array::failed(error)],
    };
    let eager = run(&inputs);
    if eager.iter().any(|array| array.eval().is_err()) {
        return Ok(false);
    }
    // What rounding makes of a broken formula, such as one that divides by almost nothing, is not the point.
    if !is_stable(&steps, &inputs, &eager) {
        return Ok(false);
    }
    for fallback in [Fallback::Never, Fallback::Always] {
        let compiled = check::compiled(&run, &inputs, fallback);
        // Half precision may round scores of 30 by a tenth, which the exponential makes a tenth of the weights.
        if let Err(message) = check::same_within(&eager, &compiled, 4.0) {
            let (report, text) = check::lower(run, &inputs, fallback);
            return Err(format!("{what}: {fallback:?}: {message}\n{report}\n{text}"));
        }
    }
    Ok(true)
}

/// Whether results hardly change when inputs and large numbers do.
fn is_stable(steps: &Steps, inputs: &[Array], eager: &[Array]) -> bool {
    let nudged: Vec<Array> = inputs
        .iter()
        .map(|input| match input.dtype() {
            Ok(Dtype::Float32) => nudged(input, 3e-7),
            Ok(Dtype::Float16) => nudged(input, 1e-3),
            Ok(Dtype::Bfloat16) => nudged(input, 8e-3),
            _ => input.clone(),
        })
        .collect();
    let mut steps = steps.clone();
    for (_, literal, _) in &mut steps.numbers {
        if let Literal::Float(number) = literal
            && (7.0..1e6).contains(&number.abs())
        {
            *number *= 1.0 + 2e-7;
        }
    }
    let nudged = steps.run(&nudged);
    nudged.is_ok_and(|nudged| check::same(eager, &nudged).is_ok())
}

/// Each element a little larger or smaller, as if at random.
fn nudged(input: &Array, part: f32) -> Array {
    let wide = input.astype(Dtype::Float32);
    let signs = (&wide * 977.0).sin().sign();
    (&wide * (1.0 + part * signs)).astype(input.dtype().unwrap_or(Dtype::Float32))
}

/// Casts one input in half of the cases, and says so.
fn narrow(inputs: &mut [Array], random: &mut Random) -> String {
    let place = random.below(2 * inputs.len());
    let to = [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32][random.below(3)];
    match inputs.get_mut(place) {
        Some(input) if input.dtype().is_ok_and(Dtype::is_floating) => {
            *input = input.astype(to);
            format!("input {place} is {to}; ")
        }
        _ => String::new(),
    }
}

/// Changes one thing and says what.
fn change(steps: &mut Steps, random: &mut Random) -> String {
    for _ in 0..20 {
        let changed = match random.below(6) {
            0 => number(steps, random),
            1 => attribute(steps, random),
            2 => operation(steps, random),
            3 => operand(steps, random),
            4 => order(steps, random),
            _ => output(steps, random),
        };
        if let Some(what) = changed {
            return what;
        }
    }
    "nothing".to_owned()
}

fn number(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.numbers.len());
    let (_, literal, _) = steps.numbers.get_mut(place)?;
    let old = *literal;
    *literal = match old {
        Literal::Float(x) => Literal::Float(match random.below(6) {
            0 => -x,
            1 => 0.0,
            2 => x * 2.0,
            3 => x * 1.001,
            4 => 1.0,
            _ => x + 1.0,
        }),
        Literal::Int(x) => Literal::Int(x + 1),
        Literal::Bool(x) => Literal::Bool(!x),
        _ => return None,
    };
    Some(format!("number {old:?} is {literal:?}"))
}

fn attribute(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.nodes.len());
    let step = steps.nodes.get_mut(place)?;
    let old = step.op.to_string();
    match &mut step.op {
        Op::Mean { axes, keepdims }
        | Op::Sum { axes, keepdims }
        | Op::Max { axes, keepdims }
        | Op::Logsumexp { axes, keepdims } => match random.below(2) {
            0 => *axes = vec![random.below(3) as i32],
            _ => *keepdims = !*keepdims,
        },
        Op::Var {
            axes,
            keepdims,
            ddof,
        }
        | Op::Std {
            axes,
            keepdims,
            ddof,
        } => match random.below(3) {
            0 => *axes = vec![random.below(3) as i32],
            1 => *keepdims = !*keepdims,
            _ => *ddof = 1 - *ddof,
        },
        Op::Softmax { axes, .. } => *axes = vec![random.below(4) as i32],
        Op::Astype { dtype } => {
            *dtype = [
                Dtype::Float16,
                Dtype::Bfloat16,
                Dtype::Float32,
                Dtype::Int32,
            ][random.below(4)];
        }
        Op::Swapaxes { axis1, .. } => *axis1 = random.below(4) as i32,
        Op::Transpose { axes } => {
            let n = axes.len();
            axes.swap(random.below(n), random.below(n));
        }
        Op::Concatenate { axis } | Op::Stack { axis } => *axis = random.below(4) as i32,
        Op::Tri { k, .. } | Op::Triu { k } | Op::Tril { k } => *k += 1 - 2 * random.below(2) as i32,
        Op::Arange { start, stop, .. } => {
            *start += 1.0;
            *stop += 1.0;
        }
        Op::Repeat { axis, .. } => *axis = random.below(4) as i32,
        Op::Slice { start, stop, .. } => {
            let last = start.len().checked_sub(1)?;
            let by = 1 - 2 * random.below(2) as i32;
            start[last] += by;
            stop[last] += by;
        }
        Op::TakeAlongAxis { axis } => *axis = random.below(2) as i32,
        _ => return None,
    }
    Some(format!("{old} is {}", step.op))
}

/// Another operation of as many inputs.
fn operation(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.nodes.len());
    let step = steps.nodes.get_mut(place)?;
    let pick = |random: &mut Random, ops: &[Op]| ops[random.below(ops.len())].clone();
    let unary = [
        Op::Square,
        Op::Abs,
        Op::Sqrt,
        Op::Rsqrt,
        Op::Exp,
        Op::Negative,
        Op::Cos,
        Op::Sin,
        Op::Tanh,
        Op::Erf,
        Op::Sigmoid,
        Op::Reciprocal,
    ];
    let binary = [Op::Add, Op::Subtract, Op::Multiply, Op::Divide, Op::Maximum];
    let old = step.op.clone();
    step.op = match &old {
        op if unary.contains(op) => pick(random, &unary),
        op if binary.contains(op) => pick(random, &binary),
        Op::Greater | Op::GreaterEqual | Op::Less | Op::LessEqual => pick(
            random,
            &[
                Op::Greater,
                Op::GreaterEqual,
                Op::Less,
                Op::LessEqual,
                Op::Equal,
            ],
        ),
        Op::Mean { axes, keepdims } => Op::Sum {
            axes: axes.clone(),
            keepdims: *keepdims,
        },
        Op::Sum { axes, keepdims } => Op::Mean {
            axes: axes.clone(),
            keepdims: *keepdims,
        },
        Op::Max { axes, keepdims } => Op::Min {
            axes: axes.clone(),
            keepdims: *keepdims,
        },
        _ => return None,
    };
    Some(format!("{old} is {}", step.op))
}

/// Another operand of any type: what fits is broadcast.
fn operand(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.nodes.len());
    let others = steps.values_before(place);
    let n_inputs = steps.nodes.get(place)?.inputs.len();
    let which = random.below(n_inputs);
    let old = *steps.nodes[place].inputs.get(which)?;
    let same = |value: &mlx_compiler::graph::Value| {
        let (a, b) = (
            steps.graph().array_type(*value),
            steps.graph().array_type(old),
        );
        *value != old && a.dtype == b.dtype && a.shape.len() == b.shape.len()
    };
    let others: Vec<_> = others.into_iter().filter(same).collect();
    let new = *others.get(random.below(others.len()))?;
    steps.nodes[place].inputs[which] = new;
    Some(format!(
        "{} takes {new:?} for {old:?}",
        steps.nodes[place].op
    ))
}

fn order(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.nodes.len());
    let step = steps.nodes.get_mut(place)?;
    if step.inputs.len() < 2 {
        return None;
    }
    step.inputs.swap(0, 1);
    Some(format!("{} takes its inputs in another order", step.op))
}

/// One more output.
fn output(steps: &mut Steps, random: &mut Random) -> Option<String> {
    let place = random.below(steps.nodes.len());
    let value = *steps.nodes.get(place)?.outputs.first()?;
    steps.outputs.push(value);
    Some(format!("{value:?} is returned too"))
}
