//! The memory of a program: which bytes each instruction reads and writes, checked once, filled in for each run.

use std::cell::RefCell;

use mlx_sys as sys;

use super::host::{HostInput, HostOutput};
use crate::dtype::Dtype;
use crate::shape::{ArrayType, row_major_strides};

/// Where the elements of a view are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// An input of the program.
    Input(usize),
    /// An output of the program.
    Output(usize),
    /// Memory of the run.
    Scratch,
}

/// An array that an instruction reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct BufferView {
    pub(crate) memory: Memory,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) array_type: ArrayType,
    /// In elements, none negative.
    pub(crate) strides: Vec<i64>,
}

/// What one instruction reads and writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstructionViews {
    pub(crate) inputs: Vec<BufferView>,
    /// In row-major order.
    pub(crate) outputs: Vec<BufferView>,
    /// Whether the instruction takes inputs of the program with any strides.
    pub(crate) takes_strides: bool,
}

/// The views of all instructions, checked.
pub(crate) struct MemoryPlan {
    instructions: Vec<InstructionViews>,
    inputs: Vec<ArrayType>,
    outputs: Vec<ArrayType>,
    donated: Vec<Option<usize>>,
    /// Whether an instruction needs an input in row-major order.
    needs_contiguous: Vec<bool>,
    scratch: usize,
}

/// Bytes of one memory.
#[derive(Clone, Copy)]
struct ByteRange {
    memory: Memory,
    start: usize,
    end: usize,
    dtype: Dtype,
}

