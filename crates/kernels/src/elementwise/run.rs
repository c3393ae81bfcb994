//! Running a program: the work is cut into pieces for threads and blocks for the cache.

use super::input_layout::{Layout, Shape};
use super::program::{MOST_OUTPUTS, Program};
use super::values::{Values, ValuesMut};
use super::vm::Machine;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

const OP: &str = "region";
/// Elements that one thread takes at a time.
const PIECE: usize = 16 * 1024;
/// Elements of all registers together, 32 KiB: a first cache of 32 KiB holds most, and the second all.
const CACHED: usize = 8 * 1024;
/// Rows that are at least so long are not mixed in one block, so that they can be read where they are.
const LONG_ROW: usize = 512;

/// An input of a program: elements, and how far apart neighbours along each axis of the outputs are.
#[derive(Clone, Copy, Debug)]
pub struct RegionInput<'a> {
    /// The elements.
    pub values: Values<'a>,
    /// In elements, one for each axis of the outputs' shape; 0 repeats the same element along the axis.
    pub strides: &'a [usize],
}

impl Program {
    /// Runs the program on inputs and writes its outputs, which are `shape`, row-major.
    ///
    /// # Errors
    /// When there are not as many inputs or outputs as the program has, an input has fewer elements than its strides
    /// reach, strides are not one for each axis, or an output's length does not match the shape; nothing was written
    /// then.
    pub fn run(
        &self,
        shape: &[usize],
        inputs: &[RegionInput<'_>],
        outputs: &mut [ValuesMut<'_>],
    ) -> Result<()> {
        length(OP, "inputs", self.n_inputs, inputs.len())?;
        length(OP, "outputs", self.n_outputs, outputs.len())?;
        let given: Vec<(Values<'_>, &[usize])> = inputs
            .iter()
            .map(|input| (input.values, input.strides))
            .collect();
        let (shape, layouts) = Shape::new(OP, shape, &given)?;
        for output in &*outputs {
            length(OP, "an output", shape.elements, output.len())?;
        }
        if shape.elements == 0 || outputs.is_empty() {
            return Ok(());
        }
        let values: Vec<Values<'_>> = inputs.iter().map(|input| input.values).collect();
        let loaded = loaded(&layouts, &values);
        let block = self.block(&loaded);
        let by_rows = shape.row >= LONG_ROW
            && layouts
                .iter()
                .any(|layout| matches!(layout, Layout::Rows { .. }));
        let stream = streaming_store::should_stream(shape.elements * size_of::<f32>());
        let pieces = Pieces {
            next: 0,
            elements: shape.elements,
            outputs: all(outputs),
        };
        parallel_for(
            pieces,
            self.nanoseconds * shape.elements as f64,
            || Machine::new(self, block, &loaded),
            |machine, mut piece| {
                let mut done = 0;
                while done < piece.length {
                    let start = piece.start + done;
                    let mut count = block.min(piece.length - done);
                    if by_rows {
                        count = count.min(shape.row - start % shape.row);
                    }
                    for (input, layout) in layouts.iter().enumerate() {
                        let copies = machine.loads[input].slice_mut();
                        let place = shape.place(layout, values[input], (start, count), copies);
                        machine.places[input] = place;
                    }
                    machine.run(self, &values, &mut piece.outputs, (done, count), stream);
                    done += count;
                }
                if stream {
                    streaming_store::sfence();
                }
            },
        );
        Ok(())
    }

    /// Elements of a register: as many as let all fit in the cache.
    fn block(&self, loaded: &[bool]) -> usize {
        let copies = loaded.iter().filter(|loaded| **loaded).count();
        // Inputs and outputs pass through the cache too.
        let live = self.n_registers + copies + self.n_inputs.min(4) + 1;
        (CACHED / live / 64 * 64).clamp(256, 4096)
    }
}

/// Which inputs are copied into blocks, or may be.
fn loaded(layouts: &[Layout], values: &[Values<'_>]) -> Vec<bool> {
    let of = |(layout, values): (&Layout, &Values<'_>)| match layout {
        Layout::Scalar(_) => false,
        Layout::Contiguous => !matches!(values, Values::F32(_)),
        Layout::Rows { .. } => true,
    };
    layouts.iter().zip(values).map(of).collect()
}

/// A part of all outputs.
struct Piece<'a> {
    start: usize,
    length: usize,
    outputs: [ValuesMut<'a>; MOST_OUTPUTS],
}

/// Cuts outputs into pieces.
struct Pieces<'a> {
    next: usize,
    elements: usize,
    outputs: [ValuesMut<'a>; MOST_OUTPUTS],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let length = PIECE.min(self.elements - self.next);
        if length == 0 {
            return None;
        }
        let start = self.next;
        self.next += length;
        let cut = |output: &mut ValuesMut<'a>| output.take_first(length.min(output.len()));
        Some(Piece {
            start,
            length,
            outputs: self.outputs.each_mut().map(cut),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = (self.elements - self.next).div_ceil(PIECE);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Pieces<'_> {}

/// The outputs as an array; what is not used is empty.
fn all<'a>(outputs: &'a mut [ValuesMut<'_>]) -> [ValuesMut<'a>; MOST_OUTPUTS] {
    let mut all: [ValuesMut<'a>; MOST_OUTPUTS] = std::array::from_fn(|_| ValuesMut::default());
    for (all, output) in all.iter_mut().zip(outputs) {
        *all = output.whole();
    }
    all
}
