//! Propagation: each node of a graph gets a way to compute it, and its inputs the shardings that this wants.

use std::collections::HashMap;

use mlx::{ArrayType, Dtype, Op};

use super::convert::{Cost, communicate, communicate_along, cost, gather, is_sum, slice_runs};
use super::differentiate::{group_of, sum_gradients};
use super::dimensions::Dimensions;
use super::masked_take::{MaskedTake, append_masked_take};
use super::mesh::MeshAxis;
use super::report::{CollectiveKind, ShardingRefusal, byte_count};
use super::rules::{Rule, rule};
use super::strategy::{Local, Replicated, Sharded, Sharding, Site, Strategy, Unreduced};
use crate::Result;
use crate::graph::{Constant, Graph, Literal, Node, Operation, SourceLocation, Value, ValueOrigin};

/// A rank's place along an axis of the mesh, and how the dimensions of all values are cut along it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) axis: &'a MeshAxis,
    pub(super) rank: usize,
    pub(super) dims: &'a Dimensions,
}

impl Place<'_> {
    /// Returns the type of what the rank has of a value.
    pub(super) fn local_type(self, graph: &Graph, value: Value, sharding: Sharding) -> ArrayType {
        let mut local = graph.array_type(value).clone();
        if let Sharded(dim) = sharding {
            let layout = self.dims.layout(graph, value, dim);
            let size = layout.size(self.rank, self.axis.size);
            if !layout.is_even(self.axis.size) {
                self.dims.has_uneven.set(true);
            }
            local.shape[dim] = i32::try_from(size).unwrap_or(i32::MAX);
        }
        local
    }
}

/// What is done with a graph when it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is computed.
    Computed,
    /// MLX takes its gradient.
    Differentiated,
    /// MLX takes its product with tangents.
    Pushed,
}

/// Returns the graph of one rank, whose inputs and outputs are split as they say.
pub(super) fn partition(
    graph: &Graph,
    place: Place<'_>,
    (inputs, outputs): (&[Sharding], &[Sharding]),
    used: Use,
    refusals: &mut Vec<ShardingRefusal>,
) -> Result<Graph> {
    let mut partitioner = Partitioner::new(graph, place, inputs, used, refusals)?;
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

pub(super) struct Partitioner<'a> {
    pub(super) from: &'a Graph,
    pub(super) into: Graph,
    pub(super) place: Place<'a>,
    pub(super) used: Use,
    /// What the rank has of each value; the first is what was computed.
    pub(super) forms: HashMap<Value, Vec<(Sharding, Value)>>,
    /// New values, and the same whose gradients are summed.
    summed: HashMap<Value, Value>,
    uses: Vec<usize>,
    pub(super) refusals: &'a mut Vec<ShardingRefusal>,
}

