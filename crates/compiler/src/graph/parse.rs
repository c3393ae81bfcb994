//! A graph from its text.

use std::collections::HashMap;
use std::rc::Rc;
use std::str::FromStr;

use mlx::compiler_api::AttrValue as Attribute;
use mlx::{ArrayType, Device, Dtype, Op};

use super::{Constant, Fused, Fusion, Graph, Literal, Operation, SourceLocation, Value};

/// A text is not a graph: where and why.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse: line {line}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What was wanted and what came.
    pub message: String,
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text of `Display`.
impl std::fmt::Debug for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl FromStr for Graph {
    type Err = ParseError;

    /// Reads a graph back from its text.
    ///
    /// Captured arrays have no values in the text: they come back as [`Constant::Missing`], which
    /// [`with_constants`](Graph::with_constants) fills in. Lines of the program are not kept.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut lines = Lines::new(text);
        let graph = lines.graph()?;
        match lines.next() {
            None => Ok(graph),
            Some(line) => Err(lines.error(format!("wanted the end, got {line:?}"))),
        }
    }
}

/// The maximum nesting depth of graphs.
pub(crate) const MAX_NESTING: usize = 64;

/// The lines of a text without comments and blank lines.
struct Lines<'a> {
    rest: std::iter::Enumerate<std::str::Lines<'a>>,
    number: usize,
    depth: usize,
}

/// A line of a node, before what it names is looked up.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.lines().enumerate(),
            number: 0,
            depth: 0,
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        for (index, line) in self.rest.by_ref() {
            self.number = index + 1;
            let line = without_comment(line).trim();
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            line: self.number,
            message: message.into(),
        }
    }

    fn graph(&mut self) -> Result<Graph, ParseError> {
        let Some(head) = self.next() else {
            return Err(self.error("wanted `graph name(...) {`, got the end"));
        };
        self.graph_after(head)
    }

    fn graph_after(&mut self, head: &'a str) -> Result<Graph, ParseError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.error(format!(
                "wanted at most {MAX_NESTING} graphs inside one another"
            )));
        }
        let wanted = || format!("wanted `graph name(...) {{`, got {head:?}");
        let body = head
            .strip_prefix("graph ")
            .and_then(|rest| rest.strip_suffix('{'))
            .and_then(|rest| rest.trim_end().strip_suffix(')'))
            .and_then(|rest| rest.split_once('('));
        let Some((name, inputs)) = body else {
            return Err(self.error(wanted()));
        };
        let mut graph = Graph::new(name.trim());
        let mut values = HashMap::new();
        let mut cursor = Cursor {
            rest: inputs,
            line: self.number,
        };
        while !cursor.at_end() {
            let (name, array_type) = cursor.declaration()?;
            let value = graph.add_input(array_type);
            cursor.define(&mut values, name, value)?;
            cursor.comma()?;
        }
        loop {
            let Some(line) = self.next() else {
                return Err(self.error("wanted `return`, got the end"));
            };
            let mut cursor = Cursor {
                rest: line,
                line: self.number,
            };
            if let Some(rest) = line.strip_prefix("const ") {
                cursor.rest = rest;
                let (name, array_type) = cursor.declaration()?;
                let value = graph.add_constant(array_type, Constant::Missing);
                cursor.define(&mut values, name, value)?;
                cursor.end()?;
            } else if line == "return" || line.starts_with("return ") {
                cursor.rest = &line["return".len()..];
                graph.outputs = cursor.operands(&mut graph, &values)?;
                cursor.end()?;
                break;
            } else {
                self.node(cursor, &mut graph, &mut values)?;
            }
        }
        match self.next() {
            Some("}") => {
                self.depth -= 1;
                Ok(graph)
            }
            other => Err(self.error(format!("wanted `}}`, got {}", quoted(other)))),
        }
    }

    fn node(
        &mut self,
        mut cursor: Cursor<'a>,
        graph: &mut Graph,
        values: &mut HashMap<String, Value>,
    ) -> Result<(), ParseError> {
        let (mut names, mut types) = (Vec::new(), Vec::new());
        while !cursor.skip("=") {
            let (name, array_type) = cursor.declaration()?;
            names.push(name);
            types.push(array_type);
            cursor.comma()?;
        }
        let op_name = cursor.word();
        let inputs = cursor.operands(graph, values)?;
        let (attributes, device) = cursor.attributes()?;
        let mut graphs = Vec::new();
        if cursor.skip("{") {
            loop {
                match self.next() {
                    Some("}") => break,
                    Some(head) => graphs.push(self.graph_after(head)?),
                    None => return Err(self.error("wanted `}`, got the end")),
                }
            }
        }
        if !cursor.at_end() {
            return Err(cursor.error(format!("wanted an attribute, got {:?}", cursor.rest)));
        }
        let n_graphs = graphs.len();
        let Some(operation) = operation(op_name, &attributes, graphs) else {
            let names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
            return Err(cursor.error(format!(
                "wanted an operation, got {op_name:?} with attributes {names:?} and {n_graphs} graphs"
            )));
        };
        for (index, (name, _)) in attributes.iter().enumerate() {
            let known = super::print::attributes(&operation);
            if !known.iter().any(|(one, _)| one == name) {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let message = format!("wanted attributes of {op_name}, {names:?}, got {name:?}");
                return Err(cursor.error(message));
            }
            if attributes[..index].iter().any(|(one, _)| one == name) {
                return Err(cursor.error(format!("wanted {name:?} once, got it once more")));
            }
        }
        let site = SourceLocation {
            device,
            ..SourceLocation::default()
        };
        let outputs = graph.add_node(operation, inputs, types, site);
        for (name, output) in names.into_iter().zip(outputs) {
            cursor.define(values, name, output)?;
        }
        Ok(())
    }
}

