//! Memory while MLX evaluates a tape: what is allocated, given away and freed, step by step. Nothing runs.

use std::collections::HashMap;

use mlx::{ArrayType, Op};

use super::layout::Layout;
use super::tape::{Primitive, Tape};
use crate::graph::element_count;

/// From this size on a buffer is larger than asked for, by this much: its elements start at a cache line.
const ALIGNED: usize = 4096;
const ALIGNMENT: usize = 80;

/// Primitives whose results may be written over an input of the same dtype.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Add",
    "ArcCos",
    "ArcCosh",
    "ArcSin",
    "ArcSinh",
    "ArcTan",
    "ArcTan2",
    "ArcTanh",
    "AsType",
    "BitwiseAnd",
    "BitwiseInvert",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "Conjugate",
    "Cos",
    "Cosh",
    "Divide",
    "Equal",
    "Erf",
    "ErfInv",
    "Exp",
    "Expm1",
    "Floor",
    "Greater",
    "GreaterEqual",
    "LeftShift",
    "Less",
    "LessEqual",
    "Log",
    "Log10",
    "Log1p",
    "Log2",
    "LogAddExp",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "Maximum",
    "Minimum",
    "Multiply",
    "Negative",
    "NotEqual",
    "Power",
    "Remainder",
    "RightShift",
    "Round",
    "Rsqrt",
    "Select",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Square",
    "Subtract",
    "Tan",
    "Tanh",
];

/// Primitives whose result starts as their first input.
const UPDATES: &[&str] = &[
    "Scatter",
    "ScatterAxis",
    "SliceUpdate",
    "DynamicSliceUpdate",
    "MaskedScatter",
];

/// A buffer that was in use at some moment.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) bytes: usize,
    pub(super) array_type: ArrayType,
    /// The node of our graph that filled it last.
    pub(super) node: Option<usize>,
}

/// Bytes in use after one primitive has allocated its results.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) node: Option<usize>,
    pub(super) bytes: usize,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Bytes in use at the worst moment, without what is given.
    pub(super) peak: usize,
    pub(super) moments: Vec<Moment>,
    /// The buffers in use at the worst moment.
    pub(super) at_peak: Vec<Live>,
    /// The place of the worst moment in `moments`.
    pub(super) worst: usize,
}

/// What the graph knows of its nodes.
pub(super) trait Nodes {
    /// The operation of a node, if it is one of MLX's.
    fn op(&self, node: usize) -> Option<&Op>;
    /// The input that each output of a node's kernel starts as.
    fn origins(&self, node: usize) -> &[Option<usize>];
}

struct Buffer {
    live: Live,
    /// Arrays in it.
    arrays: usize,
}

struct Simulation<'a> {
    tape: &'a Tape,
    nodes: &'a dyn Nodes,
    buffers: Vec<Buffer>,
    layouts: HashMap<usize, Layout>,
    /// How many others hold each array.
    holders: Vec<usize>,
    bytes: usize,
    seen: Seen,
}

/// Goes through a tape in the order in which MLX evaluates it.
pub(super) fn simulate(tape: &Tape, nodes: &dyn Nodes) -> Seen {
    let mut simulation = Simulation {
        tape,
        nodes,
        buffers: Vec::new(),
        layouts: HashMap::new(),
        holders: vec![0; tape.arrays.len()],
        bytes: 0,
        seen: Seen::default(),
    };
    simulation.start();
    for number in tape.order() {
        simulation.step(&tape.primitives[number]);
    }
    simulation.seen
}

