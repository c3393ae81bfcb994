//! The CPU as a backend of the native library.

use super::{prepare, run, supports};
use crate::ffi::cpu::{Backend, Prepared};
use crate::ffi::host::{HostInput, HostOutput, Layout};
use crate::op::Op;

/// This crate's kernels.
pub(crate) struct Cpu;

impl Backend for Cpu {
    fn prepare(op: &Op, inputs: &[Layout<'_>]) -> Option<Prepared> {
        prepare(op, inputs)
    }

    fn supports(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
        supports(op, inputs, output)
    }

    fn run(
        op: &Op,
        is_gradient: bool,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Result<(), String> {
        if is_gradient {
            let name = || format!("{} gradient", op.name());
            return run::run_gradient(op, inputs, outputs)
                .map_err(|text| run::error_of(&name(), &text));
        }
        run::run(op, inputs, outputs).map_err(|text| run::error_of(op.name(), &text))
    }
}
