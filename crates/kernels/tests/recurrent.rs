//! Recurrent layers and their gradients against plain loops in `f64`; gradients by central differences of these.

use half::{bf16, f16};
use mlx_kernels::{
    Element, RecurrentCell, RecurrentGradient, RecurrentInputs, RecurrentOutputs, RecurrentShape,
    RecurrentStates, recurrent, recurrent_gradient,
};
use rstest::rstest;

/// Numbers from -1 to 1.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(7919) + 12345;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The inputs in `f64`: projected, weight, bias, hidden, cell; empty where there is none.
type Inputs = [Vec<f64>; 5];

/// Inputs of a layer; `given` says which of bias, hidden state and cell there are.
fn inputs(shape: RecurrentShape, given: [bool; 3]) -> Inputs {
    let (rows, size) = (shape.cell.gates() * shape.size, shape.size);
    let states = shape.batch * size;
    let optional = |index: usize, count: usize| {
        let count = if given[index] { count } else { 0 };
        numbers(count, 3 + index as u64)
    };
    let scale = 1.0 / (size.max(1) as f64).sqrt();
    [
        numbers(shape.batch * shape.steps * rows, 1),
        numbers(rows * size, 2).iter().map(|x| x * scale).collect(),
        optional(0, size),
        optional(1, states),
        optional(2, states),
    ]
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Hidden states and cells after each step.
fn reference(shape: RecurrentShape, inputs: &Inputs) -> [Vec<f64>; 2] {
    let [projected, weight, bias, hidden, cell] = inputs;
    let (size, gates) = (shape.size, shape.cell.gates());
    let (mut all_hidden, mut all_cells) = (Vec::new(), Vec::new());
    for sequence in 0..shape.batch {
        let first = |state: &Vec<f64>| match state.is_empty() {
            true => vec![0.0; size],
            false => state[sequence * size..][..size].to_vec(),
        };
        let (mut h, mut c) = (first(hidden), first(cell));
        for step in 0..shape.steps {
            let x = &projected[(sequence * shape.steps + step) * gates * size..];
            let product = |gate: usize, j: usize| -> f64 {
                let row = &weight[(gate * size + j) * size..][..size];
                row.iter().zip(&h).map(|(w, h)| w * h).sum()
            };
            let sum = |gate: usize, j: usize| x[gate * size + j] + product(gate, j);
            let next: Vec<(f64, f64)> = (0..size)
                .map(|j| match shape.cell {
                    RecurrentCell::Tanh => (sum(0, j).tanh(), 0.0),
                    RecurrentCell::Relu => (sum(0, j).max(0.0), 0.0),
                    RecurrentCell::Gru => {
                        let offset = product(2, j) + bias.get(j).unwrap_or(&0.0);
                        let new = (x[2 * size + j] + sigmoid(sum(0, j)) * offset).tanh();
                        let update = sigmoid(sum(1, j));
                        ((1.0 - update) * new + update * h[j], 0.0)
                    }
                    RecurrentCell::Lstm => {
                        let added = sigmoid(sum(0, j)) * sum(2, j).tanh();
                        let cell = sigmoid(sum(1, j)) * c[j] + added;
                        (sigmoid(sum(3, j)) * cell.tanh(), cell)
                    }
                })
                .collect();
            (h, c) = next.into_iter().unzip();
            all_hidden.extend(&h);
            if shape.cell == RecurrentCell::Lstm {
                all_cells.extend(&c);
            }
        }
    }
    [all_hidden, all_cells]
}

/// The gradients of the sum of products of outputs and cotangents.
fn reference_gradient(
    shape: RecurrentShape,
    inputs: &Inputs,
    cotangents: &[Vec<f64>; 2],
) -> Inputs {
    let loss = |inputs: &Inputs| -> f64 {
        let outputs = reference(shape, inputs);
        let pairs = outputs.iter().flatten().zip(cotangents.iter().flatten());
        pairs.map(|(y, by)| y * by).sum()
    };
    let step = 1e-5;
    let mut gradient = inputs.clone();
    for which in 0..inputs.len() {
        for at in 0..inputs[which].len() {
            let mut moved = inputs.clone();
            moved[which][at] += step;
            let above = loss(&moved);
            moved[which][at] -= 2.0 * step;
            gradient[which][at] = (above - loss(&moved)) / (2.0 * step);
        }
    }
    gradient
}

/// How numbers become elements and back.
struct Conversion<T> {
    round: fn(f64) -> T,
    value: fn(T) -> f64,
    tolerance: f64,
}

fn near<T: Element>(what: &str, got: &[T], want: &[f64], conversion: &Conversion<T>) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let got = (conversion.value)(*got);
        let bound = conversion.tolerance * want.abs().max(1.0);
        assert!((got - want).abs() <= bound, "{what} {at}: {got} {want}");
    }
}