impl ByteRange {
    fn of(view: &BufferView) -> Option<Self> {
        let itemsize = view.array_type.dtype.size();
        let mut elements = 1_usize;
        for (&size, &stride) in view.array_type.shape.iter().zip(&view.strides) {
            let size = usize::try_from(size).ok()?;
            if size == 0 {
                elements = 0;
                break;
            }
            let last = usize::try_from(stride).ok()?.checked_mul(size - 1)?;
            elements = elements.checked_add(last)?;
        }
        let is_whole = view.strides.len() == view.array_type.shape.len()
            && view.offset.is_multiple_of(itemsize);
        is_whole.then_some(Self {
            memory: view.memory,
            start: view.offset,
            end: view.offset.checked_add(elements.checked_mul(itemsize)?)?,
            dtype: view.array_type.dtype,
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.memory == other.memory && self.start < other.end && other.start < self.end
    }

    fn contains(&self, other: &Self) -> bool {
        self.memory == other.memory
            && self.start <= other.start
            && other.end <= self.end
            && self.dtype == other.dtype
    }
}

/// The sizes of all memory in bytes.
struct Sizes {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    scratch: usize,
}

impl Sizes {
    fn of(&self, memory: Memory) -> Option<usize> {
        match memory {
            Memory::Input(index) => self.inputs.get(index).copied(),
            Memory::Output(index) => self.outputs.get(index).copied(),
            Memory::Scratch => Some(self.scratch),
        }
    }
}

/// What holds elements before the first instruction: inputs, and outputs that start as one; `None` if an output cannot.
fn written_before(
    inputs: &[ArrayType],
    outputs: &[ArrayType],
    donated: &[Option<usize>],
) -> Option<Vec<ByteRange>> {
    let whole = |memory, array_type: &ArrayType| {
        Some(ByteRange {
            memory,
            start: 0,
            end: array_type.nbytes()?,
            dtype: array_type.dtype,
        })
    };
    let mut written = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        if !donated.contains(&Some(index)) {
            written.push(whole(Memory::Input(index), input)?);
        }
    }
    for (index, (output, input)) in outputs.iter().zip(donated).enumerate() {
        if let Some(input) = *input {
            (inputs.get(input) == Some(output)).then_some(())?;
            written.push(whole(Memory::Output(index), output)?);
        }
    }
    Some(written)
}

/// Checks one instruction and notes what it writes; `None` if it reads what was not written, or writes what it may not.
fn check(
    instruction: &InstructionViews,
    sizes: &Sizes,
    written: &mut Vec<ByteRange>,
) -> Option<()> {
    let ranges = |views: &[BufferView]| views.iter().map(ByteRange::of).collect::<Option<Vec<_>>>();
    let (reads, writes) = (ranges(&instruction.inputs)?, ranges(&instruction.outputs)?);
    for read in &reads {
        let last = written.iter().rev().find(|range| range.overlaps(read));
        let is_defined = read.start == read.end || last.is_some_and(|range| range.contains(read));
        (is_defined && read.end <= sizes.of(read.memory)?).then_some(())?;
    }
    for (number, (write, view)) in writes.iter().zip(&instruction.outputs).enumerate() {
        let mut others = reads.iter().chain(&writes[..number]);
        let fits = write.end <= sizes.of(write.memory)?
            && !matches!(write.memory, Memory::Input(_))
            && !others.any(|other| other.overlaps(write))
            && view.strides == row_major_strides(&view.array_type.shape);
        fits.then_some(())?;
    }
    written.retain(|range| {
        !writes
            .iter()
            .any(|write| range.overlaps(write) && write.contains(range))
    });
    written.extend(writes);
    Some(())
}

impl MemoryPlan {
    /// Checks views: each is within its memory, an instruction writes nothing that it reads, and everything that is read
    /// was written before, as the same dtype. `donated` are the inputs that outputs start as, which no instruction reads.
    ///
    /// `None` when that is not so.
    pub(crate) fn new(
        inputs: Vec<ArrayType>,
        outputs: Vec<ArrayType>,
        donated: Vec<Option<usize>>,
        scratch: usize,
        instructions: Vec<InstructionViews>,
    ) -> Option<Self> {
        let count = |types: &[ArrayType]| {
            types
                .iter()
                .map(ArrayType::nbytes)
                .collect::<Option<Vec<_>>>()
        };
        let sizes = Sizes {
            inputs: count(&inputs)?,
            outputs: count(&outputs)?,
            scratch,
        };
        let mut written = written_before(&inputs, &outputs, &donated)?;
        for instruction in &instructions {
            check(instruction, &sizes, &mut written)?;
        }
        let mut needs_contiguous = vec![false; inputs.len()];
        for instruction in &instructions {
            for view in &instruction.inputs {
                if let Memory::Input(index) = view.memory
                    && !(instruction.takes_strides && is_whole(view, &inputs[index]))
                {
                    needs_contiguous[index] = true;
                }
            }
        }
        (donated.len() == outputs.len()).then_some(Self {
            instructions,
            inputs,
            outputs,
            donated,
            needs_contiguous,
            scratch,
        })
    }