impl<'a> Partitioner<'a> {
    /// Computes the nodes of a graph whose inputs are split as these say.
    pub(super) fn new(
        graph: &'a Graph,
        place: Place<'a>,
        inputs: &[Sharding],
        used: Use,
        refusals: &'a mut Vec<ShardingRefusal>,
    ) -> Result<Self> {
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
            let local = place.local_type(graph, *input, *sharding);
            let new = partitioner.into.add_input(local);
            partitioner.forms.insert(*input, vec![(*sharding, new)]);
        }
        for node in &graph.nodes {
            partitioner.node(node)?;
        }
        Ok(partitioner)
    }

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
            Operation::Cond { then, otherwise } => self.cond(node, then, otherwise),
            Operation::While {
                condition, body, ..
            } => self.repeated(node, Some(condition), body),
            Operation::Scan { body, .. } => self.repeated(node, None, body),
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
        let site = self.site(node, op);
        let (mut ways, reason) = match rule(op) {
            Rule::Ways(list) => (list(&site), None),
            Rule::Whole(reason) => (Vec::new(), Some(reason)),
        };
        ways.retain(|way| self.allows(node, way));
        ways.extend(self.by_section(node, op));
        if self.used != Use::Computed {
            // MLX has no derivative of maxima over ranks.
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

    /// Returns what a rule reads of a node.
    pub(super) fn site<'s>(&self, node: &Node, op: &'s Op) -> Site<'s>
    where
        'a: 's,
    {
        let (from, ranks) = (self.from, self.place.axis.size);
        let mut site = Site::whole(from, node, op, ranks, self.place.dims.uneven);
        let all = [
            (&node.inputs, &mut site.input_parts),
            (&node.outputs, &mut site.output_parts),
        ];
        for (values, parts) in all {
            for (value, sizes) in values.iter().zip(parts) {
                for (dim, size) in sizes.iter_mut().enumerate() {
                    if self.place.dims.is_distributed(from, *value, dim) {
                        let layout = self.place.dims.layout(from, *value, dim);
                        let local = layout.size(self.place.rank, ranks);
                        *size = i32::try_from(local).unwrap_or(i32::MAX);
                    }
                }
            }
        }
        site
    }

    /// Whether what a way splits is cut alike. Rows that are taken by number need a table that is cut in their order.
    fn allows(&self, node: &Node, way: &Strategy) -> bool {
        let dims = self.place.dims;
        let in_order = match way.local {
            Local::MaskedTake(axis) => dims.layout(self.from, node.inputs[0], axis).is_contiguous(),
            _ => true,
        };
        in_order && dims.allow(self.from, node, way)
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
        let costs = forms
            .iter()
            .filter_map(|(from, _)| self.cost(value, *from, to));
        costs.min_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    }

    fn cost(&self, value: Value, from: Sharding, to: Sharding) -> Option<Cost> {
        let mut array_type = self.from.array_type(value).clone();
        let bytes = byte_count(&array_type);
        let ranks = self.place.axis.size;
        if let Sharded(dim) = from {
            let layout = self.place.dims.layout(self.from, value, dim);
            array_type.shape[dim] = i32::try_from(layout.greatest(ranks) * ranks).ok()?;
        }
        cost((bytes, byte_count(&array_type)), from, to, ranks)
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

    pub(super) fn refuse(&mut self, node: &Node, reason: String) {
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
        let types = self.local_types(&node.outputs, &way.outputs);
        let outputs = match &way.local {
            Local::MaskedTake(axis) => {
                let (all, (first, _)) = self.part_of(node.inputs[0], *axis);
                let take = MaskedTake {
                    axis: *axis,
                    all,
                    first,
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
            Local::Weighted(dim) => {
                let made = self
                    .into
                    .add_node(node.operation.clone(), inputs, types, node.site);
                let (all, (_, own)) = self.part_of(node.inputs[0], *dim);
                let layout = self.place.dims.layout(self.from, node.inputs[0], *dim);
                let share = (all, own, layout.is_even(self.place.axis.size));
                vec![self.weighted(made[0], share, node.site)]
            }
        };
        self.keep(node, &way.outputs, &outputs);
        Ok(())
    }

    pub(super) fn keep(&mut self, node: &Node, shardings: &[Sharding], values: &[Value]) {
        for ((old, sharding), new) in node.outputs.iter().zip(shardings).zip(values) {
            self.forms.insert(*old, vec![(*sharding, *new)]);
        }
    }

    /// Returns the types of what the rank has of values.
    pub(super) fn local_types(&self, values: &[Value], shardings: &[Sharding]) -> Vec<ArrayType> {
        let pairs = values.iter().zip(shardings);
        pairs
            .map(|(value, sharding)| self.place.local_type(self.from, *value, *sharding))
            .collect()
    }

    /// Returns the size of a dimension of a value, and the first and the number of the elements that the rank has of it.
    fn part_of(&self, value: Value, dim: usize) -> (usize, (usize, usize)) {
        let layout = self.place.dims.layout(self.from, value, dim);
        let runs = layout.runs(self.place.rank, self.place.axis.size);
        let first = runs.first().map_or(0, |(first, _)| *first);
        let own = runs.iter().map(|(_, n)| n).sum();
        (layout.sections().iter().sum(), (first, own))
    }

    /// Appends the rank's share of a mean: times the number of its own elements over that of all.
    fn weighted(
        &mut self,
        value: Value,
        (all, own, is_even): (usize, usize, bool),
        site: SourceLocation,
    ) -> Value {
        // The same operations on all ranks, whether the number of this one divides that of all or not.
        if is_even {
            return self.scaled(value, Op::Divide, self.place.axis.size, site);
        }
        // By whole numbers, as their quotient would be rounded; a product with one is too great for half precision.
        let dtype = self.into.array_type(value).dtype;
        let is_half = matches!(dtype, Dtype::Float16 | Dtype::Bfloat16);
        let wide = if is_half { Dtype::Float32 } else { dtype };
        let value = self.cast(value, wide, site);
        let times = self.scaled(value, Op::Multiply, own, site);
        let share = self.scaled(times, Op::Divide, all, site);
        self.cast(share, dtype, site)
    }

    fn cast(&mut self, value: Value, dtype: Dtype, site: SourceLocation) -> Value {
        let array_type = self.into.array_type(value).clone();
        if array_type.dtype == dtype {
            return value;
        }
        let made = ArrayType::new(array_type.shape, dtype);
        let operation = Operation::Op(Op::Astype { dtype });
        self.into.add_node(operation, vec![value], vec![made], site)[0]
    }

    #[allow(clippy::cast_precision_loss)]
    fn scaled(&mut self, value: Value, op: Op, by: usize, site: SourceLocation) -> Value {
        let array_type = self.into.array_type(value).clone();
        let number = ArrayType::new((), array_type.dtype);
        let by = Constant::Number(Literal::Float(by as f64));
        let by = self.into.add_constant(number, by);
        let made = self
            .into
            .add_node(Operation::Op(op), vec![value, by], vec![array_type], site);
        made[0]
    }

    /// Computes a node whole on every rank.
    pub(super) fn whole(&mut self, node: &Node, reason: &str) -> Result<()> {
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
    pub(super) fn form(
        &mut self,
        value: Value,
        to: Sharding,
        site: SourceLocation,
    ) -> Result<Value> {
        self.add_constant(value);
        let forms = self.forms.get(&value).cloned().unwrap_or_default();
        let found = forms.iter().find(|(sharding, _)| *sharding == to);
        if let Some((_, new)) = found {
            return Ok(*new);
        }
        let nearest = forms
            .iter()
            .filter_map(|(from, new)| Some((self.cost(value, *from, to)?, *from, *new)))
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
            (from, Sharded(dim)) if is_sum(from) && self.scatters(value, dim) => {
                let site = self.line_of(value, site);
                let kind = CollectiveKind::SumScatter;
                communicate_along(&mut self.into, kind, new, dim, self.place.axis, site)
            }
            (Sharded(dim), Replicated) => {
                let layout = self.place.dims.layout(self.from, value, dim);
                let place = (self.place.axis, self.place.rank);
                gather(&mut self.into, new, (dim, &layout), place, site)
            }
            (_, Sharded(dim)) => {
                let whole = self.form(value, Replicated, site)?;
                let whole = self.with_summed_gradient(value, whole, site);
                let layout = self.place.dims.layout(self.from, value, dim);
                let runs = layout.runs(self.place.rank, self.place.axis.size);
                let site = SourceLocation {
                    of_rank: true,
                    ..site
                };
                slice_runs(&mut self.into, whole, dim, &runs, site)
            }
            _ => return Err(crate::passes::undefined_value("shard")),
        };
        self.forms.entry(value).or_default().push((to, made));
        Ok(made)
    }

    /// Whether a sum is scattered: parts of one size, in the order of the ranks.
    fn scatters(&self, value: Value, dim: usize) -> bool {
        let layout = self.place.dims.layout(self.from, value, dim);
        self.used == Use::Computed && layout.is_contiguous() && layout.is_even(self.place.axis.size)
    }

    /// The line that computed a value, if one did.
    fn line_of(&self, value: Value, site: SourceLocation) -> SourceLocation {
        self.from.producer(value).map_or(site, |node| node.site)
    }

    /// Where gradients are taken, returns a whole value as what is used by parts.
    fn with_summed_gradient(&mut self, old: Value, new: Value, site: SourceLocation) -> Value {
        let array_type = self.from.array_type(old);
        let is_constant = self.from.constant(old).is_some();
        if self.used != Use::Differentiated || is_constant || !array_type.dtype.is_inexact() {
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

    fn are_alike(&self, a: Value, b: Value, dim: usize) -> bool {
        let dims = self.place.dims;
        dims.are_alike((self.from, a, dim), (self.from, b, dim))
    }

    /// What was put in for another axis of the mesh: the same of what a rank has.
    fn summed_along_another_axis(&mut self, node: &Node, group: &str) -> Result<()> {
        let sharding = match self.forms.get(&node.inputs[0]).map(|forms| forms[0].0) {
            Some(Sharded(dim)) if self.are_alike(node.inputs[0], node.outputs[0], dim) => {
                Sharded(dim)
            }
            _ => Replicated,
        };
        let input = self.form(node.inputs[0], sharding, node.site)?;
        let summed = sum_gradients(&mut self.into, input, group, node.site);
        self.keep(node, &[sharding], &[summed]);
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
