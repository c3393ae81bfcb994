//! Which slots are refused, and which are taken.

use rstest::rstest;

use super::*;

fn four() -> ArrayType {
    ArrayType::new([4], Dtype::Float32)
}

fn slot(memory: Memory, offset: usize, array_type: ArrayType) -> Slot {
    Slot {
        memory,
        offset,
        strides: row_major_strides(&array_type.shape),
        array_type,
    }
}

fn step(reads: Vec<Slot>, writes: Vec<Slot>) -> StepSlots {
    StepSlots {
        inputs: reads,
        outputs: writes,
        takes_strides: false,
    }
}

/// One input, one output, 32 bytes of scratch.
fn made(origins: Vec<Option<usize>>, steps: Vec<StepSlots>) -> bool {
    Slots::new(vec![four()], vec![four()], origins, 32, steps).is_some()
}

#[test]
fn what_is_read_after_it_was_written_is_taken() {
    let middle = || slot(Memory::Scratch, 16, four());
    let steps = vec![
        step(vec![slot(Memory::Input(0), 0, four())], vec![middle()]),
        step(vec![middle()], vec![slot(Memory::Output(0), 0, four())]),
    ];
    assert!(made(vec![None], steps));
}

#[rstest]
#[case::memory_that_nobody_wrote(slot(Memory::Scratch, 0, four()))]
#[case::an_input_that_is_not_there(slot(Memory::Input(1), 0, four()))]
#[case::beyond_the_end(slot(Memory::Input(0), 4, four()))]
#[case::between_elements(slot(Memory::Input(0), 2, ArrayType::new([1], Dtype::Float32)))]
#[case::as_another_dtype(slot(Memory::Input(0), 0, ArrayType::new([4], Dtype::Int32)))]
#[case::with_a_stride_beyond_the_end(Slot { strides: vec![2], ..slot(Memory::Input(0), 0, four()) })]
#[case::with_a_stride_below_zero(Slot { strides: vec![-1], ..slot(Memory::Input(0), 0, four()) })]
#[case::with_too_few_strides(Slot { strides: vec![], ..slot(Memory::Input(0), 0, four()) })]
#[case::what_it_writes(slot(Memory::Output(0), 0, four()))]
fn a_step_may_not_read(#[case] read: Slot) {
    let steps = vec![step(vec![read], vec![slot(Memory::Output(0), 0, four())])];
    assert!(!made(vec![None], steps));
}

#[rstest]
#[case::an_input(slot(Memory::Input(0), 0, four()))]
#[case::beyond_the_end(slot(Memory::Scratch, 20, four()))]
#[case::an_output_that_is_not_there(slot(Memory::Output(1), 0, four()))]
#[case::with_gaps(Slot { strides: vec![2], ..slot(Memory::Scratch, 0, four()) })]
fn a_step_may_not_write(#[case] write: Slot) {
    assert!(!made(vec![None], vec![step(vec![], vec![write])]));
}

#[test]
fn parts_of_what_was_written_over_are_not_read() {
    let pair = || ArrayType::new([2], Dtype::Int32);
    let steps = vec![
        step(vec![], vec![slot(Memory::Scratch, 0, four())]),
        step(vec![], vec![slot(Memory::Scratch, 0, pair())]),
        step(
            vec![slot(Memory::Scratch, 0, four())],
            vec![slot(Memory::Output(0), 0, four())],
        ),
    ];
    assert!(!made(vec![None], steps));
}

#[test]
fn an_input_that_goes_on_as_an_output_is_seen_only_there() {
    let read = |memory| {
        vec![step(
            vec![slot(memory, 0, four())],
            vec![slot(Memory::Scratch, 0, four())],
        )]
    };
    assert!(made(vec![Some(0)], read(Memory::Output(0))));
    assert!(!made(vec![Some(0)], read(Memory::Input(0))));
    assert!(!made(vec![Some(1)], read(Memory::Output(0))));
    assert!(!made(vec![], read(Memory::Input(0))));
}