fn check<T: Element>(shape: RecurrentShape, given: [bool; 3], conversion: &Conversion<T>) {
    // The reference reads what the kernel reads.
    let of =
        |numbers: &Vec<f64>| -> Vec<T> { numbers.iter().copied().map(conversion.round).collect() };
    let elements = inputs(shape, given).each_ref().map(of);
    let back =
        |numbers: &Vec<T>| -> Vec<f64> { numbers.iter().copied().map(conversion.value).collect() };
    let wide = elements.each_ref().map(back);
    let optional = |index: usize| given[index].then(|| elements[2 + index].as_slice());
    let read = RecurrentInputs {
        projected: &elements[0],
        weight: &elements[1],
        bias: optional(0),
        hidden: optional(1),
        cell: optional(2),
    };
    let want = reference(shape, &wide);
    let mut hidden = vec![T::default(); want[0].len()];
    let mut cells = vec![T::default(); want[1].len()];
    let mut saved = vec![f32::NAN; want[0].len() * shape.cell.saved()];
    for saves in [false, true] {
        hidden.fill(T::default());
        let outputs = RecurrentOutputs {
            hidden: &mut hidden,
            cells: &mut cells,
            saved: if saves { &mut saved } else { &mut [] },
        };
        recurrent(shape, read, outputs).unwrap();
        near("hidden", &hidden, &want[0], conversion);
        near("cells", &cells, &want[1], conversion);
    }
    let cotangents = [numbers(want[0].len(), 8), numbers(want[1].len(), 9)];
    let cotangents = cotangents.each_ref().map(of);
    let want = reference_gradient(shape, &wide, &cotangents.each_ref().map(back));
    let mut gradient = want
        .each_ref()
        .map(|want| vec![(conversion.round)(9.0); want.len()]);
    let [projected, weight, bias, first, cell] = &mut gradient;
    recurrent_gradient(
        shape,
        read,
        RecurrentStates {
            hidden: &hidden,
            cells: &cells,
        },
        &saved,
        RecurrentStates {
            hidden: &cotangents[0],
            cells: &cotangents[1],
        },
        RecurrentGradient {
            projected,
            weight,
            bias,
            hidden: first,
            cell,
        },
    )
    .unwrap();
    let names = ["projected", "weight", "bias", "first hidden", "first cell"];
    for ((name, got), want) in names.into_iter().zip(&gradient).zip(&want) {
        near(name, got, want, conversion);
    }
}

const F32: Conversion<f32> = Conversion {
    round: |x| x as f32,
    value: f64::from,
    tolerance: 4e-6,
};
const F16: Conversion<f16> = Conversion {
    round: f16::from_f64,
    value: f16::to_f64,
    tolerance: 4e-3,
};
const BF16: Conversion<bf16> = Conversion {
    round: bf16::from_f64,
    value: bf16::to_f64,
    tolerance: 4e-2,
};

#[rstest]
#[case([1, 1, 1])]
#[case([1, 3, 5])]
#[case([5, 4, 3])]
#[case([3, 2, 16])]
#[case([13, 2, 19])]
#[case([2, 2, 33])]
fn equals_the_reference(
    #[case] sizes: [usize; 3],
    #[values(
        RecurrentCell::Tanh,
        RecurrentCell::Relu,
        RecurrentCell::Gru,
        RecurrentCell::Lstm
    )]
    cell: RecurrentCell,
    #[values(false, true)] is_given: bool,
) {
    let [batch, steps, size] = sizes;
    let shape = RecurrentShape {
        cell,
        batch,
        steps,
        size,
    };
    let given = [
        is_given && cell == RecurrentCell::Gru,
        is_given,
        is_given && cell == RecurrentCell::Lstm,
    ];
    check(shape, given, &F32);
    if size < 10 && cell != RecurrentCell::Relu {
        check(shape, given, &F16);
        check(shape, given, &BF16);
    }
}

