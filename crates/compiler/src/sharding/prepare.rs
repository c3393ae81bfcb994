//! The form of a graph that is split: canonical, and with products and sums apart.

use mlx::{ArrayType, Dtype, Op};

use crate::graph::{Constant, Graph, GraphRewriter, Literal, Node, Operation, Value};
use crate::passes::{self, Context};
use crate::{CompileOptions, Report, Result};

/// Returns the graph in canonical form, with `addmm` as a product and a sum: what is added must not be added by each rank.
pub(super) fn prepare(graph: &Graph) -> Result<Graph> {
    let options = CompileOptions::default();
    let mut report = Report::default();
    let mut context = Context::new(&options, &mut report);
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

/// Appends `alpha * a @ b + beta * c`, in the dtype of the result; a part whose factor is 0 is left out, as MLX does.
fn product_and_sum(
    graph: &Graph,
    into: &mut Graph,
    node: &Node,
    inputs: &[Value],
    (alpha, beta): (f32, f32),
) -> Value {
    let out = graph.array_type(node.outputs[0]).clone();
    // MLX adds complex numbers without a kernel of its own, and leaves nothing out.
    let has = |factor: f32| factor != 0.0 || out.dtype == Dtype::Complex64;
    let product = has(alpha).then(|| {
        let [a, b] = [1, 2].map(|k| cast(into, node, inputs[k], out.dtype));
        let product = append(into, node, Op::Matmul, vec![a, b], out.clone());
        times(into, node, product, alpha, out.dtype)
    });
    let added = has(beta).then(|| {
        let added = cast(into, node, inputs[0], out.dtype);
        times(into, node, added, beta, out.dtype)
    });
    let shape = out.shape.to_vec();
    match (product, added) {
        (Some(product), Some(added)) => append(into, node, Op::Add, vec![product, added], out),
        (Some(product), None) => product,
        (None, added) => {
            let zero = Constant::Number(Literal::Float(0.0));
            let number = ArrayType::new((), out.dtype);
            let added = added.unwrap_or_else(|| into.add_constant(number, zero));
            append(into, node, Op::BroadcastTo { shape }, vec![added], out)
        }
    }
}

fn append(into: &mut Graph, node: &Node, op: Op, inputs: Vec<Value>, made: ArrayType) -> Value {
    into.add_node(Operation::Op(op), inputs, vec![made], node.site)[0]
}

fn cast(into: &mut Graph, node: &Node, value: Value, dtype: Dtype) -> Value {
    let array_type = into.array_type(value).clone();
    if array_type.dtype == dtype {
        return value;
    }
    let array_type = ArrayType::new(array_type.shape, dtype);
    append(into, node, Op::Astype { dtype }, vec![value], array_type)
}

fn times(into: &mut Graph, node: &Node, value: Value, factor: f32, dtype: Dtype) -> Value {
    if factor == 1.0 {
        return value;
    }
    let number = Constant::Number(Literal::Float(factor.into()));
    let factor = into.add_constant(ArrayType::new((), dtype), number);
    let made = ArrayType::new(into.array_type(value).shape.clone(), dtype);
    append(into, node, Op::Multiply, vec![value, factor], made)
}
