//! A graph as a diagram, in the languages of DOT and Mermaid.

use std::fmt::Write;

use super::print::{ValueNames, attributes};
use super::{Constant, Graph, Node, ValueOrigin};
use mlx::compiler_api::AttrValue as Attribute;

impl Graph {
    /// Returns the graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let mut text = format!(
            "digraph \"{}\" {{\n  rankdir=TB;\n  node [shape=box];\n",
            escape(&self.name)
        );
        self.draw(&mut |part| {
            let _ = match part {
                Part::Round(id, label) => {
                    writeln!(text, "  {id} [label=\"{}\", shape=ellipse];", escape(label))
                }
                Part::Box(id, label) => writeln!(text, "  {id} [label=\"{}\"];", escape(label)),
                Part::Arrow(from, to, label) => {
                    writeln!(text, "  {from} -> {to} [label=\"{}\"];", escape(label))
                }
            };
        });
        text.push_str("}\n");
        text
    }

    /// Returns the graph in the language of Mermaid, which web pages and notebooks draw.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart TB\n");
        self.draw(&mut |part| {
            let _ = match part {
                Part::Round(id, label) => writeln!(text, "  {id}([\"{}\"])", entities(label)),
                Part::Box(id, label) => writeln!(text, "  {id}[\"{}\"]", entities(label)),
                Part::Arrow(from, to, label) => {
                    writeln!(text, "  {from} -- \"{}\" --> {to}", entities(label))
                }
            };
        });
        text
    }

    /// Names every box and arrow, once.
    fn draw(&self, part: &mut dyn FnMut(Part<'_>)) {
        let names = ValueNames::of(self);
        for &input in &self.inputs {
            let label = format!("{}: {}", names.get(input), self.array_type(input));
            part(Part::Round(&format!("v{}", input.0), &label));
        }
        for (value, source) in self.values() {
            if let ValueOrigin::Constant(Constant::Array(_) | Constant::Missing) = source {
                let label = format!("{}: {}", names.get(value), self.array_type(value));
                part(Part::Round(&format!("v{}", value.0), &label));
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            part(Part::Box(&format!("n{number}"), &self.label(node, &names)));
            for input in &node.inputs {
                let from = match self.origin(*input) {
                    ValueOrigin::Constant(Constant::Number(_)) => continue,
                    ValueOrigin::Node(id, _) => format!("n{}", id.0),
                    _ => format!("v{}", input.0),
                };
                let label = self.array_type(*input).to_string();
                part(Part::Arrow(&from, &format!("n{number}"), &label));
            }
        }
        for (index, output) in self.outputs.iter().enumerate() {
            let to = format!("out{index}");
            part(Part::Round(&to, &format!("return {index}")));
            let from = match self.origin(*output) {
                ValueOrigin::Node(id, _) => format!("n{}", id.0),
                _ => format!("v{}", output.0),
            };
            part(Part::Arrow(
                &from,
                &to,
                &self.array_type(*output).to_string(),
            ));
        }
    }

    /// The operation with its attributes and the numbers among its inputs.
    fn label(&self, node: &Node, names: &ValueNames) -> String {
        let mut label = node.operation.name().to_owned();
        for input in &node.inputs {
            if let Some(Constant::Number(_)) = self.constant(*input) {
                let _ = write!(label, " {}", names.get(*input));
            }
        }
        for (name, value) in attributes(&node.operation) {
            let _ = match value {
                Attribute::None | Attribute::Bool(false) => Ok(()),
                Attribute::Bool(true) => write!(label, " {name}"),
                value => write!(label, " {name}={value}"),
            };
        }
        label
    }
}

enum Part<'a> {
    Round(&'a str, &'a str),
    Box(&'a str, &'a str),
    Arrow(&'a str, &'a str, &'a str),
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;")
}
