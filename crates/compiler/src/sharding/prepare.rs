//! The form of a graph that is split: canonical, and with products and sums apart.

use mlx::{ArrayType, Op};

use crate::graph::{Constant, Graph, GraphRewriter, Literal, Node, Operation, Value};
use crate::passes::{self, Context};
use crate::{CompileOptions, Report, Result};

/// Returns the graph in canonical form, with `addmm` as a product and a sum: what is added must not be added by each rank.
pub(super) fn prepare(graph: &Graph) -> Result<Graph> {
    let options = CompileOptions::default();
    let mut report = Report::default();
    let mut context = Context {
        options: &options,
        report: &mut report,
        kept: Vec::new(),
    };
    expand(&passes::run(passes::CANONICALIZE, graph, &mut context)?)
}

fn expand(graph: &Graph) -> Result<Graph> {
    let mut next = Graph::new(graph.name());
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for node in &graph.nodes {
        if let Operation::Op(Op::Addmm { alpha, beta }) = node.operation {
            let inputs = rewriter.lookup_all(&mut next, &node.inputs);
            let inputs = inputs.ok_or_else(|| passes::undefined_value("shard"))?;
            let sum = product_and_sum(graph, &mut next, node, &inputs, (alpha, beta));
            rewriter.map(node.outputs[0], sum);
            continue;
        }
        let mut failed = None;
        let mut node = node.clone();
        node.operation = node.operation.map_graphs(&mut |inner| match expand(inner) {
            Ok(inner) => inner,
            Err(error) => {
                failed = Some(error);
                inner.clone()
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        rewriter
            .copy_node(&mut next, &node)
            .ok_or_else(|| passes::undefined_value("shard"))?;
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| passes::undefined_value("shard"))?;
    Ok(next)
}

/// Appends `alpha * a @ b + beta * c`.
fn product_and_sum(
    graph: &Graph,
    into: &mut Graph,
    node: &Node,
    inputs: &[Value],
    (alpha, beta): (f32, f32),
) -> Value {
    let out = graph.array_type(node.outputs[0]).clone();
    let mut append = |op: Op, inputs: Vec<Value>, array_type: ArrayType| {
        into.add_node(Operation::Op(op), inputs, vec![array_type], node.site)[0]
    };
    let product = append(Op::Matmul, vec![inputs[1], inputs[2]], out.clone());
    let product = times(into, node, product, alpha, out.dtype);
    let added = times(into, node, inputs[0], beta, out.dtype);
    into.add_node(
        Operation::Op(Op::Add),
        vec![product, added],
        vec![out],
        node.site,
    )[0]
}

fn times(into: &mut Graph, node: &Node, value: Value, factor: f32, dtype: mlx::Dtype) -> Value {
    if factor == 1.0 {
        return value;
    }
    let number = Constant::Number(Literal::Float(factor.into()));
    let factor = into.add_constant(ArrayType::new((), dtype), number);
    let array_type = ArrayType::new(into.array_type(value).shape.clone(), dtype);
    into.add_node(
        Operation::Op(Op::Multiply),
        vec![value, factor],
        vec![array_type],
        node.site,
    )[0]
}
