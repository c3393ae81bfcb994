//! Rows of a table of which each rank has some: a rank gives zeros for those of others, and the sum is what was asked for.

use mlx::{ArrayType, Dtype, Op};

use super::convert::zero_of;
use crate::graph::{Constant, Graph, Literal, Operation, SourceLocation, Value};

/// What a `take` from a split table is of.
pub(super) struct MaskedTake {
    /// The axis of the table that is split, and that indices are of.
    pub(super) axis: usize,
    /// The number of rows of the whole table.
    pub(super) all: usize,
    /// The first row that this rank has.
    pub(super) first: usize,
    pub(super) site: SourceLocation,
}

/// Appends the rows of this rank's part `table` at `indices` of the whole one, zeros where it does not have them.
pub(super) fn append_masked_take(into: &mut Graph, inputs: &[Value], take: &MaskedTake) -> Value {
    let (table, indices) = (inputs[0], inputs[1]);
    let table_type = into.array_type(table).clone();
    let own = i64::from(table_type.shape[take.axis]);
    let at = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let (all, first) = (at(take.all), at(take.first));
    let shape = into.array_type(indices).shape.clone();
    let int = Dtype::Int32;
    let number = |into: &mut Graph, dtype, literal| {
        into.add_constant(ArrayType::new((), dtype), Constant::Number(literal))
    };
    let numbers = [0, all, first, own, own - 1].map(|value| number(into, int, Literal::Int(value)));
    let [zero, all, first, own, last] = numbers;
    let mut append = |op: Op, inputs: Vec<Value>, shape: &[i32], dtype| {
        let array_type = ArrayType::new(shape.to_vec(), dtype);
        into.add_node(Operation::Op(op), inputs, vec![array_type], take.site)[0]
    };
    let wide = append(Op::Astype { dtype: int }, vec![indices], &shape, int);
    // Negative indices count from the end of the whole table.
    let is_negative = append(Op::Less, vec![wide, zero], &shape, Dtype::Bool);
    let from_end = append(Op::Add, vec![wide, all], &shape, int);
    let counted = append(Op::Where, vec![is_negative, from_end, wide], &shape, int);
    let local = append(Op::Subtract, vec![counted, first], &shape, int);
    let after = append(Op::GreaterEqual, vec![local, zero], &shape, Dtype::Bool);
    let before = append(Op::Less, vec![local, own], &shape, Dtype::Bool);
    let has = append(Op::LogicalAnd, vec![after, before], &shape, Dtype::Bool);
    let least = append(Op::Maximum, vec![local, zero], &shape, int);
    let clipped = append(Op::Minimum, vec![least, last], &shape, int);
    let (head, tail) = table_type.shape.split_at(take.axis);
    let rows: Vec<i32> = [head, &shape, &tail[1..]].concat();
    let axis = i32::try_from(take.axis).unwrap_or(0);
    let taken = append(
        Op::Take { axis },
        vec![table, clipped],
        &rows,
        table_type.dtype,
    );
    let mut mask_shape = shape.clone();
    mask_shape.extend(tail[1..].iter().map(|_| 1));
    let reshape = Op::Reshape {
        shape: mask_shape.clone(),
    };
    let mask = append(reshape, vec![has], &mask_shape, Dtype::Bool);
    let nothing = number(into, table_type.dtype, zero_of(table_type.dtype));
    let array_type = ArrayType::new(rows, table_type.dtype);
    let inputs = vec![mask, taken, nothing];
    into.add_node(
        Operation::Op(Op::Where),
        inputs,
        vec![array_type],
        take.site,
    )[0]
}
