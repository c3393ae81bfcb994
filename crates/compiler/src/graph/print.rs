//! A graph as text. The guide has the [grammar](crate::guide#the-text-of-a-graph).

use std::collections::HashMap;
use std::fmt::{self, Write};

use mlx::compiler_api::AttrValue as Attribute;

use super::{Constant, Graph, Node, Operation, Value, ValueOrigin};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_graph(f, self, &Style::default())
    }
}

impl Graph {
    /// Returns the text of the graph with the program's line after each node, as a comment.
    pub fn to_text_with_sites(&self) -> String {
        let mut text = String::new();
        let style = Style {
            sites: true,
            ..Style::default()
        };
        // Writing to a string does not fail.
        let _ = write_graph(&mut text, self, &style);
        text
    }

    /// Returns the text of the graph with fused nodes as one line each, without what is inside.
    ///
    /// It does not read back.
    pub fn to_short_text(&self) -> String {
        let mut text = String::new();
        let style = Style {
            short: true,
            ..Style::default()
        };
        let _ = write_graph(&mut text, self, &style);
        text
    }
}

#[derive(Clone, Copy, Default)]
struct Style {
    sites: bool,
    short: bool,
    depth: usize,
}

/// The names that values have in the text.
pub(super) struct ValueNames(HashMap<Value, String>);

impl ValueNames {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut names = HashMap::new();
        for (index, &input) in graph.inputs.iter().enumerate() {
            names.insert(input, format!("x{index}"));
        }
        let mut n_arrays = 0;
        for (value, source) in graph.values() {
            match source {
                ValueOrigin::Constant(Constant::Number(literal)) => {
                    names.insert(value, literal.to_text(graph.array_type(value).dtype));
                }
                ValueOrigin::Constant(_) => {
                    names.insert(value, format!("c{n_arrays}"));
                    n_arrays += 1;
                }
                _ => {}
            }
        }
        for (number, output) in graph
            .nodes
            .iter()
            .flat_map(|node| &node.outputs)
            .enumerate()
        {
            names.insert(*output, format!("%{number}"));
        }
        Self(names)
    }

    pub(super) fn get(&self, value: Value) -> &str {
        self.0.get(&value).map_or("?", String::as_str)
    }

    fn list(&self, values: &[Value]) -> String {
        let names: Vec<&str> = values.iter().map(|value| self.get(*value)).collect();
        names.join(", ")
    }
}

fn write_graph(out: &mut dyn Write, graph: &Graph, style: &Style) -> fmt::Result {
    let names = ValueNames::of(graph);
    let margin = "  ".repeat(style.depth);
    let inputs: Vec<String> = graph
        .inputs
        .iter()
        .map(|&input| format!("{}: {}", names.get(input), graph.array_type(input)))
        .collect();
    writeln!(
        out,
        "{margin}graph {}({}) {{",
        graph.name,
        inputs.join(", ")
    )?;
    for (value, source) in graph.values() {
        if matches!(
            source,
            ValueOrigin::Constant(Constant::Array(_) | Constant::Missing)
        ) {
            let array_type = graph.array_type(value);
            writeln!(out, "{margin}  const {}: {array_type}", names.get(value))?;
        }
    }
    for node in &graph.nodes {
        write_node(out, graph, node, &names, style)?;
    }
    writeln!(out, "{margin}  return {}", names.list(&graph.outputs))?;
    write!(out, "{margin}}}")?;
    if style.depth == 0 {
        Ok(())
    } else {
        writeln!(out)
    }
}

fn write_node(
    out: &mut dyn Write,
    graph: &Graph,
    node: &Node,
    names: &ValueNames,
    style: &Style,
) -> fmt::Result {
    let margin = "  ".repeat(style.depth + 1);
    let outputs: Vec<String> = node
        .outputs
        .iter()
        .map(|&output| format!("{}: {}", names.get(output), graph.array_type(output)))
        .collect();
    write!(
        out,
        "{margin}{} = {}",
        outputs.join(", "),
        node.operation.name()
    )?;
    if !node.inputs.is_empty() {
        write!(out, " {}", names.list(&node.inputs))?;
    }
    for (name, value) in attributes(&node.operation) {
        match value {
            Attribute::None | Attribute::Bool(false) => {}
            Attribute::Bool(true) => write!(out, " {name}")?,
            value => write!(out, " {name}={value}")?,
        }
    }
    if let Some(device) = node.site.device {
        write!(out, " @{device}")?;
    }
    let inner = node.operation.graphs();
    let shown = !(inner.is_empty() || style.short && matches!(node.operation, Operation::Fused(_)));
    if shown {
        write!(out, " {{")?;
    }
    if style.sites && node.site.at.is_some() {
        write!(out, "  # {}", node.site)?;
    }
    writeln!(out)?;
    if shown {
        let style = Style {
            depth: style.depth + 2,
            ..*style
        };
        for (_, inner) in inner {
            write_graph(out, inner, &style)?;
        }
        writeln!(out, "{margin}}}")?;
    }
    Ok(())
}

/// Returns the attributes of a node: its settings besides inputs and the graphs inside.
pub(super) fn attributes(operation: &Operation) -> Vec<(&'static str, Attribute)> {
    let count = |n: &usize| Attribute::Int(i64::try_from(*n).unwrap_or(i64::MAX));
    match operation {
        Operation::Op(op) => op.attrs(),
        Operation::Fused(_) | Operation::FusedGroup(_) | Operation::Cond { .. } => Vec::new(),
        Operation::While { n_state, .. } => vec![("n_state", count(n_state))],
        Operation::Scan {
            n_carry,
            n_sequences,
            length,
            reverse,
            ..
        } => vec![
            ("n_carry", count(n_carry)),
            ("n_sequences", count(n_sequences)),
            ("length", count(length)),
            ("reverse", Attribute::Bool(*reverse)),
        ],
        Operation::Transform {
            transform,
            n_captures,
            ..
        } => {
            let mut attributes = super::transform::attributes(transform);
            attributes.push(("n_captures", count(n_captures)));
            attributes
        }
    }
}