impl Simulation<'_> {
    fn start(&mut self) {
        for (number, array) in self.tape.arrays.iter().enumerate() {
            if array.is_given {
                // The caller holds them.
                self.holders[number] = 1;
                let buffer = self.new_buffer(0, number, None);
                self.layouts
                    .insert(number, Layout::rows(buffer, &array.array_type));
            }
        }
        for primitive in &self.tape.primitives {
            for input in &primitive.inputs {
                self.holders[*input] += primitive.outputs.len();
            }
        }
        for output in &self.tape.outputs {
            self.holders[*output] += 1;
        }
    }

    fn new_buffer(&mut self, bytes: usize, array: usize, node: Option<usize>) -> usize {
        let bytes = match bytes {
            0..ALIGNED => bytes,
            _ => bytes + ALIGNMENT,
        };
        self.bytes += bytes;
        self.buffers.push(Buffer {
            live: Live {
                bytes,
                array_type: self.tape.arrays[array].array_type.clone(),
                node,
            },
            arrays: 1,
        });
        self.buffers.len() - 1
    }

    /// Allocates an array in row-major order, or in that of another.
    fn allocate(&mut self, array: usize, node: Option<usize>, like: Option<Layout>) {
        let array_type = &self.tape.arrays[array].array_type;
        let layout = like.unwrap_or_else(|| Layout::rows(0, array_type));
        let bytes = layout.data_size * array_type.dtype.size();
        let buffer = self.new_buffer(bytes, array, node);
        self.layouts.insert(array, layout.in_buffer(buffer));
    }

    fn share(&mut self, array: usize, layout: Layout) {
        self.buffers[layout.buffer].arrays += 1;
        self.layouts.insert(array, layout);
    }

    /// Whether an array is needed by nothing else than the `uses` of a primitive, and its memory by no other array.
    fn is_last_use(&self, array: usize, uses: usize) -> bool {
        let layout = self.layouts.get(&array);
        layout.is_some_and(|layout| {
            self.holders[array] == uses
                && self.buffers[layout.buffer].arrays == 1
                && layout.is_whole()
        })
    }

    fn donates(&self, input: usize, output: usize, uses: usize) -> bool {
        let (from, to) = (&self.tape.arrays[input], &self.tape.arrays[output]);
        !from.is_given
            && from.array_type.dtype == to.array_type.dtype
            && element_count(&from.array_type.shape) == element_count(&to.array_type.shape)
            && self.is_last_use(input, uses)
    }

    fn donated(&self, primitive: &Primitive, index: usize) -> Option<usize> {
        let (output, name) = (primitive.outputs[index], primitive.name.as_str());
        let inputs = &primitive.inputs;
        if UPDATES.contains(&name) {
            return inputs
                .first()
                .copied()
                .filter(|input| self.donates(*input, output, 1));
        }
        if ELEMENTWISE.contains(&name) {
            let is_bool = self.tape.arrays[output].array_type.dtype == mlx::Dtype::Bool;
            let mut candidates = inputs.iter().copied();
            return candidates.find(|input| !is_bool && self.donates(*input, output, 1));
        }
        let (node, result) = self.tape.arrays[output].result?;
        let origin = self.nodes.origins(node).get(result).copied().flatten()?;
        let input = *inputs.get(origin)?;
        let occurs = inputs.iter().filter(|one| **one == input).count();
        let is_free = occurs == 1 && self.donates(input, output, primitive.outputs.len());
        is_free.then_some(input)
    }

    /// The order of elements that all inputs of an elementwise operation have, if it is another than row-major.
    fn kept_order(&self, primitive: &Primitive) -> Option<Layout> {
        let first = self.layouts.get(primitive.inputs.first()?)?;
        let is_kept = ELEMENTWISE.contains(&primitive.name.as_str())
            && first.keeps_order()
            && primitive.inputs.iter().all(|input| {
                let layout = self.layouts.get(input);
                layout.is_some_and(|layout| layout.is_like(first))
            });
        is_kept.then(|| first.clone())
    }

    fn step(&mut self, primitive: &Primitive) {
        for (index, output) in primitive.outputs.iter().enumerate() {
            let to = &self.tape.arrays[*output];
            let op = to.result.and_then(|(node, _)| self.nodes.op(node));
            let first = primitive
                .inputs
                .get(if primitive.name == "CustomTransforms" {
                    index
                } else {
                    0
                });
            let view = first
                .and_then(|input| self.layouts.get(input))
                .and_then(|layout| layout.view(&primitive.name, op, &to.array_type));
            if let Some(view) = view {
                self.share(*output, view);
            } else if let Some(input) = self.donated(primitive, index) {
                let buffer = self.layouts[&input].buffer;
                self.buffers[buffer].live.node = primitive.node;
                self.share(*output, Layout::rows(buffer, &to.array_type));
            } else {
                let kept = self.kept_order(primitive);
                self.allocate(*output, primitive.node, kept);
            }
        }
        self.note(primitive.node);
        for input in &primitive.inputs {
            self.release(*input, primitive.outputs.len());
        }
        for output in &primitive.outputs {
            self.release(*output, 0);
        }
    }

    fn note(&mut self, node: Option<usize>) {
        self.seen.moments.push(Moment {
            node,
            bytes: self.bytes,
        });
        if self.bytes > self.seen.peak {
            self.seen.peak = self.bytes;
            self.seen.worst = self.seen.moments.len() - 1;
            let buffers = self.buffers.iter();
            let live = buffers.filter(|buffer| buffer.arrays > 0 && buffer.live.bytes > 0);
            self.seen.at_peak = live.map(|buffer| buffer.live.clone()).collect();
        }
    }

    /// Lets go of an array, and of its memory when nothing holds it any more.
    fn release(&mut self, array: usize, uses: usize) {
        self.holders[array] = self.holders[array].saturating_sub(uses);
        if self.holders[array] > 0 {
            return;
        }
        if let Some(layout) = self.layouts.remove(&array) {
            let buffer = &mut self.buffers[layout.buffer];
            buffer.arrays -= 1;
            if buffer.arrays == 0 {
                self.bytes -= buffer.live.bytes;
            }
        }
    }
}
