//! The program of a small traced function, as ARCHITECTURE.md shows it.

use mlx::{Array, Device, array, fast};

use super::program;
use crate::CompileOptions;
use crate::graph::Operation;

/// What becomes of a step of a model: normalize, write into a cache, weigh its rows.
fn step(x: &Array, cache: &Array, at: &Array) -> mlx::Result<(Array, Array)> {
    let weight = array!([1.0, 1.0, 1.0, 1.0]);
    let row = fast::rms_norm(x, &weight, 1e-5) * 2.0 + x;
    let cache = cache.slice_update(&row, at, 0);
    Ok((row.matmul(&cache.t()).softmax(-1), cache))
}

#[test]
fn architecture_shows_the_program_of_a_step() {
    if !super::are_kernels_enabled() || !matches!(Device::current(), Ok(Device::Cpu)) {
        return;
    }
    let args = (
        &array!([[1.0, 2.0, 3.0, 4.0]]),
        &mlx::zeros([3, 4]),
        &array!([1]),
    );
    let traced = crate::trace(step, args).unwrap();
    let lowered = traced.lower(&CompileOptions::default()).unwrap();
    let graph = lowered.graph();
    let programs: Vec<String> = graph
        .nodes
        .iter()
        .filter_map(|node| match &node.operation {
            Operation::FusedGroup(body) => {
                let constants = node.inputs.iter().rev();
                let constants = constants.take_while(|input| graph.constant(**input).is_some());
                Some(
                    program::program(body, constants.count())
                        .unwrap()
                        .to_string(),
                )
            }
            _ => None,
        })
        .collect();
    let [program] = programs.as_slice() else {
        panic!("wanted one program, got {programs:?} of\n{graph}");
    };
    let page = include_str!("../../../../ARCHITECTURE.md");
    assert!(
        page.contains(program.as_str()),
        "ARCHITECTURE.md lacks\n{program}"
    );
}
