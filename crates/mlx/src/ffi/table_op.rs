//! Operations of the table, which every thread may use.

use crate::op::Op;

/// An operation of the table: never a custom one, which belongs to its thread.
pub(crate) struct TableOp(Op);

// SAFETY: `new` lets no `Op::Custom` in; the attributes of all other variants are `Send` and `Sync`, which `op/mod.rs`
// asserts for each.
unsafe impl Send for TableOp {}
// SAFETY: as for `Send`.
unsafe impl Sync for TableOp {}

impl TableOp {
    /// `None` for a custom operation.
    pub(crate) fn new(op: Op) -> Option<Self> {
        (!matches!(op, Op::Custom(_))).then_some(Self(op))
    }

    pub(crate) fn get(&self) -> &Op {
        &self.0
    }
}
