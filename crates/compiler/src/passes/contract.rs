//! Products written by subscripts (`einsum`, `inner`, `tensordot`), as the matrix products that they are.
//!
//! Matchers know matrix products only. The pass that matches formulas rewrites those products for them, and keeps
//! what it rewrote where a formula was found around it.

use std::collections::BTreeSet;

use mlx::{ArrayType, Op, axis_index};

use super::undefined_value;
use crate::Result;
use crate::graph::{Graph, GraphRewriter, Node, NodeId, Operation, Value};

/// A graph with some of its products rewritten, and the nodes that each of them became.
pub(super) struct Rewritten {
    pub(super) graph: Graph,
    pub(super) products: Vec<(NodeId, std::ops::Range<u32>)>,
}

/// Rewrites products: those among `chosen`, or all that can be.
pub(super) fn rewrite(graph: &Graph, chosen: Option<&BTreeSet<NodeId>>) -> Result<Rewritten> {
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    let mut products = Vec::new();
    for (id, node) in (0..).map(NodeId).zip(&graph.nodes) {
        let product = chosen
            .is_none_or(|chosen| chosen.contains(&id))
            .then(|| Product::read(graph, node))
            .flatten();
        let Some(product) = product else {
            rewriter
                .copy_node(&mut next, node)
                .ok_or_else(|| undefined_value("fuse"))?;
            continue;
        };
        let operands = rewriter
            .lookup_all(&mut next, &node.inputs)
            .ok_or_else(|| undefined_value("fuse"))?;
        let first = u32::try_from(next.nodes.len()).unwrap_or(u32::MAX);
        let output = product.build(&mut next, [operands[0], operands[1]], node);
        let end = u32::try_from(next.nodes.len()).unwrap_or(u32::MAX);
        products.push((id, first..end));
        rewriter.map(node.outputs[0], output);
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("fuse"))?;
    Ok(Rewritten {
        graph: next,
        products,
    })
}

/// A product of two arrays whose axes have letters, that is one matrix product.
struct Product {
    /// Whether the second input of the node is the first side here.
    is_swapped: bool,
    letters: [Vec<char>; 2],
    output: Vec<char>,
    shapes: [Vec<i32>; 2],
    dtype: mlx::Dtype,
}

impl Product {
    fn read(graph: &Graph, node: &Node) -> Option<Self> {
        let [a, b] = *node.inputs.as_slice() else {
            return None;
        };
        let types = [graph.array_type(a), graph.array_type(b)];
        let shapes = types.map(|t| t.shape.clone());
        let [a, b, output] = match node.operation.op()? {
            Op::Einsum { subscripts } => {
                subscripts_of(&subscripts.to_string(), [shapes[0].len(), shapes[1].len()])?
            }
            Op::Inner => {
                let last = |shape: &[i32]| i32::try_from(shape.len()).ok()?.checked_sub(1);
                contracted(&shapes, &[last(&shapes[0])?], &[last(&shapes[1])?])?
            }
            Op::Tensordot { axes_a, axes_b } => contracted(&shapes, axes_a, axes_b)?,
            _ => return None,
        };
        let mut product = Self {
            is_swapped: false,
            letters: [a, b],
            output,
            shapes,
            dtype: types[0].dtype,
        };
        // Columns are what the result ends with.
        let last = product.output.last().copied();
        if last.is_some_and(|last| product.own(0).any(|own| own == last)) {
            product.letters.swap(0, 1);
            product.shapes.swap(0, 1);
            product.is_swapped = true;
        }
        let same = types[0].dtype == types[1].dtype && types[0].dtype.is_floating();
        (same && product.is_matrix_product()).then_some(product)
    }

    /// Whether no axis repeats or is summed on its own, sizes agree, and rows, columns and a sum are there.
    fn is_matrix_product(&self) -> bool {
        let [a, b] = &self.letters;
        let unique =
            |letters: &[char]| letters.iter().collect::<BTreeSet<_>>().len() == letters.len();
        let used = |letters: &[char], other: &[char]| {
            letters
                .iter()
                .all(|c| other.contains(c) || self.output.contains(c))
        };
        let known = self.output.iter().all(|c| a.contains(c) || b.contains(c));
        let sizes = a
            .iter()
            .filter(|c| b.contains(c))
            .all(|c| self.size_on(0, *c) == self.size_on(1, *c));
        unique(a)
            && unique(b)
            && unique(&self.output)
            && used(a, b)
            && used(b, a)
            && known
            && sizes
            && !self.summed().is_empty()
            && self.total(&self.summed()) < i32::MAX
            && self.total(&self.own(1).collect::<Vec<char>>()) < i32::MAX
            && self.own(0).next().is_some()
            && self.own(1).next().is_some()
    }

