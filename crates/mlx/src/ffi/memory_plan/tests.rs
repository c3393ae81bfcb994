//! Which views are refused, and which are taken.

use rstest::rstest;

use super::*;

fn four() -> ArrayType {
    ArrayType::new([4], Dtype::Float32)
}

fn view(memory: Memory, offset: usize, array_type: ArrayType) -> BufferView {
    BufferView {
        memory,
        offset,
        strides: row_major_strides(&array_type.shape),
        array_type,
    }
}

fn instruction(reads: Vec<BufferView>, writes: Vec<BufferView>) -> InstructionViews {
    InstructionViews {
        inputs: reads,
        outputs: writes,
        takes_strides: false,
    }
}

/// One input, one output, 32 bytes of scratch.
fn made(donated: Vec<Option<usize>>, instructions: Vec<InstructionViews>) -> bool {
    MemoryPlan::new(vec![four()], vec![four()], donated, 32, instructions).is_some()
}

#[test]
fn what_is_read_after_it_was_written_is_taken() {
    let middle = || view(Memory::Scratch, 16, four());
    let instructions = vec![
        instruction(vec![view(Memory::Input(0), 0, four())], vec![middle()]),
        instruction(vec![middle()], vec![view(Memory::Output(0), 0, four())]),
    ];
    assert!(made(vec![None], instructions));
}

#[rstest]
#[case::memory_that_nobody_wrote(view(Memory::Scratch, 0, four()))]
#[case::an_input_that_is_not_there(view(Memory::Input(1), 0, four()))]
#[case::beyond_the_end(view(Memory::Input(0), 4, four()))]
#[case::between_elements(view(Memory::Input(0), 2, ArrayType::new([1], Dtype::Float32)))]
#[case::as_another_dtype(view(Memory::Input(0), 0, ArrayType::new([4], Dtype::Int32)))]
#[case::with_a_stride_beyond_the_end(BufferView { strides: vec![2], ..view(Memory::Input(0), 0, four()) })]
#[case::with_a_stride_below_zero(BufferView { strides: vec![-1], ..view(Memory::Input(0), 0, four()) })]
#[case::with_too_few_strides(BufferView { strides: vec![], ..view(Memory::Input(0), 0, four()) })]
#[case::what_it_writes(view(Memory::Output(0), 0, four()))]
fn a_step_may_not_read(#[case] read: BufferView) {
    let instructions = vec![instruction(
        vec![read],
        vec![view(Memory::Output(0), 0, four())],
    )];
    assert!(!made(vec![None], instructions));
}

#[rstest]
#[case::an_input(view(Memory::Input(0), 0, four()))]
#[case::beyond_the_end(view(Memory::Scratch, 20, four()))]
#[case::an_output_that_is_not_there(view(Memory::Output(1), 0, four()))]
#[case::with_gaps(BufferView { strides: vec![2], ..view(Memory::Scratch, 0, four()) })]
fn a_step_may_not_write(#[case] write: BufferView) {
    assert!(!made(vec![None], vec![instruction(vec![], vec![write])]));
}

#[test]
fn parts_of_what_was_written_over_are_not_read() {
    let pair = || ArrayType::new([2], Dtype::Int32);
    let instructions = vec![
        instruction(vec![], vec![view(Memory::Scratch, 0, four())]),
        instruction(vec![], vec![view(Memory::Scratch, 0, pair())]),
        instruction(
            vec![view(Memory::Scratch, 0, four())],
            vec![view(Memory::Output(0), 0, four())],
        ),
    ];
    assert!(!made(vec![None], instructions));
}

#[test]
fn an_input_that_goes_on_as_an_output_is_seen_only_there() {
    let read = |memory| {
        vec![instruction(
            vec![view(memory, 0, four())],
            vec![view(Memory::Scratch, 0, four())],
        )]
    };
    assert!(made(vec![Some(0)], read(Memory::Output(0))));
    assert!(!made(vec![Some(0)], read(Memory::Input(0))));
    assert!(!made(vec![Some(1)], read(Memory::Output(0))));
    assert!(!made(vec![], read(Memory::Input(0))));
}
