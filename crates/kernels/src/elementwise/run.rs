//! Running a program: outputs are split into tasks for threads and blocks for the cache.

use super::input_layout::{InputLayout, OutputShape};
use super::program::{ElementwiseProgram, MAX_OUTPUTS, OP};
use super::vm::Vm;
use super::{TypedSlice, TypedSliceMut};
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Elements of all registers together, 32 KiB: an L1 cache of 32 KiB holds most, and the L2 cache all.
const REGISTER_FILE: usize = 8 * 1024;
/// Rows of at least this length are not mixed in one block, so that they can be read in place.
const MIN_ROW: usize = 512;

/// An input of a program: elements, and the strides along the axes of the outputs.
#[derive(Clone, Copy, Debug)]
pub struct StridedInput<'a> {
    /// The elements.
    pub values: TypedSlice<'a>,
    /// In elements, one for each axis of the outputs' shape; 0 repeats the same element along the axis.
    pub strides: &'a [usize],
}

impl ElementwiseProgram {
    /// Runs the program on inputs and writes its outputs, which are `shape`, row-major.
    ///
    /// # Errors
    /// When there are not as many inputs or outputs as the program has, an input has fewer elements than its strides
    /// reach, strides are not one for each axis, or an output's length does not match the shape; nothing was written
    /// then.
    pub fn run(
        &self,
        shape: &[usize],
        inputs: &[StridedInput<'_>],
        outputs: &mut [TypedSliceMut<'_>],
    ) -> Result<()> {
        length(OP, "inputs", self.n_inputs, inputs.len())?;
        length(OP, "outputs", self.n_outputs, outputs.len())?;
        let given: Vec<(TypedSlice<'_>, &[usize])> = inputs
            .iter()
            .map(|input| (input.values, input.strides))
            .collect();
        let (shape, layouts) = OutputShape::new(OP, shape, &given)?;
        for output in &*outputs {
            length(OP, "an output", shape.elements, output.len())?;
        }
        if shape.elements == 0 || outputs.is_empty() {
            return Ok(());
        }
        let values: Vec<TypedSlice<'_>> = inputs.iter().map(|input| input.values).collect();
        let is_copied = is_copied(&layouts, &values);
        let block = self.block_length(&is_copied);
        let by_rows = shape.row >= MIN_ROW
            && layouts
                .iter()
                .any(|layout| matches!(layout, InputLayout::Rows { .. }));
        let stream = streaming_store::should_stream(shape.elements * size_of::<f32>());
        let tasks = Tasks {
            next: 0,
            elements: shape.elements,
            outputs: padded(outputs),
        };
        parallel_for(
            tasks,
            self.nanoseconds * shape.elements as f64,
            || Vm::new(self, block, &is_copied),
            |vm, mut task| {
                let mut done = 0;
                while done < task.length {
                    let start = task.start + done;
                    let mut count = block.min(task.length - done);
                    if by_rows {
                        count = count.min(shape.row - start % shape.row);
                    }
                    for (input, layout) in layouts.iter().enumerate() {
                        let copies = vm.copies[input].slice_mut();
                        let located = shape.locate(layout, values[input], (start, count), copies);
                        vm.inputs_of_block[input] = located;
                    }
                    vm.run(self, &values, &mut task.outputs, (done, count), stream);
                    done += count;
                }
                if stream {
                    streaming_store::sfence();
                }
            },
        );
        Ok(())
    }

    /// Elements of a register: as many as let all registers fit in the cache.
    fn block_length(&self, is_copied: &[bool]) -> usize {
        let copies = is_copied.iter().filter(|is_copied| **is_copied).count();
        // Inputs and outputs pass through the cache too.
        let live = self.n_registers + copies + self.n_inputs.min(4) + 1;
        (REGISTER_FILE / live / 64 * 64).clamp(256, 4096)
    }
}

/// Which inputs may be copied block by block.
fn is_copied(layouts: &[InputLayout], values: &[TypedSlice<'_>]) -> Vec<bool> {
    let of = |(layout, values): (&InputLayout, &TypedSlice<'_>)| match layout {
        InputLayout::Scalar(_) => false,
        InputLayout::Contiguous => !matches!(values, TypedSlice::F32(_)),
        InputLayout::Rows { .. } => true,
    };
    layouts.iter().zip(values).map(of).collect()
}

/// A part of all outputs.
struct Task<'a> {
    start: usize,
    length: usize,
    outputs: [TypedSliceMut<'a>; MAX_OUTPUTS],
}

/// Splits outputs into tasks.
struct Tasks<'a> {
    next: usize,
    elements: usize,
    outputs: [TypedSliceMut<'a>; MAX_OUTPUTS],
}

impl<'a> Iterator for Tasks<'a> {
    type Item = Task<'a>;

    fn next(&mut self) -> Option<Task<'a>> {
        let length = TASK.min(self.elements - self.next);
        if length == 0 {
            return None;
        }
        let start = self.next;
        self.next += length;
        let cut = |output: &mut TypedSliceMut<'a>| output.take_first(length.min(output.len()));
        Some(Task {
            start,
            length,
            outputs: self.outputs.each_mut().map(cut),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = (self.elements - self.next).div_ceil(TASK);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Tasks<'_> {}

/// The outputs, padded with empty slices.
fn padded<'a>(outputs: &'a mut [TypedSliceMut<'_>]) -> [TypedSliceMut<'a>; MAX_OUTPUTS] {
    let mut padded: [TypedSliceMut<'a>; MAX_OUTPUTS] =
        std::array::from_fn(|_| TypedSliceMut::default());
    for (padded, output) in padded.iter_mut().zip(outputs) {
        *padded = output.reborrow();
    }
    padded
}