    fn size_on(&self, side: usize, letter: char) -> Option<i32> {
        let place = self.letters[side].iter().position(|c| *c == letter)?;
        self.shapes[side].get(place).copied()
    }

    fn size(&self, letter: char) -> i32 {
        let size = self.size_on(0, letter).or_else(|| self.size_on(1, letter));
        size.unwrap_or(1)
    }

    /// Axes that are summed over, in the order of the second side.
    fn summed(&self) -> Vec<char> {
        let [a, b] = &self.letters;
        let both = b.iter().filter(|c| a.contains(c));
        both.filter(|c| !self.output.contains(c)).copied().collect()
    }

    /// Axes of the result that only one side has, in the order of the result.
    fn own(&self, side: usize) -> impl DoubleEndedIterator<Item = char> + '_ {
        let (own, other) = (&self.letters[side], &self.letters[1 - side]);
        self.output
            .iter()
            .filter(|c| own.contains(c) && !other.contains(c))
            .copied()
    }

    /// What columns may be: one axis; or several, if they end the result and the second side has none but them, as the
    /// weights of a projection into heads.
    fn columns(&self) -> Vec<Vec<char>> {
        let (own, summed) = (self.own(1).collect::<Vec<char>>(), self.summed());
        let mut letters = self.letters[1].iter();
        let is_weight = letters.all(|c| own.contains(c) || summed.contains(c));
        match own.len() > 1 && is_weight && self.output.ends_with(&own) {
            true => vec![own],
            false => own.into_iter().rev().map(|column| vec![column]).collect(),
        }
    }

    /// Axes of the result before those of rows and columns.
    fn lead(&self, row: char, columns: &[char]) -> Vec<char> {
        let lead = self.output.iter();
        lead.filter(|c| **c != row && !columns.contains(c))
            .copied()
            .collect()
    }

    /// The order of axes of both operands and of the result of the matrix product.
    fn orders(&self, row: char, columns: &[char]) -> [Vec<char>; 3] {
        let (lead, summed) = (self.lead(row, columns), self.summed());
        let of = |side: usize| {
            let of_lead = lead.iter().filter(move |c| self.letters[side].contains(c));
            of_lead.copied().collect::<Vec<char>>()
        };
        let first = [of(0), vec![row], summed.clone()].concat();
        let second = [of(1), summed, columns.to_vec()].concat();
        let result = [lead.clone(), vec![row], columns.to_vec()].concat();
        [first, second, result]
    }

    /// Appends the matrix product: `[lead.., row, sum] @ [lead.., sum, column]`, put into the order of the result.
    fn build(&self, graph: &mut Graph, mut operands: [Value; 2], node: &Node) -> Value {
        if self.is_swapped {
            operands.swap(0, 1);
        }
        let (row, columns) = self.chosen();
        let lead = self.lead(row, &columns);
        let [first, second, result] = self.orders(row, &columns);
        let (total, width) = (self.total(&self.summed()), self.total(&columns));
        let mut appended = Appended {
            graph,
            node,
            dtype: self.dtype,
        };
        let mut operand = |side: usize, order: &[char], matrix: [i32; 2]| {
            let ordered = appended.transpose(operands[side], &self.letters[side], order, self);
            // Axes that only the other side has are broadcast over; several that are summed over are one.
            let has = |c: &&char| self.letters[side].contains(*c);
            let own = lead.iter().skip_while(|c| !has(c));
            let mut shape: Vec<i32> = own
                .map(|c| if has(&c) { self.size(*c) } else { 1 })
                .collect();
            shape.extend(matrix);
            appended.reshape(ordered, &self.sizes(order), shape)
        };
        let operands = vec![
            operand(0, &first, [self.size(row), total]),
            operand(1, &second, [total, width]),
        ];
        let mut shape = self.sizes(&lead);
        shape.extend([self.size(row), width]);
        let product = appended.node(Op::Matmul, operands, shape.clone());
        let product = appended.reshape(product, &shape, self.sizes(&result));
        appended.transpose(product, &result, &self.output, self)
    }

    /// The axes that rows and columns are, chosen so that the fewest inputs are transposed.
    fn chosen(&self) -> (char, Vec<char>) {
        let columns = self.columns();
        let both = self
            .own(0)
            .rev()
            .flat_map(|row| columns.iter().map(move |columns| (row, columns)));
        let chosen = both.min_by_key(|(row, columns)| {
            // Least of all is the first side transposed: it may be the weights of attention.
            let [first, second, result] = self.orders(*row, columns);
            3 * u8::from(first != self.letters[0])
                + 2 * u8::from(result != self.output)
                + u8::from(second != self.letters[1])
        });
        // There is one: both operands have an axis of their own.
        chosen.map_or((' ', Vec::new()), |(row, columns)| (row, columns.clone()))
    }

    fn sizes(&self, letters: &[char]) -> Vec<i32> {
        letters.iter().map(|c| self.size(*c)).collect()
    }

    /// The number of elements along these axes together.
    fn total(&self, letters: &[char]) -> i32 {
        let sizes = letters.iter().map(|c| self.size(*c));
        sizes.fold(1, i32::saturating_mul)
    }
}

