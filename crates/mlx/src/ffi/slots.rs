//! The memory of a sequence of steps: which bytes each step reads and writes, checked once, filled in for each run.

use std::cell::RefCell;

use mlx_sys as sys;

use super::host::{HostInput, HostOutput};
use crate::dtype::Dtype;
use crate::shape::{ArrayType, row_major_strides};

/// Where the elements of a slot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// An input of the sequence.
    Input(usize),
    /// An output of the sequence.
    Output(usize),
    /// Memory of the run.
    Scratch,
}

/// An array that a step reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) memory: Memory,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) array_type: ArrayType,
    /// In elements, none negative.
    pub(crate) strides: Vec<i64>,
}

/// What one step reads and writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepSlots {
    pub(crate) inputs: Vec<Slot>,
    /// In row-major order.
    pub(crate) outputs: Vec<Slot>,
    /// Whether the step reads inputs of the sequence as they lie, whatever their strides.
    pub(crate) takes_strides: bool,
}

/// The slots of all steps, which are known to lie where they may.
pub(crate) struct Slots {
    steps: Vec<StepSlots>,
    inputs: Vec<ArrayType>,
    outputs: Vec<ArrayType>,
    origins: Vec<Option<usize>>,
    /// Whether a step needs an input in row-major order.
    needs_rows: Vec<bool>,
    scratch: usize,
}

/// Bytes of one memory.
#[derive(Clone, Copy)]
struct Span {
    memory: Memory,
    start: usize,
    end: usize,
    dtype: Dtype,
}

impl Span {
    fn of(slot: &Slot) -> Option<Self> {
        let itemsize = slot.array_type.dtype.size();
        let mut elements = 1_usize;
        for (&size, &stride) in slot.array_type.shape.iter().zip(&slot.strides) {
            let size = usize::try_from(size).ok()?;
            if size == 0 {
                elements = 0;
                break;
            }
            let last = usize::try_from(stride).ok()?.checked_mul(size - 1)?;
            elements = elements.checked_add(last)?;
        }
        let is_whole = slot.strides.len() == slot.array_type.shape.len()
            && slot.offset.is_multiple_of(itemsize);
        is_whole.then_some(Self {
            memory: slot.memory,
            start: slot.offset,
            end: slot.offset.checked_add(elements.checked_mul(itemsize)?)?,
            dtype: slot.array_type.dtype,
        })
    }

    fn meets(&self, other: &Self) -> bool {
        self.memory == other.memory && self.start < other.end && other.start < self.end
    }

    fn holds(&self, other: &Self) -> bool {
        self.memory == other.memory
            && self.start <= other.start
            && other.end <= self.end
            && self.dtype == other.dtype
    }
}

/// The bytes of an array's elements; `None` if there are too many to count.
pub(crate) fn bytes(array_type: &ArrayType) -> Option<usize> {
    array_type.nbytes()
}