/// Returns the operation of this name with these attributes and graphs.
fn operation(
    name: &str,
    attributes: &[(String, Attribute)],
    graphs: Vec<Graph>,
) -> Option<Operation> {
    let find = |wanted: &str| {
        let found = attributes.iter().find(|(name, _)| name == wanted);
        Some(found.map_or(Attribute::None, |(_, value)| value.clone()))
    };
    let count = |wanted: &str| match find(wanted) {
        Some(Attribute::Int(n)) => usize::try_from(n).ok(),
        _ => None,
    };
    let n_graphs = graphs.len();
    let mut graphs = graphs.into_iter();
    let mut next = || graphs.next().map(Rc::new);
    match (name, n_graphs) {
        ("fused_group" | "region", 1) => Some(Operation::FusedGroup(next()?)),
        ("cond", 2) => Some(Operation::Cond {
            then: next()?,
            otherwise: next()?,
        }),
        ("while_loop", 2) => Some(Operation::While {
            condition: next()?,
            body: next()?,
            n_state: count("n_state")?,
        }),
        ("scan", 1) => Some(Operation::Scan {
            body: next()?,
            n_carry: count("n_carry")?,
            n_sequences: count("n_sequences")?,
            length: count("length")?,
            reverse: matches!(find("reverse"), Some(Attribute::Bool(true))),
        }),
        (name, 2) if Fusion::from_node_name(name).is_some() => {
            Some(Operation::Fused(Rc::new(Fused {
                fusion: Fusion::from_node_name(name)?,
                body: Rc::unwrap_or_clone(next()?),
                kernel: Rc::unwrap_or_clone(next()?),
            })))
        }
        (name, 0) => Op::from_parts(name, find).map(Operation::Op),
        (name, _) => Some(Operation::Transform {
            transform: super::transform::from_parts(name, find)?,
            functions: graphs.map(Rc::new).collect(),
            n_captures: count("n_captures")?,
        }),
    }
}

