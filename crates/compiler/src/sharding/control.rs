//! Graphs inside of nodes: functions of transforms, branches, and bodies of loops are split as what they are given.

use std::rc::Rc;

use mlx::Op;
use mlx::transforms::Transform;

use super::dimensions::{
    Passed, arguments, derivatives, input_passed, mapped, n_carried, output_passed,
};
use super::partition::{Partitioner, Use, partition};
use super::strategy::{Replicated, Sharded, Sharding};
use crate::graph::{Graph, Node, Operation, Value};
use crate::{Error, Result};

impl Partitioner<'_> {
    /// Whether the pass looks into the functions of a transform.
    pub(super) fn takes(&self, transform: &Transform) -> bool {
        match transform {
            Transform::ValueAndGrad { .. }
            | Transform::Vjp { .. }
            | Transform::Jvp
            | Transform::Vmap { .. } => self.used == Use::Computed,
            Transform::Checkpoint => true,
            _ => false,
        }
    }

    /// How a value is split without communication.
    fn natural(&self, value: Value) -> Sharding {
        match self.forms.get(&value).map(|forms| forms[0].0) {
            Some(Sharded(dim)) => Sharded(dim),
            _ => Replicated,
        }
    }

    /// How a value of a graph in a node is split, when the one outside that it is part of is split so.
    fn inside(
        &self,
        (outside, sharding): (Value, Sharding),
        passed: Passed,
        (graph, inside): (&Graph, Value),
    ) -> Sharding {
        let Sharded(dim) = sharding else {
            return Replicated;
        };
        let alike = |inner: &usize| {
            let outer = (self.from, outside, dim);
            self.place.dims.are_alike(outer, (graph, inside, *inner))
        };
        let inner = passed.dim_inside(dim).filter(alike);
        inner.map_or(Replicated, Sharded)
    }

    /// How what comes out of a graph in a node is split, when it is inside; whole if it cannot be split so.
    fn outside(
        &self,
        (graph, inside, sharding): (&Graph, Value, Sharding),
        passed: Passed,
        outside: Value,
    ) -> Sharding {
        let Sharded(dim) = sharding else {
            return Replicated;
        };
        let outer = passed.dim_outside(dim);
        let alike = self
            .place
            .dims
            .are_alike((self.from, outside, outer), (graph, inside, dim));
        if alike { Sharded(outer) } else { Replicated }
    }

    /// How the graphs of a node get their arguments.
    fn argument_shardings(&self, node: &Node, graph: &Graph) -> Vec<Sharding> {
        let pairs = arguments(node).into_iter().zip(&graph.inputs).enumerate();
        pairs
            .map(|(at, (outside, inside))| {
                let passed = input_passed(&node.operation, at);
                self.inside((outside, self.natural(outside)), passed, (graph, *inside))
            })
            .collect()
    }

    /// How a graph gives its outputs without more communication, when its inputs are split as these say.
    fn natural_outputs(
        &self,
        graph: &Graph,
        inputs: &[Sharding],
        used: Use,
    ) -> Result<Vec<Sharding>> {
        let mut refusals = Vec::new();
        let inner = Partitioner::new(graph, self.place, inputs, used, &mut refusals)?;
        Ok(graph
            .outputs
            .iter()
            .map(|output| inner.natural(*output))
            .collect())
    }

    /// Returns the arguments of a node, made so that the graphs inside get them split as these say.
    fn given(&mut self, node: &Node, inside: &[Sharding]) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for (at, (value, sharding)) in arguments(node).into_iter().zip(inside).enumerate() {
            let outer = match sharding {
                Sharded(dim) => Sharded(input_passed(&node.operation, at).dim_outside(*dim)),
                _ => Replicated,
            };
            let natural = self.natural(value);
            if let (Sharded(dim), Replicated) = (natural, outer) {
                let shape = &self.from.array_type(value).shape;
                let why = "the function gets it whole";
                let reason = format!("argument {at}, {shape:?}, is split along {dim}: {why}");
                self.refuse(node, reason);
            }
            all.push(self.form(value, outer, node.site)?);
        }
        Ok(all)
    }

    /// Returns how the outputs of a node are split, and makes what is inside whole where it cannot come out split.
    fn results(&self, node: &Node, graph: &Graph, inside: &mut [Sharding]) -> Vec<Sharding> {
        let mut all = Vec::new();
        let values = node.outputs.iter().zip(&graph.outputs).zip(inside);
        for (at, ((outside, output), sharding)) in values.enumerate() {
            let passed = output_passed(&node.operation, at);
            let outer = self.outside((graph, *output, *sharding), passed, *outside);
            if outer == Replicated {
                *sharding = Replicated;
            }
            all.push(outer);
        }
        all
    }

    fn append(
        &mut self,
        node: &Node,
        operation: Operation,
        inputs: Vec<Value>,
        outputs: &[Sharding],
    ) {
        let types = self.local_types(&node.outputs, outputs);
        let values = self.into.add_node(operation, inputs, types, node.site);
        self.keep(node, outputs, &values);
    }

    /// Both branches get their arguments as they are; what one of them gives by parts, the other one cuts.
    pub(super) fn cond(
        &mut self,
        node: &Node,
        then: &Rc<Graph>,
        otherwise: &Rc<Graph>,
    ) -> Result<()> {
        let of_then = self.argument_shardings(node, then);
        let of_else = self.argument_shardings(node, otherwise);
        // A value that is cut alike in one branch only is whole in both.
        let agreed = |(a, b): (&Sharding, &Sharding)| if a == b { *a } else { Replicated };
        let inputs: Vec<Sharding> = of_then.iter().zip(&of_else).map(agreed).collect();
        let first = self.natural_outputs(then, &inputs, self.used)?;
        let second = self.natural_outputs(otherwise, &inputs, self.used)?;
        let either = |(a, b): (&Sharding, &Sharding)| match (*a, *b) {
            (a, b) if a == b => a,
            (a, Replicated) => a,
            (Replicated, b) => b,
            _ => Replicated,
        };
        let mut inside: Vec<Sharding> = first.iter().zip(&second).map(either).collect();
        self.results(node, then, &mut inside);
        let outputs = self.results(node, otherwise, &mut inside);
        let predicate = self.form(node.inputs[0], Replicated, node.site)?;
        let mut values = vec![predicate];
        values.extend(self.given(node, &inputs)?);
        let shardings = (&inputs[..], &inside[..]);
        let then = partition(then, self.place, shardings, self.used, self.refusals)?;
        let otherwise = partition(otherwise, self.place, shardings, self.used, self.refusals)?;
        let operation = Operation::Cond {
            then: Rc::new(then),
            otherwise: Rc::new(otherwise),
        };
        self.append(node, operation, values, &outputs);
        Ok(())
    }

    /// A state goes round split as it came in, if the body gives it so; otherwise whole.
    pub(super) fn repeated(
        &mut self,
        node: &Node,
        condition: Option<&Rc<Graph>>,
        body: &Rc<Graph>,
    ) -> Result<()> {
        let n_carried = n_carried(&node.operation);
        let mut inputs = self.argument_shardings(node, body);
        if let Some(condition) = condition {
            let others = self.argument_shardings(node, condition);
            for (input, other) in inputs.iter_mut().zip(others) {
                if *input != other {
                    *input = Replicated;
                }
            }
        }
        let mut inside = self.natural_outputs(body, &inputs, self.used)?;
        // What comes in whole and is given by parts is cut before the first round.
        for at in 0..n_carried {
            let cut = self.state(node, body, at, inside[at]);
            if inputs[at] == Replicated && cut && condition.is_none() {
                inputs[at] = inside[at];
            }
        }
        loop {
            inside = self.natural_outputs(body, &inputs, self.used)?;
            let is_broken = |at: &usize| {
                inputs[*at] != Replicated
                    && (inside[*at] != inputs[*at] || !self.state(node, body, *at, inputs[*at]))
            };
            let broken: Vec<usize> = (0..n_carried).filter(is_broken).collect();
            if broken.is_empty() {
                break;
            }
            for at in broken {
                inputs[at] = Replicated;
            }
        }
        inside[..n_carried].clone_from_slice(&inputs[..n_carried]);
        let outputs = self.results(node, body, &mut inside);
        let values = self.given(node, &inputs)?;
        let inner = (&inputs[..], &inside[..]);
        let body = Rc::new(partition(
            body,
            self.place,
            inner,
            self.used,
            self.refusals,
        )?);
        let mut operation = node.operation.clone();
        match &mut operation {
            Operation::While {
                condition: old,
                body: old_body,
                ..
            } => {
                let inner = (&inputs[..], &[Replicated][..]);
                *old = Rc::new(partition(old, self.place, inner, self.used, self.refusals)?);
                *old_body = body;
            }
            Operation::Scan { body: old, .. } => *old = body,
            _ => {}
        }
        self.append(node, operation, values, &outputs);
        Ok(())
    }

    /// Whether a state may go round split so: what comes in, inside, and what comes out are cut alike.
    fn state(&self, node: &Node, body: &Graph, at: usize, sharding: Sharding) -> bool {
        let Sharded(dim) = sharding else { return false };
        let ends = [
            (self.from, node.inputs[at], dim),
            (self.from, node.outputs[at], dim),
            (body, body.outputs[at], dim),
        ];
        let inside = (body, body.inputs[at], dim);
        let dims = self.place.dims;
        dims.is_distributed(body, inside.1, dim)
            && ends.iter().all(|end| dims.are_alike(*end, inside))
    }

    /// Splits the function of a transform as its inputs are; gradients are split as what they are of.
    pub(super) fn transform(
        &mut self,
        node: &Node,
        transform: &Transform,
        functions: &[Rc<Graph>],
        n_captures: usize,
    ) -> Result<()> {
        let [function] = functions else {
            return self.whole(node, "it has rules of its own");
        };
        if let Transform::Vmap { .. } = transform {
            return self.vmap(node, function);
        }
        let used = match transform {
            Transform::Checkpoint => self.used,
            Transform::Jvp => Use::Pushed,
            _ => Use::Differentiated,
        };
        let mut shardings = self.argument_shardings(node, function);
        for (of, derivative) in derivatives(node) {
            let inside = (function.as_ref(), function.inputs[of]);
            let sharding = (derivative, shardings[of]);
            shardings[of] = self.inside(sharding, Passed::Whole, inside);
        }
        let mut inside = match transform {
            Transform::Jvp | Transform::Checkpoint => {
                self.natural_outputs(function, &shardings, used)?
            }
            _ => vec![Replicated; function.outputs.len()],
        };
        let mut outputs = self.results(node, function, &mut inside);
        let mut inputs = self.given(node, &shardings)?;
        // Tangents are split as what they are of, cotangents as outputs are: they are whole.
        let n_primals = shardings.len() - n_captures;
        let n_own = node.inputs.len() - n_captures;
        let mut more = Vec::new();
        for (at, value) in node.inputs[n_primals..n_own].iter().enumerate() {
            let sharding = match transform {
                Transform::Jvp => shardings[at],
                _ => Replicated,
            };
            more.push(self.form(*value, sharding, node.site)?);
        }
        inputs.splice(n_primals..n_primals, more);
        let inner = (&shardings[..], &inside[..]);
        let inner = partition(function, self.place, inner, used, self.refusals)?;
        match transform {
            Transform::ValueAndGrad { argnums } => {
                let of = |argnum: &usize| shardings.get(*argnum).copied();
                outputs.extend(argnums.iter().filter_map(of));
            }
            Transform::Vjp { .. } => outputs.extend(&shardings[..n_primals]),
            Transform::Jvp => outputs.extend(outputs.clone()),
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
        let operation = Operation::Transform {
            transform: transform.clone(),
            functions: vec![Rc::new(inner)],
            n_captures,
        };
        self.append(node, operation, inputs, &outputs);
        Ok(())
    }

    /// By elements of the mapped axis, each rank with its own; or as the function is split, if no array is gathered in it.
    fn vmap(&mut self, node: &Node, function: &Rc<Graph>) -> Result<()> {
        let operation = &node.operation;
        let along = |passed: Passed| match passed {
            Passed::Along(axis) => Sharded(axis),
            Passed::Whole => Replicated,
        };
        let values = arguments(node);
        let of_input = |at: usize| along(input_passed(operation, at));
        let is_mapped = |(at, value): (usize, &Value)| {
            of_input(at) != Replicated && self.natural(*value) == of_input(at)
        };
        let n_outputs = node.outputs.len();
        let of_outputs: Vec<Sharding> = (0..n_outputs)
            .map(|at| along(output_passed(operation, at)))
            .collect();
        let by_element = values.iter().enumerate().any(is_mapped)
            && self.mapped_alike(node, &values, &of_outputs);
        if by_element {
            let mut inputs = Vec::new();
            for (at, value) in values.iter().enumerate() {
                inputs.push(self.form(*value, of_input(at), node.site)?);
            }
            self.append(node, operation.clone(), inputs, &of_outputs);
            return Ok(());
        }
        let inputs = self.argument_shardings(node, function);
        let mut inside = self.natural_outputs(function, &inputs, self.used)?;
        let outputs = self.results(node, function, &mut inside);
        let mut refusals = Vec::new();
        let shardings = (&inputs[..], &inside[..]);
        let inner = partition(function, self.place, shardings, self.used, &mut refusals)?;
        if gathers_inside(&inner) {
            return self.whole(node, "vmap of a function in which arrays are gathered");
        }
        if self.place.dims.uneven && n_communications(&inner) > 1 {
            return self.whole(
                node,
                "vmap of a function whose communications have no order",
            );
        }
        self.refusals.extend(refusals);
        let values = self.given(node, &inputs)?;
        let mut operation = operation.clone();
        if let Operation::Transform { functions, .. } = &mut operation {
            *functions = vec![Rc::new(inner)];
        }
        self.append(node, operation, values, &outputs);
        Ok(())
    }

    /// Whether the mapped axes of all inputs and outputs are cut alike.
    fn mapped_alike(&self, node: &Node, inputs: &[Value], of_outputs: &[Sharding]) -> bool {
        let mapped = mapped(node);
        let dims = self.place.dims;
        let all = mapped.len() == of_outputs.len() + mapped_inputs(node, inputs);
        let distributed =
            |(value, dim): &(Value, usize)| dims.is_distributed(self.from, *value, *dim);
        let alike = |one: &(Value, usize)| {
            dims.are_alike(
                (self.from, one.0, one.1),
                (self.from, mapped[0].0, mapped[0].1),
            )
        };
        all && mapped.iter().all(distributed) && mapped.iter().all(alike)
    }
}

/// The number of inputs that a `vmap` goes along.
fn mapped_inputs(node: &Node, inputs: &[Value]) -> usize {
    let is_mapped = |at: &usize| input_passed(&node.operation, *at) != Passed::Whole;
    (0..inputs.len()).filter(is_mapped).count()
}

/// Whether ranks exchange in a graph what is more than a sum of elements: MLX has no other for many arrays at once.
fn gathers_inside(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| {
        let gathers = matches!(
            node.operation.op(),
            Some(Op::AllGather { .. } | Op::SumScatter { .. })
        );
        gathers
            || node
                .operation
                .graphs()
                .iter()
                .any(|(_, inner)| gathers_inside(inner))
    })
}

/// The number of communications in a graph and those inside.
fn n_communications(graph: &Graph) -> usize {
    let of_node = |node: &Node| match node.operation.op() {
        Some(_) => usize::from(node.operation.communicates()),
        None => {
            let inside = node.operation.graphs();
            inside
                .iter()
                .map(|(_, graph)| n_communications(graph))
                .sum()
        }
    };
    graph.nodes.iter().map(of_node).sum()
}
