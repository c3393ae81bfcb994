//! Small calls: what a call costs that computes next to nothing.

use super::{Agreement, operation};
use crate::harness::rows::{Benchmark, Group};

pub(super) fn rows() -> Vec<Benchmark> {
    use Agreement::Rounded;
    let operations = [
        operation("small_add_64", &[&[64], &[64]], &[64], Rounded),
        operation("small_rms_norm_1x64", &[&[1, 64], &[64]], &[1, 64], Rounded),
        operation(
            "small_rms_norm_16x256",
            &[&[16, 256], &[256]],
            &[16, 256],
            Rounded,
        ),
        // A hundred times `x + 1`, evaluated once.
        operation("small_chain_100", &[&[64]], &[64], Rounded),
    ];
    operations
        .iter()
        .map(|operation| operation.row("float32", Group::Calls))
        .collect()
}
