//! Propagation: each node of a graph gets a way to compute it, and its inputs the shardings that this wants.

use std::collections::HashMap;
use std::rc::Rc;

use mlx::Op;
use mlx::transforms::Transform;

use super::convert::{Cost, communicate, communicate_along, cost, is_sum, local_type, slice_part};
use super::differentiate::{group_of, sum_gradients};
use super::masked_take::{MaskedTake, append_masked_take};
use super::mesh::MeshAxis;
use super::report::{CollectiveKind, ShardingRefusal, byte_count};
use super::rules::{Rule, rule};
use super::strategy::{Local, Replicated, Sharded, Sharding, Site, Strategy, Unreduced};
use crate::graph::{Constant, Graph, Literal, Node, Operation, SourceLocation, Value, ValueOrigin};
use crate::{Error, Result};

/// A rank's place along an axis of the mesh.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) axis: &'a MeshAxis,
    pub(super) rank: usize,
}

/// Whether a graph is computed, or differentiated by MLX when it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Computed,
    Differentiated,
}

/// Returns the graph of one rank, whose inputs and outputs are split as they say.
pub(super) fn partition(
    graph: &Graph,
    place: Place<'_>,
    (inputs, outputs): (&[Sharding], &[Sharding]),
    used: Use,
    refusals: &mut Vec<ShardingRefusal>,
) -> Result<Graph> {
    let mut partitioner = Partitioner {
        from: graph,
        into: Graph::new(graph.name()),
        place,
        used,
        forms: HashMap::new(),
        summed: HashMap::new(),
        uses: uses(graph),
        refusals,
    };
    for (input, sharding) in graph.inputs.iter().zip(inputs) {
        let local = local_type(graph.array_type(*input), *sharding, place.axis.size);
        let new = partitioner.into.add_input(local);
        partitioner.forms.insert(*input, vec![(*sharding, new)]);
    }
    for node in &graph.nodes {
        partitioner.node(node)?;
    }
    for (output, sharding) in graph.outputs.iter().zip(outputs) {
        let site = graph.producer(*output).map(|node| node.site);
        let new = partitioner.form(*output, *sharding, site.unwrap_or_default())?;
        partitioner.into.outputs.push(new);
    }
    Ok(partitioner.into)
}

/// Returns how often each value is an input of a node or an output.
fn uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.values.len()];
    let inputs = graph.nodes.iter().flat_map(|node| &node.inputs);
    for value in inputs.chain(&graph.outputs) {
        uses[value.index()] += 1;
    }
    uses
}

struct Partitioner<'a> {
    from: &'a Graph,
    into: Graph,
    place: Place<'a>,
    used: Use,
    /// What the rank has of each value; the first is what was computed.
    forms: HashMap<Value, Vec<(Sharding, Value)>>,
    /// New values, and the same whose gradients are summed.
    summed: HashMap<Value, Value>,
    uses: Vec<usize>,
    refusals: &'a mut Vec<ShardingRefusal>,
}

impl<'a> Partitioner<'a> {
    fn node(&mut self, node: &Node) -> Result<()> {
        for input in &node.inputs {
            self.add_constant(*input);
        }
        if let Some(group) = group_of(&node.operation) {
            return self.summed_along_another_axis(node, &group);
        }
        match &node.operation {
            Operation::Op(op) => self.primitive(node, op),
            Operation::Transform {
                transform,
                functions,
                n_captures,
            } if self.takes(transform) => self.transform(node, transform, functions, *n_captures),
            operation => {
                let reason = format!(
                    "{} is computed whole: the pass does not look into it",
                    operation.name()
                );
                self.whole(node, &reason)
            }
        }
    }

    fn add_constant(&mut self, value: Value) {
        if let ValueOrigin::Constant(constant) = self.from.origin(value)
            && !self.forms.contains_key(&value)
        {
            let array_type = self.from.array_type(value).clone();
            let new = self.into.add_constant(array_type, constant.clone());
            self.forms.insert(value, vec![(Replicated, new)]);
        }
    }