/// More elements than a block of depth, and more sequences than a task has.
#[rstest]
fn large_states_equal_the_reference(
    #[values(RecurrentCell::Tanh, RecurrentCell::Gru, RecurrentCell::Lstm)] cell: RecurrentCell,
) {
    let shape = RecurrentShape {
        cell,
        batch: 70,
        steps: 3,
        size: 300,
    };
    let all = inputs(shape, [false, true, false]);
    let want = reference(shape, &all);
    let all = all
        .each_ref()
        .map(|all| all.iter().map(|x| *x as f32).collect::<Vec<f32>>());
    let read = RecurrentInputs {
        projected: &all[0],
        weight: &all[1],
        bias: None,
        hidden: Some(&all[3]),
        cell: None,
    };
    let (mut hidden, mut cells) = (vec![0.0; want[0].len()], vec![0.0; want[1].len()]);
    let outputs = RecurrentOutputs {
        hidden: &mut hidden,
        cells: &mut cells,
        saved: &mut [],
    };
    recurrent(shape, read, outputs).unwrap();
    near("hidden", &hidden, &want[0], &F32);
    near("cells", &cells, &want[1], &F32);
}

#[test]
fn infinities_and_nan_stay_in_their_sequence() {
    let shape = RecurrentShape {
        cell: RecurrentCell::Lstm,
        batch: 3,
        steps: 2,
        size: 2,
    };
    let mut projected = vec![0.5_f32; 3 * 2 * 8];
    projected[0] = f32::NAN;
    projected[16..32].fill(1e30);
    projected[32..].fill(f32::NEG_INFINITY);
    let read = RecurrentInputs {
        projected: &projected,
        weight: &[0.25; 16],
        bias: None,
        hidden: None,
        cell: None,
    };
    let (mut hidden, mut cells) = ([0.0; 12], [0.0; 12]);
    let outputs = RecurrentOutputs {
        hidden: &mut hidden,
        cells: &mut cells,
        saved: &mut [],
    };
    recurrent(shape, read, outputs).unwrap();
    assert!(hidden[0].is_nan() && hidden[1].is_finite());
    assert!(hidden[2].is_nan() && hidden[3].is_nan());
    assert_eq!(cells[4..8], [1.0, 1.0, 2.0, 2.0]);
    assert!((hidden[4] - 1.0_f32.tanh()).abs() < 1e-6);
    assert!(hidden[8..].iter().all(|h| h.abs() < 1e-30));
}

#[rstest]
fn sizes_of_zero_are_no_work(
    #[values(RecurrentCell::Tanh, RecurrentCell::Gru, RecurrentCell::Lstm)] cell: RecurrentCell,
    #[values([0, 3, 4], [2, 0, 4], [2, 3, 0])] sizes: [usize; 3],
) {
    let [batch, steps, size] = sizes;
    let shape = RecurrentShape {
        cell,
        batch,
        steps,
        size,
    };
    check(shape, [false, true, cell == RecurrentCell::Lstm], &F32);
    check(shape, [false, true, cell == RecurrentCell::Lstm], &F16);
}

#[test]
fn refuses_other_lengths_and_inputs() {
    let shape = RecurrentShape {
        cell: RecurrentCell::Gru,
        batch: 2,
        steps: 1,
        size: 1,
    };
    let read = RecurrentInputs {
        projected: &[0.0_f32; 6],
        weight: &[0.0; 3],
        bias: None,
        hidden: None,
        cell: None,
    };
    let text = |shape, read| {
        let outputs = RecurrentOutputs {
            hidden: &mut [0.0; 2],
            cells: &mut [],
            saved: &mut [],
        };
        recurrent(shape, read, outputs).unwrap_err().to_string()
    };
    let few = RecurrentInputs {
        projected: &[0.0; 5],
        ..read
    };
    assert_eq!(
        text(shape, few),
        "recurrent: projected must have 6 elements, got 5"
    );
    let states = RecurrentInputs {
        hidden: Some(&[0.0; 3]),
        ..read
    };
    assert_eq!(
        text(shape, states),
        "recurrent: hidden must have 2 elements, got 3"
    );
    let cell = RecurrentInputs {
        cell: Some(&[0.0; 2]),
        ..read
    };
    assert_eq!(
        text(shape, cell),
        "recurrent: cell must be left out for this cell, got 2"
    );
    let huge = RecurrentShape {
        batch: usize::MAX / 2,
        ..shape
    };
    assert_eq!(
        text(huge, read),
        "recurrent: the number of elements must fit in memory"
    );
    let states = RecurrentStates {
        hidden: &[0.0; 2],
        cells: &[],
    };
    let gradient = RecurrentGradient {
        projected: &mut [0.0; 6],
        weight: &mut [0.0; 3],
        bias: &mut [],
        hidden: &mut [],
        cell: &mut [],
    };
    let error = recurrent_gradient(shape, read, states, &[0.0; 7], states, gradient);
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        "recurrent_gradient: saved must have 8 elements, got 7"
    );
}