    /// Calls `each` for every instruction with the arrays that it reads and writes.
    ///
    /// # Errors
    /// When inputs or outputs are of other types, and what `each` returns.
    pub(crate) fn run(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
        each: impl FnMut(usize, &[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>,
    ) -> Result<(), String> {
        self.check_types(inputs, outputs)?;
        let mut copies = Vec::new();
        let mut bases = Vec::with_capacity(inputs.len());
        let mut is_contiguous = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            let contiguous =
                self.donated.contains(&Some(index)) || input.layout().is_row_contiguous();
            is_contiguous.push(contiguous);
            if contiguous || !self.needs_contiguous[index] {
                bases.push(input.buffer().data.cast::<u8>());
            } else {
                let mut copy = lines(input.size_in_bytes());
                let (base, len) = (copy.as_mut_ptr().cast::<u8>(), input.size_in_bytes());
                // SAFETY: the copy has this many bytes, and is only used here.
                input.copy_contiguous(unsafe { std::slice::from_raw_parts_mut(base, len) })?;
                // The lines keep their place when the vector around them grows.
                copies.push(copy);
                bases.push(base);
            }
        }
        let mut scratch = SCRATCH.take();
        if scratch.len() * LINE < self.scratch {
            scratch = lines(self.scratch);
        }
        let run = Run {
            plan: self,
            inputs,
            is_contiguous,
            input_bases: bases,
            output_bases: outputs
                .iter()
                .map(|output| output.buffer().data.cast::<u8>())
                .collect(),
            scratch: scratch.as_mut_ptr().cast::<u8>(),
        };
        let ran = run.each(each);
        SCRATCH.set(scratch);
        ran
    }

    fn check_types(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &[HostOutput<'_>],
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
        for (index, (input, wanted)) in inputs.iter().zip(&self.inputs).enumerate() {
            let got = input.layout();
            if got.dtype() != wanted.dtype || got.shape() != wanted.shape {
                return Err(format!(
                    "wanted {wanted} as input {index}, got another type"
                ));
            }
        }
        for (output, wanted) in outputs.iter().zip(&self.outputs) {
            if output.dtype() != wanted.dtype || output.shape() != wanted.shape {
                return Err(format!("wanted an output {wanted}, got another type"));
            }
        }
        Ok(())
    }
}

/// One run of a plan: where everything is.
struct Run<'a> {
    plan: &'a MemoryPlan,
    inputs: &'a [HostInput<'a>],
    is_contiguous: Vec<bool>,
    input_bases: Vec<*mut u8>,
    output_bases: Vec<*mut u8>,
    scratch: *mut u8,
}

impl Run<'_> {
    fn each(
        &self,
        mut each: impl FnMut(usize, &[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut buffers = Vec::new();
        for (number, instruction) in self.plan.instructions.iter().enumerate() {
            buffers.clear();
            let views = instruction.inputs.iter().chain(&instruction.outputs);
            buffers.extend(views.map(|view| self.buffer(view, instruction.takes_strides)));
            let (reads, writes) = buffers.split_at(instruction.inputs.len());
            for (view, write) in instruction.outputs.iter().zip(writes) {
                if view.memory == Memory::Scratch && view.array_type.dtype == Dtype::Bool {
                    // SAFETY: within the scratch memory, as was checked, which only this run uses. Bytes of another dtype
                    // that were here before are no `bool`.
                    unsafe { std::ptr::write_bytes(write.data.cast::<u8>(), 0, write.size) };
                }
            }
            // The views were checked: all that is read is within its memory and written, all that is written is within
            // its memory and not read by this instruction.
            let reads: Vec<HostInput<'_>> = reads.iter().map(HostInput::of).collect();
            let mut writes: Vec<HostOutput<'_>> = writes.iter().map(HostOutput::of).collect();
            each(number, &reads, &mut writes)?;
        }
        Ok(())
    }

    fn buffer(&self, view: &BufferView, takes_strides: bool) -> sys::mlx_native_buffer {
        if let Memory::Input(index) = view.memory
            && takes_strides
            && !self.is_contiguous[index]
            && is_whole(view, &self.plan.inputs[index])
        {
            return *self.inputs[index].buffer();
        }
        let base = match view.memory {
            Memory::Input(index) => self.input_bases[index],
            Memory::Output(index) => self.output_bases[index],
            Memory::Scratch => self.scratch,
        };
        let shape = &view.array_type.shape;
        sys::mlx_native_buffer {
            data: base.wrapping_add(view.offset).cast(),
            shape: shape.as_ptr(),
            strides: view.strides.as_ptr(),
            ndim: shape.len(),
            // MLX has no negative sizes.
            size: shape.iter().map(|&size| size.max(0) as usize).product(),
            dtype: view.array_type.dtype.raw(),
        }
    }
}

/// Whether a view is all of an input, seen as it is.
fn is_whole(view: &BufferView, input: &ArrayType) -> bool {
    view.offset == 0 && view.array_type == *input && view.strides == row_major_strides(&input.shape)
}

/// Bytes of a [`Line`].
const LINE: usize = 64;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; LINE]);

/// Zeros of at least this many bytes.
fn lines(bytes: usize) -> Vec<Line> {
    vec![Line([0; LINE]); bytes.div_ceil(LINE)]
}

thread_local! {
    /// The scratch memory of the last program of this thread: programs are short, and fresh memory is slow.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests;
