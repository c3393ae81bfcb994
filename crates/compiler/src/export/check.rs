//! Whether the types in a graph that came from a file are those that its operations give.

use mlx::compiler_api::without_recording;
use mlx::{Array, ArrayType, zeros_with};

use crate::execute::Executor;
use crate::graph::{Graph, Operation};
use crate::{Error, Result};

/// Checks the types of all values by applying the operations to arrays that are never computed.
///
/// # Errors
/// When an operation refuses its inputs, or gives another type than the graph says: what `wrong` makes of the text, which names
/// the file.
pub(super) fn check_types(wrong: &dyn Fn(String) -> Error, graph: &Graph) -> Result<()> {
    graph.verify().map_err(|error| wrong(error.to_string()))?;
    let mut failed = None;
    let executor = Executor::for_types(graph.clone()).map_err(|error| wrong(error.to_string()))?;
    let inputs: Vec<Array> = graph
        .input_types()
        .into_iter()
        .map(|input| zeros_with(input.shape, input.dtype))
        .collect();
    let mut compare = |node: usize, outputs: &[Array]| {
        let node = &graph.nodes[node];
        for (value, output) in node.outputs.iter().zip(outputs) {
            let wanted = graph.array_type(*value);
            match mlx::compiler_api::type_of(output) {
                Ok(got) if got == *wanted => {}
                Ok(got) if failed.is_none() => {
                    failed = Some(mismatch(node.operation.name(), wanted, &got))
                }
                Ok(_) => {}
                Err(error) => failed = failed.take().or(Some(error.to_string())),
            }
        }
    };
    let inputs: Vec<&Array> = inputs.iter().collect();
    without_recording(|| executor.run_with(&inputs, &mut compare))
        .map_err(|error| wrong(error.to_string()))?;
    if let Some(message) = failed {
        return Err(wrong(message));
    }
    for node in &graph.nodes {
        if !matches!(node.operation, Operation::Op(_)) {
            for (_, inner) in node.operation.graphs() {
                check_types(wrong, inner)?;
            }
        }
    }
    Ok(())
}

fn mismatch(operation: &str, wanted: &ArrayType, got: &ArrayType) -> String {
    format!(
        "wanted the types that operations give, got {wanted} for {operation}, which gives {got}"
    )
}