/// Nodes that are appended to a graph in the place of one.
struct Appended<'a> {
    graph: &'a mut Graph,
    node: &'a Node,
    dtype: mlx::Dtype,
}

impl Appended<'_> {
    fn node(&mut self, op: Op, inputs: Vec<Value>, shape: Vec<i32>) -> Value {
        let types = vec![ArrayType {
            shape,
            dtype: self.dtype,
        }];
        self.graph
            .add_node(Operation::Op(op), inputs, types, self.node.site)[0]
    }

    fn reshape(&mut self, value: Value, from: &[i32], shape: Vec<i32>) -> Value {
        if from == shape {
            return value;
        }
        let op = Op::Reshape {
            shape: shape.clone(),
        };
        self.node(op, vec![value], shape)
    }

    fn transpose(&mut self, value: Value, from: &[char], to: &[char], sizes: &Product) -> Value {
        if from == to {
            return value;
        }
        let places = to
            .iter()
            .filter_map(|c| from.iter().position(|own| own == c));
        let axes = places.filter_map(|axis| i32::try_from(axis).ok()).collect();
        self.node(Op::Transpose { axes }, vec![value], sizes.sizes(to))
    }
}

/// The letters of both operands and of the result: `ij,jk->ik`. Axes of an ellipsis get letters of their own.
fn subscripts_of(text: &str, ndims: [usize; 2]) -> Option<[Vec<char>; 3]> {
    let text: String = text.chars().filter(|c| !matches!(c, ' ' | '"')).collect();
    let (operands, output) = match text.split_once("->") {
        Some((operands, output)) => (operands, Some(output)),
        None => (text.as_str(), None),
    };
    let (a, b) = operands.split_once(',')?;
    let hidden = |text: &str, ndim: usize| -> Option<usize> {
        if !text.contains("...") {
            return Some(0);
        }
        ndim.checked_sub(text.chars().filter(|c| *c != '.').count())
    };
    let hidden = [hidden(a, ndims[0])?, hidden(b, ndims[1])?];
    let most = hidden[0].max(hidden[1]);
    // Counted from the end, as shapes are broadcast.
    let letters = |text: &str, hidden: usize| -> Vec<char> {
        let dots = ('\u{100}'..).take(most).skip(most - hidden);
        match text.split_once("...") {
            None => text.chars().collect(),
            Some((before, behind)) => before.chars().chain(dots).chain(behind.chars()).collect(),
        }
    };
    let (a, b) = (letters(a, hidden[0]), letters(b, hidden[1]));
    let output = match output {
        Some(output) => letters(output, most),
        None => {
            let all = a.iter().chain(&b);
            let once = |c: &&char| a.iter().chain(&b).filter(|other| other == c).count() == 1;
            let mut output: Vec<char> = all.filter(once).copied().collect();
            output.sort_unstable();
            output
        }
    };
    let is_named = |c: &char| c.is_alphabetic();
    let fits = a.len() == ndims[0] && b.len() == ndims[1];
    (fits && [&a, &b, &output].into_iter().flatten().all(is_named)).then_some([a, b, output])
}

/// The letters of a sum over pairs of axes: what is left of the first side, then of the second.
fn contracted(shapes: &[Vec<i32>; 2], of_a: &[i32], of_b: &[i32]) -> Option<[Vec<char>; 3]> {
    let n = shapes[0].len();
    let a: Vec<char> = ('a'..).take(n).collect();
    let mut b: Vec<char> = ('\u{100}'..).take(shapes[1].len()).collect();
    if of_a.len() != of_b.len() {
        return None;
    }
    for (in_a, in_b) in of_a.iter().zip(of_b) {
        *b.get_mut(axis_index(*in_b, shapes[1].len())?)? = *a.get(axis_index(*in_a, n)?)?;
    }
    let rest = |own: &[char], other: &[char]| -> Vec<char> {
        own.iter().filter(|c| !other.contains(c)).copied().collect()
    };
    let output = [rest(&a, &b), rest(&b, &a)].concat();
    Some([a, b, output])
}