impl Slots {
    /// Checks slots: each lies within its memory, a step writes nothing that it reads, and everything that is read was
    /// written before, as the same dtype. `origins` are the inputs that outputs start as, which no step sees.
    ///
    /// `None` when that is not so.
    pub(crate) fn new(
        inputs: Vec<ArrayType>,
        outputs: Vec<ArrayType>,
        origins: Vec<Option<usize>>,
        scratch: usize,
        steps: Vec<StepSlots>,
    ) -> Option<Self> {
        let sizes = |types: &[ArrayType]| types.iter().map(bytes).collect::<Option<Vec<_>>>();
        let (input_sizes, output_sizes) = (sizes(&inputs)?, sizes(&outputs)?);
        let size = |memory| match memory {
            Memory::Input(index) => input_sizes.get(index).copied(),
            Memory::Output(index) => output_sizes.get(index).copied(),
            Memory::Scratch => Some(scratch),
        };
        let mut written: Vec<Span> = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            if !origins.contains(&Some(index)) {
                written.push(Span {
                    memory: Memory::Input(index),
                    start: 0,
                    end: bytes(input)?,
                    dtype: input.dtype,
                });
            }
        }
        for (index, (output, origin)) in outputs.iter().zip(&origins).enumerate() {
            if let Some(origin) = *origin {
                if inputs.get(origin) != Some(output) {
                    return None;
                }
                written.push(Span {
                    memory: Memory::Output(index),
                    start: 0,
                    end: bytes(output)?,
                    dtype: output.dtype,
                });
            }
        }
        for step in &steps {
            let reads: Vec<Span> = step.inputs.iter().map(Span::of).collect::<Option<_>>()?;
            let writes: Vec<Span> = step.outputs.iter().map(Span::of).collect::<Option<_>>()?;
            for read in &reads {
                let last = written.iter().rev().find(|span| span.meets(read));
                let is_empty = read.start == read.end;
                if read.end > size(read.memory)?
                    || !(is_empty || last.is_some_and(|span| span.holds(read)))
                {
                    return None;
                }
            }
            for (number, (write, slot)) in writes.iter().zip(&step.outputs).enumerate() {
                let others = reads.iter().chain(&writes[..number]);
                if write.end > size(write.memory)?
                    || matches!(write.memory, Memory::Input(_))
                    || others.into_iter().any(|other| other.meets(write))
                    || slot.strides != row_major_strides(&slot.array_type.shape)
                {
                    return None;
                }
            }
            written.retain(|span| {
                !writes
                    .iter()
                    .any(|write| span.meets(write) && write.holds(span))
            });
            written.extend(writes);
        }
        let mut needs_rows = vec![false; inputs.len()];
        for step in &steps {
            for slot in &step.inputs {
                if let Memory::Input(index) = slot.memory
                    && !(step.takes_strides && is_whole(slot, &inputs[index]))
                {
                    needs_rows[index] = true;
                }
            }
        }
        (origins.len() == outputs.len()).then_some(Self {
            steps,
            inputs,
            outputs,
            origins,
            needs_rows,
            scratch,
        })
    }

    /// Calls `each` for every step with the arrays that it reads and writes.
    ///
    /// # Errors
    /// When inputs or outputs are of other types, and what `each` returns.
    pub(crate) fn run(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
        mut each: impl FnMut(usize, &[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>,
    ) -> Result<(), String> {
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            return Err(format!(
                "wanted {} inputs and {} outputs, got {} and {}",
                self.inputs.len(),
                self.outputs.len(),
                inputs.len(),
                outputs.len()
            ));
        }
        let mut copies = Vec::new();
        let mut places = Vec::with_capacity(inputs.len());
        let mut is_plain = Vec::with_capacity(inputs.len());
        for (index, (input, wanted)) in inputs.iter().zip(&self.inputs).enumerate() {
            let got = input.layout();
            if got.dtype() != wanted.dtype || got.shape() != wanted.shape {
                return Err(format!(
                    "wanted {wanted} as input {index}, got another type"
                ));
            }
            let plain = self.origins.contains(&Some(index)) || got.is_row_contiguous();
            is_plain.push(plain);
            if plain || !self.needs_rows[index] {
                places.push(input.buffer().data.cast::<u8>());
            } else {
                let mut copy = lines(input.size_in_bytes());
                let (place, len) = (copy.as_mut_ptr().cast::<u8>(), input.size_in_bytes());
                // SAFETY: the copy has so many bytes, of which nobody else knows.
                input.copy_rows(unsafe { std::slice::from_raw_parts_mut(place, len) })?;
                // The lines keep their place when the vector around them grows.
                copies.push(copy);
                places.push(place);
            }
        }
        for (output, wanted) in outputs.iter().zip(&self.outputs) {
            if output.dtype() != wanted.dtype || output.shape() != wanted.shape {
                return Err(format!("wanted an output {wanted}, got another type"));
            }
        }
        let targets: Vec<*mut u8> = outputs
            .iter()
            .map(|output| output.buffer().data.cast::<u8>())
            .collect();
        let mut scratch = SCRATCH.take();
        if scratch.len() * LINE < self.scratch {
            scratch = lines(self.scratch);
        }
        let base = scratch.as_mut_ptr().cast::<u8>();
        let buffer = |slot: &Slot, takes_strides: bool| {
            if let Memory::Input(index) = slot.memory
                && takes_strides
                && !is_plain[index]
                && is_whole(slot, &self.inputs[index])
            {
                return *inputs[index].buffer();
            }
            let start = match slot.memory {
                Memory::Input(index) => places[index],
                Memory::Output(index) => targets[index],
                Memory::Scratch => base,
            };
            let shape = &slot.array_type.shape;
            sys::mlx_native_buffer {
                data: start.wrapping_add(slot.offset).cast(),
                shape: shape.as_ptr(),
                strides: slot.strides.as_ptr(),
                ndim: shape.len(),
                // MLX has no negative sizes.
                size: shape.iter().map(|&size| size.max(0) as usize).product(),
                dtype: slot.array_type.dtype.raw(),
            }
        };
        let mut ran = Ok(());
        let mut buffers = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            buffers.clear();
            let slots = step.inputs.iter().chain(&step.outputs);
            buffers.extend(slots.map(|slot| buffer(slot, step.takes_strides)));
            let (reads, writes) = buffers.split_at(step.inputs.len());
            for (slot, write) in step.outputs.iter().zip(writes) {
                if slot.memory == Memory::Scratch && slot.array_type.dtype == Dtype::Bool {
                    // SAFETY: within the scratch memory, as was checked, and nobody else has it. Bytes of another dtype
                    // that were here before are no truth values.
                    unsafe { std::ptr::write_bytes(write.data.cast::<u8>(), 0, write.size) };
                }
            }
            // The slots were checked: all that is read is within its memory and written, all that is written is within
            // its memory and not read by this step.
            let reads: Vec<HostInput<'_>> = reads.iter().map(HostInput::of).collect();
            let mut writes: Vec<HostOutput<'_>> = writes.iter().map(HostOutput::of).collect();
            ran = each(number, &reads, &mut writes);
            if ran.is_err() {
                break;
            }
        }
        SCRATCH.set(scratch);
        ran
    }
}

/// Whether a slot is all of an input, seen as it is.
fn is_whole(slot: &Slot, input: &ArrayType) -> bool {
    slot.offset == 0 && slot.array_type == *input && slot.strides == row_major_strides(&input.shape)
}

/// Bytes of a [`Line`].
const LINE: usize = 64;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; LINE]);

/// Zeros of at least so many bytes.
fn lines(bytes: usize) -> Vec<Line> {
    vec![Line([0; LINE]); bytes.div_ceil(LINE)]
}

thread_local! {
    /// What the last sequence of this thread worked in: sequences are short, and fresh memory is slow.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests;