    fn primitive(&mut self, node: &Node, op: &Op) -> Result<()> {
        let types = |values: &[Value]| values.iter().map(|v| self.from.array_type(*v)).collect();
        let number = |value: &Value| match self.from.constant(*value) {
            Some(Constant::Number(literal)) => Some(*literal),
            _ => None,
        };
        let site = Site {
            op,
            inputs: types(&node.inputs),
            numbers: node.inputs.iter().map(number).collect(),
            outputs: types(&node.outputs),
            ranks: self.place.axis.size,
        };
        let (mut ways, reason) = match rule(op) {
            Rule::Ways(list) => (list(&site), None),
            Rule::Whole(reason) => (Vec::new(), Some(reason)),
        };
        if self.used == Use::Differentiated {
            // MLX has no gradient of maxima over ranks.
            let is_sum = |one: &Sharding| !matches!(one, Unreduced(_)) || is_sum(*one);
            ways.retain(|way| way.inputs.iter().chain(&way.outputs).all(is_sum));
        }
        let whole = Strategy {
            outputs: vec![Replicated; node.outputs.len()],
            ..Strategy::new(vec![Replicated; node.inputs.len()], Replicated)
        };
        let mut chosen = (self.price(node, &whole), &whole);
        for way in &ways {
            let price = self.price(node, way);
            if is_better(price, way, chosen.0, chosen.1) {
                chosen = (price, way);
            }
        }
        let chosen = chosen.1.clone();
        self.note_refusals(node, &chosen, &ways, reason);
        self.apply(node, &chosen)
    }

    /// What a way costs: `None` where an input cannot be had so.
    fn price(&self, node: &Node, way: &Strategy) -> Option<Cost> {
        let mut all = Cost::default();
        for (input, to) in node.inputs.iter().zip(&way.inputs) {
            all += self.price_of(*input, *to)?;
        }
        for (output, sharding) in node.outputs.iter().zip(&way.outputs) {
            // It is summed later.
            if let Unreduced(reduction) = sharding {
                let bytes = byte_count(self.from.array_type(*output));
                all.bytes += CollectiveKind::of(*reduction).wire_bytes(bytes, self.place.axis.size);
            }
        }
        Some(all)
    }

    fn price_of(&self, value: Value, to: Sharding) -> Option<Cost> {
        let forms = self.forms.get(&value)?;
        if matches!(to, Unreduced(_)) && (self.uses[value.index()] > 1 || forms.len() > 1) {
            return None;
        }
        // What is replicated stays so: a slice of it that is there already makes no way cheaper than the whole.
        let is_whole = forms.iter().any(|(form, _)| *form == Replicated);
        if is_whole && matches!(to, Sharded(_)) && !matches!(forms[0].0, Sharded(_)) {
            let (bytes, operations) = (0, 1);
            return Some(Cost { bytes, operations });
        }
        let array_type = self.from.array_type(value);
        let ranks = self.place.axis.size;
        let costs = forms
            .iter()
            .filter_map(|(from, _)| cost(array_type, *from, to, ranks));
        costs.min_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    }

    fn note_refusals(
        &mut self,
        node: &Node,
        chosen: &Strategy,
        ways: &[Strategy],
        reason: Option<&str>,
    ) {
        for (place, (input, to)) in node.inputs.iter().zip(&chosen.inputs).enumerate() {
            let Some((split @ Sharded(dim), _)) = self.forms.get(input).map(|forms| forms[0])
            else {
                continue;
            };
            if *to == split {
                continue;
            }
            let shape = &self.from.array_type(*input).shape;
            let has_way = ways.iter().any(|way| way.inputs.get(place) == Some(&split));
            let why = match reason {
                Some(reason) => reason,
                None if has_way => "other ways cost more",
                None => "its parts do not make parts of the result",
            };
            let reason = format!("input {place}, {shape:?}, is split along {dim}: {why}");
            self.refuse(node, reason);
        }
    }

    fn refuse(&mut self, node: &Node, reason: String) {
        self.refusals.push(ShardingRefusal {
            name: node.operation.name().to_owned(),
            site: node.site,
            axis: self.place.axis.name.clone(),
            reason,
        });
    }

    fn apply(&mut self, node: &Node, way: &Strategy) -> Result<()> {
        let by_parts = way.outputs.iter().any(|one| *one != Replicated);
        let mut inputs = Vec::new();
        for (input, to) in node.inputs.iter().zip(&way.inputs) {
            let mut new = self.form(*input, *to, node.site)?;
            if by_parts && *to == Replicated {
                new = self.with_summed_gradient(*input, new, node.site);
            }
            inputs.push(new);
        }
        let ranks = self.place.axis.size;
        let pairs = node.outputs.iter().zip(&way.outputs);
        let types = pairs
            .map(|(output, sharding)| local_type(self.from.array_type(*output), *sharding, ranks));
        let types = types.collect();
        let outputs = match &way.local {
            Local::MaskedTake(axis) => {
                let take = MaskedTake {
                    axis: *axis,
                    rank: self.place.rank,
                    ranks,
                    site: node.site,
                };
                vec![append_masked_take(&mut self.into, &inputs, &take)]
            }
            Local::Op(op) => {
                self.into
                    .add_node(Operation::Op(op.clone()), inputs, types, node.site)
            }
            Local::Same => self
                .into
                .add_node(node.operation.clone(), inputs, types, node.site),
            Local::Divided(by) => {
                let made = self
                    .into
                    .add_node(node.operation.clone(), inputs, types, node.site);
                vec![self.divided(made[0], *by, node.site)]
            }
        };
        self.keep(node, &way.outputs, &outputs);
        Ok(())
    }