impl<'a> Cursor<'a> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            line: self.line,
            message: message.into(),
        }
    }

    fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    /// Refuses what is left of the line.
    fn end(&mut self) -> Result<(), ParseError> {
        if self.at_end() {
            return Ok(());
        }
        Err(self.error(format!("wanted the end of the line, got {:?}", self.rest)))
    }

    /// Steps over `token` if it comes next.
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Steps over a comma between two entries, which the end may replace.
    fn comma(&mut self) -> Result<(), ParseError> {
        if self.skip(",") || self.at_end() || self.rest.starts_with('=') {
            Ok(())
        } else {
            Err(self.error(format!("wanted a comma, got {:?}", self.rest)))
        }
    }

    /// Takes what comes before the next space or one of `,=:[({`.
    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let is_end = |c: char| c.is_whitespace() || ",=:[]({})".contains(c);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Takes `name: dtype[sizes]`.
    fn declaration(&mut self) -> Result<(&'a str, ArrayType), ParseError> {
        let name = self.word();
        if name.is_empty() || !self.skip(":") {
            return Err(self.error(format!("wanted `name: type`, got {name:?}{:?}", self.rest)));
        }
        let dtype_name = self.word();
        let Some(dtype) = Dtype::from_name(dtype_name) else {
            return Err(self.error(format!("wanted a dtype, got {dtype_name:?}")));
        };
        let sizes = self.numbers()?;
        let shape: Option<Vec<i32>> = sizes
            .iter()
            .map(|&size| i32::try_from(size).ok().filter(|size| *size >= 0))
            .collect();
        match shape {
            Some(shape) => Ok((name, ArrayType { shape, dtype })),
            None => Err(self.error(format!("wanted sizes from 0, got {sizes:?}"))),
        }
    }

    /// Takes `[1, 2]`.
    fn numbers(&mut self) -> Result<Vec<i64>, ParseError> {
        let list = self.rest.strip_prefix('[').and_then(|r| r.split_once(']'));
        let Some((list, rest)) = list else {
            return Err(self.error(format!("wanted `[...]`, got {:?}", self.rest)));
        };
        self.rest = rest;
        list.split(',')
            .map(str::trim)
            .filter(|number| !number.is_empty())
            .map(|number| {
                let parsed = number.parse();
                parsed.map_err(|_| self.error(format!("wanted a whole number, got {number:?}")))
            })
            .collect()
    }

    fn define(
        &self,
        values: &mut HashMap<String, Value>,
        name: &str,
        value: Value,
    ) -> Result<(), ParseError> {
        match values.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(self.error(format!("wanted a new name, got {name:?} once more"))),
        }
    }

    /// Takes values separated by commas, up to the first thing that is none.
    fn operands(
        &mut self,
        graph: &mut Graph,
        values: &HashMap<String, Value>,
    ) -> Result<Vec<Value>, ParseError> {
        let mut operands = Vec::new();
        if self.at_end() || self.rest.starts_with(['{', '@']) || !self.starts_operand() {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand(graph, values)?);
            if !self.skip(",") {
                return Ok(operands);
            }
        }
    }

    /// Whether a value comes next, rather than an attribute.
    fn starts_operand(&self) -> bool {
        let mut chars = self.rest.chars();
        match (chars.next(), chars.next()) {
            (Some('%' | '(' | '-' | '0'..='9'), _) => true,
            (Some('x' | 'c'), Some('0'..='9')) => true,
            _ => ["true", "false", "inf", "NaN"].iter().any(|word| {
                self.rest.strip_prefix(word).is_some_and(|rest| {
                    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '=')
                })
            }),
        }
    }

    fn operand(
        &mut self,
        graph: &mut Graph,
        values: &HashMap<String, Value>,
    ) -> Result<Value, ParseError> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('(') {
            return self.complex(graph);
        }
        let word = self.word();
        if word.starts_with(['%', 'x', 'c']) {
            let found = values.get(word).copied();
            return found
                .ok_or_else(|| self.error(format!("wanted a value defined above, got {word:?}")));
        }
        let Some(literal) = literal(word) else {
            return Err(self.error(format!("wanted a value or a number, got {word:?}")));
        };
        self.number(graph, literal)
    }

    fn complex(&mut self, graph: &mut Graph) -> Result<Value, ParseError> {
        let parts = self
            .rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'));
        let number = parts.and_then(|(inside, rest)| {
            let (re, im) = inside.split_once(',')?;
            Some((re.trim().parse().ok()?, im.trim().parse().ok()?, rest))
        });
        let Some((re, im, rest)) = number else {
            return Err(self.error(format!("wanted `(re, im)`, got {:?}", self.rest)));
        };
        self.rest = rest;
        self.number(graph, Literal::Complex(re, im))
    }

    /// Takes the dtype of a number, if it has one.
    fn number(&mut self, graph: &mut Graph, literal: Literal) -> Result<Value, ParseError> {
        let mut dtype = literal.default_dtype();
        if self.skip(":") {
            let name = self.word();
            dtype = Dtype::from_name(name)
                .ok_or_else(|| self.error(format!("wanted a dtype, got {name:?}")))?;
        }
        let Some(literal) = literal.cast_exact(dtype) else {
            return Err(self.error(format!("wanted a number of {dtype}, got {literal:?}")));
        };
        let array_type = ArrayType {
            shape: Vec::new(),
            dtype,
        };
        Ok(graph.add_constant(array_type, Constant::Number(literal)))
    }

    /// Takes `name`, `name=value` and `@device` up to `{` or the end.
    #[allow(clippy::type_complexity)]
    fn attributes(&mut self) -> Result<(Vec<(String, Attribute)>, Option<Device>), ParseError> {
        let (mut attributes, mut device) = (Vec::new(), None);
        while !self.at_end() && !self.rest.starts_with('{') {
            if self.skip("@") {
                device = match self.word() {
                    "cpu" => Some(Device::Cpu),
                    "gpu" => Some(Device::Gpu),
                    other => return Err(self.error(format!("wanted a device, got {other:?}"))),
                };
                continue;
            }
            let name = self.word();
            if name.is_empty() {
                return Err(self.error(format!("wanted an attribute, got {:?}", self.rest)));
            }
            let value = if self.rest.starts_with('=') {
                self.rest = &self.rest[1..];
                self.attribute()?
            } else {
                Attribute::Bool(true)
            };
            attributes.push((name.to_owned(), value));
        }
        Ok((attributes, device))
    }

    fn attribute(&mut self) -> Result<Attribute, ParseError> {
        if self.rest.starts_with('[') {
            return self.numbers().map(Attribute::Ints);
        }
        if self.rest.starts_with('"') {
            return self.quoted_text();
        }
        let word = self.word();
        let value = match word {
            "true" => Some(Attribute::Bool(true)),
            "false" => Some(Attribute::Bool(false)),
            "none" => Some(Attribute::None),
            word => match (Dtype::from_name(word), literal(word)) {
                (Some(dtype), _) => Some(Attribute::Dtype(dtype)),
                (_, Some(Literal::Int(value))) => Some(Attribute::Int(value)),
                (_, Some(Literal::Float(value))) => Some(Attribute::Float(value)),
                _ => None,
            },
        };
        value.ok_or_else(|| self.error(format!("wanted the value of an attribute, got {word:?}")))
    }

    /// Takes a text in quotes with Rust's escapes for `"`, `\` and control characters.
    fn quoted_text(&mut self) -> Result<Attribute, ParseError> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Attribute::Text(text));
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.error("wanted a closing quote, got the end"))
    }
}

/// Reads a number or truth value.
fn literal(word: &str) -> Option<Literal> {
    match word {
        "true" => return Some(Literal::Bool(true)),
        "false" => return Some(Literal::Bool(false)),
        _ => {}
    }
    if let Ok(value) = word.parse::<i64>() {
        return Some(Literal::Int(value));
    }
    if let Ok(value) = word.parse::<u64>() {
        return Some(Literal::Unsigned(value));
    }
    let starts = word.trim_start_matches('-').chars().next()?;
    let is_number =
        starts.is_ascii_digit() || ["inf", "NaN"].contains(&word.trim_start_matches('-'));
    word.parse().ok().filter(|_| is_number).map(Literal::Float)
}

/// Cuts a comment off, which begins with `#` outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '#' if !in_quotes => return &line[..at],
            _ => {}
        }
    }
    line
}

fn quoted(line: Option<&str>) -> String {
    line.map_or_else(|| "the end".to_owned(), |line| format!("{line:?}"))
}
