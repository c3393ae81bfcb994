//! What is known of a value on the ranks, and one way to compute an operation on split inputs.

use std::fmt;

use mlx::{ArrayType, Op};

use crate::graph::Literal;

/// How a value is distributed over the ranks along one axis of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharding {
    /// Every rank has all of it.
    Replicated,
    /// Each rank has an equal part of this dimension, in the order of the ranks.
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
}

impl Site<'_> {
    /// Returns the sizes of an input, or none of one that is not there.
    pub(super) fn shape(&self, input: usize) -> &[i32] {
        self.inputs.get(input).map_or(&[], |one| &one.shape)
    }

    /// Returns the sizes of the first output.
    pub(super) fn out(&self) -> &[i32] {
        self.outputs.first().map_or(&[], |one| &one.shape)
    }

    /// Returns whether the ranks divide a size.
    pub(super) fn divides(&self, size: i32) -> bool {
        usize::try_from(size).is_ok_and(|size| size > 0 && size.is_multiple_of(self.ranks))
    }

    /// Returns a rank's part of a size.
    pub(super) fn part(&self, size: i32) -> i32 {
        size / i32::try_from(self.ranks).unwrap_or(1)
    }

    /// Returns a rank's part of a shape that is split along a dimension.
    pub(super) fn part_of(&self, shape: &[i32], dim: usize) -> Vec<i32> {
        let sizes = shape.iter().enumerate();
        sizes
            .map(|(at, size)| if at == dim { self.part(*size) } else { *size })
            .collect()
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
    /// The operation, then a quotient by this number.
    Divided(usize),
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