    fn keep(&mut self, node: &Node, shardings: &[Sharding], values: &[Value]) {
        for ((old, sharding), new) in node.outputs.iter().zip(shardings).zip(values) {
            self.forms.insert(*old, vec![(*sharding, *new)]);
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn divided(&mut self, value: Value, by: usize, site: SourceLocation) -> Value {
        let array_type = self.into.array_type(value).clone();
        let number = mlx::ArrayType::new((), array_type.dtype);
        let by = Constant::Number(Literal::Float(by as f64));
        let by = self.into.add_constant(number, by);
        let operation = Operation::Op(Op::Divide);
        self.into
            .add_node(operation, vec![value, by], vec![array_type], site)[0]
    }

    /// Computes a node whole on every rank.
    fn whole(&mut self, node: &Node, reason: &str) -> Result<()> {
        let is_split = |value: &Value| {
            self.forms
                .get(value)
                .is_some_and(|forms| forms[0].0 != Replicated)
        };
        if node.inputs.iter().any(is_split) {
            self.refuse(node, reason.to_owned());
        }
        self.apply(
            node,
            &Strategy {
                outputs: vec![Replicated; node.outputs.len()],
                ..Strategy::new(vec![Replicated; node.inputs.len()], Replicated)
            },
        )
    }

    /// Returns what the rank has of a value in a sharding, made of what there is.
    fn form(&mut self, value: Value, to: Sharding, site: SourceLocation) -> Result<Value> {
        self.add_constant(value);
        let array_type = self.from.array_type(value).clone();
        let ranks = self.place.axis.size;
        let forms = self.forms.get(&value).cloned().unwrap_or_default();
        let found = forms.iter().find(|(sharding, _)| *sharding == to);
        if let Some((_, new)) = found {
            return Ok(*new);
        }
        let nearest = forms
            .iter()
            .filter_map(|(from, new)| Some((cost(&array_type, *from, to, ranks)?, *from, *new)))
            .min_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        let Some((_, from, new)) = nearest else {
            return Err(crate::passes::undefined_value("shard"));
        };
        let made = match (from, to) {
            (Unreduced(reduction), Replicated) => {
                let kind = CollectiveKind::of(reduction);
                let site = self.line_of(value, site);
                communicate(&mut self.into, kind, new, self.place.axis, site)
            }
            (from, Sharded(dim)) if is_sum(from) && self.used == Use::Computed => {
                let site = self.line_of(value, site);
                let kind = CollectiveKind::SumScatter;
                communicate_along(&mut self.into, kind, new, dim, self.place.axis, site)
            }
            (Sharded(dim), Replicated) => {
                let kind = CollectiveKind::AllGather;
                communicate_along(&mut self.into, kind, new, dim, self.place.axis, site)
            }
            (_, Sharded(dim)) => {
                let whole = self.form(value, Replicated, site)?;
                let whole = self.with_summed_gradient(value, whole, site);
                slice_part(&mut self.into, whole, dim, (self.place.rank, ranks), site)
            }
            _ => return Err(crate::passes::undefined_value("shard")),
        };
        self.forms.entry(value).or_default().push((to, made));
        Ok(made)
    }

    /// The line that computed a value, if one did.
    fn line_of(&self, value: Value, site: SourceLocation) -> SourceLocation {
        self.from.producer(value).map_or(site, |node| node.site)
    }

    /// Where gradients are taken, returns a whole value as what is used by parts.
    fn with_summed_gradient(&mut self, old: Value, new: Value, site: SourceLocation) -> Value {
        let array_type = self.from.array_type(old);
        let is_constant = self.from.constant(old).is_some();
        if self.used == Use::Computed || is_constant || !array_type.dtype.is_inexact() {
            return new;
        }
        if let Some(known) = self.summed.get(&new) {
            return *known;
        }
        if let Some(view) = self.view_of_summed(old, new) {
            self.summed.insert(new, view);
            return view;
        }
        let summed = sum_gradients(&mut self.into, new, &self.place.axis.group, site);
        self.summed.insert(new, summed);
        summed
    }

    /// Where `old` is a view of a value with other uses, returns the view of that one with its gradient summed: once for
    /// all uses, as of a table for tokens and for logits.
    fn view_of_summed(&mut self, old: Value, new: Value) -> Option<Value> {
        let from = self.from;
        let node = from.producer(old)?;
        let [source] = node.inputs[..] else {
            return None;
        };
        let is_view = node.operation.op().is_some_and(Op::is_view);
        if !is_view || self.uses[source.index()] < 2 || from.constant(source).is_some() {
            return None;
        }
        let (Replicated, whole) = *self.forms.get(&source)?.first()? else {
            return None;
        };
        let summed = self.with_summed_gradient(source, whole, node.site);
        let array_type = self.into.array_type(new).clone();
        let operation = node.operation.clone();
        let views = self
            .into
            .add_node(operation, vec![summed], vec![array_type], node.site);
        views.first().copied()
    }

    /// What was put in for another axis of the mesh: the same of what a rank has.
    fn summed_along_another_axis(&mut self, node: &Node, group: &str) -> Result<()> {
        let sharding = match self.forms.get(&node.inputs[0]).map(|forms| forms[0].0) {
            Some(Sharded(dim)) => Sharded(dim),
            _ => Replicated,
        };
        let input = self.form(node.inputs[0], sharding, node.site)?;
        let summed = sum_gradients(&mut self.into, input, group, node.site);
        self.keep(node, &[sharding], &[summed]);
        Ok(())
    }

    /// Whether the pass looks into the functions of a transform.
    fn takes(&self, transform: &Transform) -> bool {
        match transform {
            Transform::ValueAndGrad { .. } | Transform::Vjp { .. } => self.used == Use::Computed,
            Transform::Checkpoint => true,
            _ => false,
        }
    }

    /// Splits the function of a gradient as its inputs are; gradients are split as what they are of.
    fn transform(
        &mut self,
        node: &Node,
        transform: &Transform,
        functions: &[Rc<Graph>],
        n_captures: usize,
    ) -> Result<()> {
        let [function] = functions else {
            return self.whole(node, "it has rules of its own");
        };
        let n_own = node.inputs.len() - n_captures;
        let n_primals = match transform {
            Transform::Vjp { n_primals } => *n_primals,
            _ => n_own,
        };
        let mut shardings = Vec::new();
        let mut inputs = Vec::new();
        for (place, input) in node.inputs.iter().enumerate() {
            let is_cotangent = (n_primals..n_own).contains(&place);
            let sharding = match self.forms.get(input).map(|forms| forms[0].0) {
                Some(Sharded(dim)) if !is_cotangent => Sharded(dim),
                _ => Replicated,
            };
            inputs.push(self.form(*input, sharding, node.site)?);
            if !is_cotangent {
                shardings.push(sharding);
            }
        }
        let used = match transform {
            Transform::Checkpoint => self.used,
            _ => Use::Differentiated,
        };
        let whole = vec![Replicated; function.outputs.len()];
        let inner = partition(
            function,
            self.place,
            (&shardings, &whole),
            used,
            self.refusals,
        )?;
        let mut outputs = whole;
        match transform {
            Transform::ValueAndGrad { argnums } => {
                let of = |argnum: &usize| shardings.get(*argnum).copied();
                outputs.extend(argnums.iter().filter_map(of));
            }
            Transform::Vjp { .. } => outputs.extend(&shardings[..n_primals]),
            _ => {}
        }
        if outputs.len() != node.outputs.len() {
            return Err(Error::Unsupported(format!(
                "shard: wanted {} results of {}, got {}",
                outputs.len(),
                transform.name(),
                node.outputs.len()
            )));
        }
        let ranks = self.place.axis.size;
        let pairs = node.outputs.iter().zip(&outputs);
        let types = pairs
            .map(|(output, sharding)| local_type(self.from.array_type(*output), *sharding, ranks));
        let types = types.collect();
        let operation = Operation::Transform {
            transform: transform.clone(),
            functions: vec![Rc::new(inner)],
            n_captures,
        };
        let values = self.into.add_node(operation, inputs, types, node.site);
        self.keep(node, &outputs, &values);
        Ok(())
    }
}

/// Whether a way is better than another: fewer bytes, then fewer operations, then smaller results; whole before that.
fn is_better(price: Option<Cost>, way: &Strategy, best: Option<Cost>, best_way: &Strategy) -> bool {
    let Some(price) = price else { return false };
    let Some(best) = best else { return true };
    if price != best {
        return price < best;
    }
    // With nothing to choose by, sums are made as late as they can be.
    let parts = |way: &Strategy| way.inputs.iter().filter(|one| **one != Replicated).count();
    parts(way) > parts(best_way)
}
