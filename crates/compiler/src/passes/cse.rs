//! Common subexpression elimination: what is computed twice from the same values is computed once.

use std::collections::HashMap;

use mlx::compiler_api::{OpFlags, TracedArray};
use mlx::{Device, Dtype, Op};

use super::{Context, map_subgraphs, undefined_value};
use crate::Result;
use crate::graph::{Constant, Graph, GraphRewriter, Literal, Operation, Value, ValueOrigin};

/// Two nodes with the same key compute the same. Attributes print exactly, so their text is part of the key.
type Key = (String, Vec<Value>, Option<Device>);

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    share_constants(graph, &mut next, &mut rewriter);
    let mut seen: HashMap<Key, Vec<Value>> = HashMap::new();
    for node in &graph.nodes {
        let inputs = rewriter
            .lookup_all(&mut next, &node.inputs)
            .ok_or_else(|| undefined_value("cse"))?;
        let key = match &node.operation {
            Operation::Op(op)
                if !matches!(op, Op::Custom(_)) && !op.flags().contains(OpFlags::COMMUNICATES) =>
            {
                Some((op.to_string(), inputs, node.site.device))
            }
            _ => None,
        };
        if let Some(known) = key.as_ref().and_then(|key| seen.get(key)) {
            for (old, new) in node.outputs.iter().zip(known) {
                rewriter.map(*old, *new);
            }
            continue;
        }
        let mut node = node.clone();
        node.operation = map_subgraphs(&node.operation, context, run)?;
        rewriter
            .copy_node(&mut next, &node)
            .ok_or_else(|| undefined_value("cse"))?;
        if let Some(key) = key {
            let outputs = rewriter.lookup_all(&mut next, &node.outputs);
            seen.insert(key, outputs.ok_or_else(|| undefined_value("cse"))?);
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("cse"))?;
    Ok(next)
}

/// Makes equal constants one value.
fn share_constants(graph: &Graph, next: &mut Graph, rewriter: &mut GraphRewriter<'_>) {
    let mut numbers: HashMap<(Dtype, u64, u64, u8), Value> = HashMap::new();
    let mut arrays: HashMap<usize, Value> = HashMap::new();
    for (value, source) in graph.values() {
        let ValueOrigin::Constant(constant) = source else {
            continue;
        };
        let array_type = graph.array_type(value);
        let slot = match constant {
            Constant::Number(literal) => {
                let (a, b, kind) = bits(*literal);
                numbers.entry((array_type.dtype, a, b, kind))
            }
            Constant::Array(array) => {
                if let Some(identity) = array.buffer_id() {
                    let new = *arrays
                        .entry(identity)
                        .or_insert_with(|| next.add_constant(array_type.clone(), constant.clone()));
                    rewriter.map(value, new);
                }
                continue;
            }
            Constant::Missing => continue,
        };
        let new = *slot.or_insert_with(|| next.add_constant(array_type.clone(), constant.clone()));
        rewriter.map(value, new);
    }
}

fn bits(literal: Literal) -> (u64, u64, u8) {
    match literal {
        Literal::Bool(value) => (u64::from(value), 0, 0),
        Literal::Int(value) => (value.cast_unsigned(), 0, 1),
        Literal::Unsigned(value) => (value, 0, 2),
        Literal::Float(value) => (value.to_bits(), 0, 3),
        Literal::Complex(re, im) => (u64::from(re.to_bits()), u64::from(im.to_bits()), 4),
    }
}
