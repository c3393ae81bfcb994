//! What the planner makes of steps, for a device that computes everything.

use super::planner::{Signature, Target, plan};
use super::*;
use crate::ffi::host::Layout;
use crate::op::Op;
use crate::{ArrayType, Dtype};

/// A device with this much scratch memory and a kernel for every operation but `fast.gelu`.
struct Device {
    scratch: usize,
}

impl Target for Device {
    fn broadcast_input(&self, _: &Op, _: &[Layout<'_>], _: &[i32]) -> Option<(usize, Vec<i32>)> {
        None
    }

    fn supports(&self, op: &Op, _: &[Layout<'_>], _: Layout<'_>) -> bool {
        *op != Op::Gelu
    }

    fn supports_elementwise(&self, _: &Elementwise) -> bool {
        true
    }

    fn max_scratch_bytes(&self) -> usize {
        self.scratch
    }
}

fn array(shape: &[i32]) -> ArrayType {
    ArrayType::new(shape.to_vec(), Dtype::Float32)
}

fn step(op: Op, inputs: &[usize], output: &[i32]) -> Step {
    Step {
        name: op.name().to_owned(),
        operation: Operation::Op(op),
        inputs: inputs.to_vec(),
        outputs: vec![array(output)],
    }
}

fn planned(
    inputs: &[ArrayType],
    n_constants: usize,
    steps: Vec<Step>,
    outputs: &[usize],
) -> Result<Program, PlanError> {
    let signature = Signature {
        inputs,
        n_constants,
        outputs,
    };
    plan(&Device { scratch: 1024 }, signature, steps)
}

/// Steps one after the other, each of the result before.
fn chain(n: usize, size: i32) -> Vec<Step> {
    (0..n).map(|i| step(Op::Silu, &[i], &[size])).collect()
}

#[test]
fn a_step_without_a_kernel_is_named() {
    let steps = vec![step(Op::Silu, &[0], &[4]), step(Op::Gelu, &[1], &[4])];
    let refused = planned(&[array(&[4])], 0, steps, &[2]);
    assert_eq!(refused, Err(PlanError::Step(1)));
}

#[test]
fn a_view_is_no_instruction() {
    let axes = vec![1, 0];
    let steps = vec![
        step(Op::Transpose { axes }, &[0], &[3, 2]),
        step(Op::Silu, &[1], &[3, 2]),
    ];
    let program = planned(&[array(&[2, 3])], 0, steps, &[2]).unwrap();
    let [only] = program.instructions() else {
        panic!("wanted one instruction, got\n{program}");
    };
    assert_eq!(only.reads[0].strides, [1, 3]);
    assert_eq!(program.scratch_bytes(), 0);
}

#[test]
fn scratch_memory_is_used_again() {
    let program = planned(&[array(&[64])], 0, chain(4, 64), &[4]).unwrap();
    let places: Vec<Place> = program
        .buffers()
        .iter()
        .map(|buffer| buffer.place)
        .collect();
    let output = Place::Output {
        index: 0,
        donated: None,
    };
    let want = [
        Place::Input(0),
        Place::Scratch(0),
        Place::Scratch(256),
        Place::Scratch(0),
        output,
    ];
    assert_eq!(places, want);
    assert_eq!(program.scratch_bytes(), 512);
}

#[test]
fn too_much_scratch_memory_is_refused() {
    let refused = planned(&[array(&[1000])], 0, chain(2, 1000), &[2]);
    assert_eq!(refused, Err(PlanError::Memory));
}

fn update() -> Vec<Step> {
    let op = Op::SliceUpdate {
        start: vec![1, 0],
        stop: vec![2, 4],
        strides: vec![1, 1],
    };
    vec![step(op, &[0, 1], &[3, 4])]
}

#[test]
fn an_input_is_donated_to_the_output_that_updates_it() {
    let inputs = [array(&[3, 4]), array(&[1, 4])];
    let program = planned(&inputs, 0, update(), &[2]).unwrap();
    assert_eq!(program.donated(), [Some(0)]);
    assert_eq!(program.instructions().len(), 1);
}

#[test]
fn an_input_that_is_returned_too_is_copied() {
    let inputs = [array(&[3, 4]), array(&[1, 4])];
    let program = planned(&inputs, 0, update(), &[2, 0]).unwrap();
    assert_eq!(program.donated(), [None, None]);
    assert_eq!(program.instructions()[0].kind, InstructionKind::Copy);
}

#[test]
fn a_constant_is_never_donated() {
    let inputs = [array(&[3, 4]), array(&[1, 4])];
    let program = planned(&inputs, 2, update(), &[2]).unwrap();
    assert_eq!(program.donated(), [None]);
    assert_eq!(program.instructions()[0].kind, InstructionKind::Copy);
}
