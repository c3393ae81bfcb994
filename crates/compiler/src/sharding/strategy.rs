//! What is known of a value on the ranks, and one way to compute an operation on split inputs.

use std::fmt;

use mlx::{ArrayType, Op};

use crate::graph::{Constant, Graph, Literal, Node, Value};

/// How a value is distributed over the ranks along one axis of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharding {
    /// Every rank has all of it.
    Replicated,
    /// Each rank has a part of this dimension, as its [`DimLayout`](super::DimLayout) says: in the order of the ranks, and
    /// equal ones where the ranks divide it.
    Sharded(usize),
    /// The value is the sum, or the maximum or minimum, of what the ranks have.
    Unreduced(Reduction),
}

/// What makes a whole value of unreduced ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their maximum.
    Max,
    /// Their minimum.
    Min,
}

impl fmt::Display for Sharding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicated => f.write_str("replicated"),
            Self::Sharded(dim) => write!(f, "sharded along {dim}"),
            Self::Unreduced(Reduction::Sum) => f.write_str("an unreduced sum"),
            Self::Unreduced(Reduction::Max) => f.write_str("an unreduced maximum"),
            Self::Unreduced(Reduction::Min) => f.write_str("an unreduced minimum"),
        }
    }
}

pub(super) use Sharding::{Replicated, Sharded, Unreduced};

/// The sharding of a value that is a sum of what the ranks have.
pub(super) const SUM: Sharding = Unreduced(Reduction::Sum);

/// An operation that is to be computed on ranks: what a rule reads.
pub(super) struct Site<'a> {
    pub(super) op: &'a Op,
    pub(super) inputs: Vec<&'a ArrayType>,
    /// The inputs that are numbers of the program.
    pub(super) numbers: Vec<Option<Literal>>,
    pub(super) outputs: Vec<&'a ArrayType>,
    pub(super) ranks: usize,
    /// Whether ranks may have parts of different sizes.
    pub(super) uneven: bool,
    /// The sizes that a rank has of each input, where it is split.
    pub(super) input_parts: Vec<Vec<i32>>,
    /// The sizes that a rank has of each output, where it is split.
    pub(super) output_parts: Vec<Vec<i32>>,
}

impl<'a> Site<'a> {
    /// Returns what is known of a node before anything is split.
    pub(super) fn whole(
        graph: &'a Graph,
        node: &Node,
        op: &'a Op,
        ranks: usize,
        uneven: bool,
    ) -> Self {
        let types = |values: &[Value]| values.iter().map(|v| graph.array_type(*v)).collect();
        let number = |value: &Value| match graph.constant(*value) {
            Some(Constant::Number(literal)) => Some(*literal),
            _ => None,
        };
        let sizes = |values: &[Value]| {
            let shapes = values.iter().map(|v| graph.array_type(*v).shape.to_vec());
            shapes.collect()
        };
        Site {
            op,
            inputs: types(&node.inputs),
            numbers: node.inputs.iter().map(number).collect(),
            outputs: types(&node.outputs),
            ranks,
            uneven,
            input_parts: sizes(&node.inputs),
            output_parts: sizes(&node.outputs),
        }
    }

    /// Returns the sizes of an input, or none of one that is not there.
    pub(super) fn shape(&self, input: usize) -> &[i32] {
        self.inputs.get(input).map_or(&[], |one| &one.shape)
    }

    /// Returns the sizes of the first output.
    pub(super) fn out(&self) -> &[i32] {
        self.outputs.first().map_or(&[], |one| &one.shape)
    }

    /// Returns whether a size can be distributed over the ranks.
    pub(super) fn divides(&self, size: i32) -> bool {
        usize::try_from(size).is_ok_and(|size| match self.uneven {
            true => size >= self.ranks,
            false => size > 0 && size.is_multiple_of(self.ranks),
        })
    }

    /// Returns a rank's part of a dimension of the first input.
    pub(super) fn input_part(&self, dim: usize) -> i32 {
        let parts = self.input_parts.first();
        parts.and_then(|parts| parts.get(dim)).copied().unwrap_or(0)
    }

    /// Returns a shape with a rank's part of the first input in a dimension.
    pub(super) fn with_input_part(&self, shape: &[i32], dim: usize) -> Vec<i32> {
        let mut shape = shape.to_vec();
        shape[dim] = self.input_part(dim);
        shape
    }

    /// Returns a shape with a rank's part of the first output in a dimension.
    pub(super) fn with_output_part(&self, shape: &[i32], dim: usize) -> Vec<i32> {
        let mut shape = shape.to_vec();
        let parts = self.output_parts.first();
        shape[dim] = parts.and_then(|parts| parts.get(dim)).copied().unwrap_or(0);
        shape
    }

    /// Returns whether an input is a number with which a sum and its parts are multiplied or divided alike.
    ///
    /// Not 0, infinity or NaN: of 1 and -3, divided by 0, the sum is NaN, and that of -2 is negative infinity.
    pub(super) fn scales(&self, input: usize) -> bool {
        let is_normal = |number: f64| {
            let limits = mlx::finfo(self.inputs[input].dtype);
            limits.is_ok_and(|of| (of.smallest_normal..=of.max).contains(&number.abs()))
        };
        match self.numbers.get(input).copied().flatten() {
            Some(Literal::Float(number)) => is_normal(number),
            Some(Literal::Complex(re, im)) => is_normal(f64::from(re).hypot(im.into())),
            _ => false,
        }
    }

    /// Returns whether all inputs have the dtype of the first output: sums are made before they are rounded.
    pub(super) fn has_one_dtype(&self) -> bool {
        let out = self.outputs.first().map(|one| one.dtype);
        self.inputs.iter().all(|one| Some(one.dtype) == out)
    }

    /// Returns whether sums of the first output over ranks make sense: not of truth values.
    pub(super) fn adds(&self) -> bool {
        self.outputs
            .first()
            .is_some_and(|one| one.dtype != mlx::Dtype::Bool)
    }
}

/// What each rank computes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Local {
    /// The operation as it is.
    Same,
    /// The operation with other attributes.
    Op(Op),
    /// The operation, then the rank's share of it: the part of this dimension of the first input that it has.
    Weighted(usize),
    /// Rows of a table that is split along this axis: zeros for those that other ranks have.
    MaskedTake(usize),
}

/// One way to compute an operation on split inputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strategy {
    pub(super) inputs: Vec<Sharding>,
    pub(super) outputs: Vec<Sharding>,
    pub(super) local: Local,
}

impl Strategy {
    /// Returns a way with the operation as it is and one output.
    pub(super) fn new(inputs: Vec<Sharding>, output: Sharding) -> Self {
        Self {
            inputs,
            outputs: vec![output],
            local: Local::Same,
        }
    }

    /// Returns the way with another operation.
    pub(super) fn with_op(mut self, op: Op) -> Self {
        self.local = Local::Op(op);
        self
    }
}
