//! The order of communications, where the graphs of ranks are not alike in sizes.
//!
//! MLX evaluates what does not depend on each other in an order that comes from the form of the graph. Where ranks have
//! parts of different sizes, passes may give their graphs different forms. So each communication is made to depend on the
//! one before it, if it does not already.

use std::collections::HashSet;

use mlx::transforms::Transform;
use mlx::{ArrayType, Op, PadMode};

use crate::Result;
use crate::graph::{Graph, GraphRewriter, Operation, SourceLocation, Value};
use crate::passes;

/// Returns a graph whose communications depend on each other in the order of its nodes.
pub(super) fn ordered(graph: &Graph) -> Result<Graph> {
    let mut next = Graph::new(graph.name());
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    let undefined = || passes::undefined_value("shard");
    // What the last communication gave, and what depends on it.
    let mut last: Vec<Value> = Vec::new();
    let mut after: HashSet<Value> = HashSet::new();
    for node in &graph.nodes {
        let inputs = rewriter.lookup_all(&mut next, &node.inputs);
        let mut inputs = inputs.ok_or_else(undefined)?;
        let communicates = node.operation.communicates();
        let operation = match communicates {
            true => inside(&node.operation)?,
            false => node.operation.clone(),
        };
        let mut depends = inputs.iter().any(|input| after.contains(input));
        let has_axis = |input: &Value| !next.array_type(*input).shape.is_empty();
        let at = inputs.iter().position(has_axis);
        if let (true, false, Some(at)) = (communicates, depends, at) {
            for other in &last {
                inputs[at] = behind(&mut next, inputs[at], *other, node.site);
                depends = true;
            }
        }
        let types = node
            .outputs
            .iter()
            .map(|output| graph.array_type(*output).clone());
        let outputs = next.add_node(operation, inputs, types.collect(), node.site);
        for (old, new) in node.outputs.iter().zip(&outputs) {
            rewriter.map(*old, *new);
        }
        let is_graph = node.operation.op().is_none();
        if communicates {
            after.clear();
            last.clone_from(&outputs);
        }
        // Of what is in a graph, an output may depend on a part only: what comes behind is made to depend on all outputs.
        if communicates && !is_graph || !communicates && depends {
            after.extend(&outputs);
        }
    }
    rewriter.copy_outputs(&mut next).ok_or_else(undefined)?;
    Ok(next)
}

/// The same in the graphs of an operation; not in a `vmap`, in which a value cannot be made to depend on another so.
fn inside(operation: &Operation) -> Result<Operation> {
    if let Operation::Transform {
        transform: Transform::Vmap { .. },
        ..
    } = operation
    {
        return Ok(operation.clone());
    }
    let mut failed = None;
    let mapped = operation.map_graphs(&mut |graph| match ordered(graph) {
        Ok(graph) => graph,
        Err(error) => {
            failed = Some(error);
            graph.clone()
        }
    });
    failed.map_or(Ok(mapped), Err)
}

/// Appends a value that is computed after another one: nothing is put behind it, filled with an element of the other.
fn behind(into: &mut Graph, value: Value, other: Value, site: SourceLocation) -> Value {
    let array_type = into.array_type(value).clone();
    let given = into.array_type(other).clone();
    let mut append = |op: Op, inputs: Vec<Value>, made: ArrayType| {
        into.add_node(Operation::Op(op), inputs, vec![made], site)[0]
    };
    let n = given.shape.len();
    let first = Op::Slice {
        start: vec![0; n],
        stop: vec![1; n],
        strides: vec![1; n],
    };
    let one = append(first, vec![other], ArrayType::new(vec![1; n], given.dtype));
    let shape = Op::Reshape { shape: Vec::new() };
    let mut number = append(shape, vec![one], ArrayType::new((), given.dtype));
    let dtype = array_type.dtype;
    if given.dtype != dtype {
        number = append(
            Op::Astype { dtype },
            vec![number],
            ArrayType::new((), dtype),
        );
    }
    let number = append(Op::StopGradient, vec![number], ArrayType::new((), dtype));
    let nothing = Op::Pad {
        axes: vec![0],
        low: vec![0],
        high: vec![0],
        mode: PadMode::Constant,
    };
    append(nothing, vec![value, number], array_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_independent_comes_behind_the_one_before() {
        let graph: Graph = "\
graph f(x0: float32[2, 3], x1: float32[4]) {
  %0: float32[2, 3] = distributed.all_sum x0 group=\"x\"
  %1: float32[4] = distributed.all_sum x1 group=\"x\"
  %2: float32[4] = tanh %1
  %3: float32[4] = distributed.all_sum %2 group=\"x\"
  return %0, %3
}"
        .parse()
        .unwrap();
        let ordered = ordered(&graph).unwrap();
        ordered.verify().unwrap();
        let text = ordered.to_string();
        assert_eq!(text.matches("pad x1").count(), 1, "{text}");
        assert_eq!(text.matches(" pad ").count(), 1, "{text}");
    }
}
