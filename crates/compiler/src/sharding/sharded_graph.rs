//! A graph for each rank, made of one: [`shard`] and its result.

use mlx::compiler_api::TracedArray;
use mlx::transforms::Transform;
use mlx::{Array, ArrayType, Op};

use super::collectives::{check_groups, collectives};
use super::dimensions::Dimensions;
use super::layout::DimLayout;
use super::order::ordered;
use super::partition::{Place, Use, partition};
use super::prepare::prepare;
use super::report::{ShardedValue, ShardingRefusal, ShardingReport, byte_count};
use super::strategy::{Replicated, Sharded, Sharding};
use super::{Mesh, PartitionSpec, Rules, TracedNames};
use crate::graph::{Graph, Operation, SourceLocation, Value};
use crate::{Error, Result};

/// A graph that has been split over the ranks of a mesh.
#[derive(Clone, Debug)]
pub struct ShardedGraph {
    mesh: Mesh,
    /// The whole graph, in canonical form.
    whole: Graph,
    /// For each axis of the mesh, how inputs and outputs are split along it.
    axes: Vec<AxisShardings>,
    report: ShardingReport,
}

#[derive(Clone, Debug)]
struct AxisShardings {
    inputs: Vec<Sharding>,
    outputs: Vec<Sharding>,
    /// How the split dimension of each input is cut, and of each output.
    layouts: (Vec<DimLayout>, Vec<DimLayout>),
}

/// Splits a graph over the ranks of a mesh. Its inputs and outputs are called `0`, `1`, ... by the rules.
///
/// The axes of the mesh are taken one after the other: what ranks of the first axis compute is split along the second.
///
/// ```
/// use mlx_compiler::Graph;
/// use mlx_compiler::sharding::{Mesh, Rules, shard};
///
/// let graph: Graph = "\
/// graph mlp(x0: float32[8, 16], x1: float32[16, 32], x2: float32[32, 16]) {
///   %0: float32[8, 32] = matmul x0, x1
///   %1: float32[8, 32] = tanh %0
///   %2: float32[8, 16] = matmul %1, x2
///   return %2
/// }".parse()?;
/// let mesh = Mesh::new(&[("model", 2)])?;
/// let rules = Rules::new().input("1", [None, Some("model")]).input("2", [Some("model"), None]);
/// let sharded = shard(&graph, &mesh, &rules)?;
/// assert_eq!(sharded.rank_graph(0)?.to_string(), "\
/// graph mlp(x0: float32[8, 16], x1: float32[16, 16], x2: float32[16, 16]) {
///   %0: float32[8, 16] = matmul x0, x1
///   %1: float32[8, 16] = tanh %0
///   %2: float32[8, 16] = matmul %1, x2
///   %3: float32[8, 16] = distributed.all_sum %2 group=\"model\"
///   return %3
/// }");
/// assert_eq!(sharded.report().wire_bytes(), 8 * 16 * 4);
/// # Ok::<(), mlx_compiler::Error>(())
/// ```
///
/// # Errors
/// When a rule names an axis that the mesh does not have, or one twice; when the graph communicates along one already.
pub fn shard(graph: &Graph, mesh: &Mesh, rules: &Rules) -> Result<ShardedGraph> {
    let numbers = |values: &[Value]| (0..values.len()).map(|k| k.to_string()).collect();
    let names = TracedNames {
        inputs: numbers(&graph.inputs),
        outputs: numbers(&graph.outputs),
    };
    ShardedGraph::new(graph, mesh, rules, &names)
}

impl ShardedGraph {
    pub(crate) fn new(
        graph: &Graph,
        mesh: &Mesh,
        rules: &Rules,
        names: &TracedNames,
    ) -> Result<Self> {
        rules.check(mesh)?;
        check_groups(graph, mesh)?;
        let whole = prepare(graph)?;
        let mut report = ShardingReport {
            ranks: mesh.size(),
            unused_rules: rules.unused(&names.inputs, &names.outputs),
            ..ShardingReport::default()
        };
        let (mut axes, mut places) = (Vec::new(), Vec::new());
        let mut local = whole.clone();
        for (place, axis) in mesh.axes().iter().enumerate() {
            let uneven = is_last(mesh, place) && !has_gradient(&whole);
            let dims = Dimensions::of(&local, axis.size, uneven);
            let mut along = Along {
                mesh,
                place,
                graph: &local,
                dims: &dims,
                report: &mut report,
                places: &mut places,
            };
            let inputs = along.values(
                &local.inputs,
                &names.inputs,
                &|name| rules.of_input(name),
                false,
            );
            let outputs = along.values(
                &local.outputs,
                &names.outputs,
                &|name| rules.of_output(name),
                true,
            );
            let layouts = (
                along.layouts(&local.inputs, &inputs),
                along.layouts(&local.outputs, &outputs),
            );
            let shardings = AxisShardings {
                inputs,
                outputs,
                layouts,
            };
            if axis.size > 1 {
                let place = Place {
                    axis,
                    rank: 0,
                    dims: &dims,
                };
                local = part(&local, place, &shardings, &mut report.refusals)?;
            }
            axes.push(shardings);
        }
        let bytes = |graph: &Graph| graph.input_types().iter().map(byte_count).sum();
        report.input_bytes = (bytes(&whole), bytes(&local));
        report.collectives = collectives(&local, mesh);
        for (value, place) in report.values.iter_mut().zip(places) {
            let values = if value.is_output {
                &local.outputs
            } else {
                &local.inputs
            };
            value.bytes_per_rank = byte_count(local.array_type(values[place]));
        }
        Ok(Self {
            mesh: mesh.clone(),
            whole,
            axes,
            report,
        })
    }

    /// Returns the mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Returns what was split, what goes over the wire, and what had to be whole.
    pub fn report(&self) -> &ShardingReport {
        &self.report
    }

    /// Returns the whole graph in canonical form, which is what was split.
    pub fn whole(&self) -> &Graph {
        &self.whole
    }

    /// Returns the graph of one rank.
    ///
    /// # Errors
    /// When the mesh does not have the rank.
    pub fn rank_graph(&self, rank: usize) -> Result<Graph> {
        self.check_rank(rank)?;
        let coordinates = self.mesh.coordinates(rank);
        let mut local = self.whole.clone();
        for (place, axis) in self.mesh.axes().iter().enumerate() {
            if axis.size > 1 {
                let uneven = is_last(&self.mesh, place) && !has_gradient(&self.whole);
                let dims = Dimensions::of(&local, axis.size, uneven);
                let at = Place {
                    axis,
                    rank: coordinates[place],
                    dims: &dims,
                };
                local = part(&local, at, &self.axes[place], &mut Vec::new())?;
                if dims.has_uneven.get() {
                    local = ordered(&local)?;
                }
            }
        }
        local.verify().map_err(|error| Error::Verify {
            pass: "shard",
            error,
        })?;
        Ok(local)
    }

    /// Returns a rank's parts of inputs, which are in the function's order; those of random keys may be left out.
    ///
    /// # Errors
    /// When the mesh does not have the rank, or an input has another type than the graph wants.
    pub fn shard_inputs(&self, rank: usize, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.check_rank(rank)?;
        if inputs.len() > self.whole.inputs.len() {
            let message = format!(
                "wanted {} arrays, got {}",
                self.whole.inputs.len(),
                inputs.len()
            );
            return Err(mlx::Error::op("shard_inputs", message).into());
        }
        let parts = inputs.iter().enumerate().map(|(index, input)| {
            let wanted = self.whole.array_type(self.whole.inputs[index]);
            if !input.matches_type(wanted) {
                let got = mlx::compiler_api::type_of(input)?;
                let message = format!("wanted {wanted} as input {index}, got {got}");
                return Err(mlx::Error::op("shard_inputs", message).into());
            }
            let cuts = self
                .axes
                .iter()
                .map(|axis| (axis.inputs[index], &axis.layouts.0[index]));
            self.part_of(rank, input, cuts)
        });
        parts.collect()
    }

    /// Returns a rank's part of an output, whose whole is `output`.
    ///
    /// # Errors
    /// When the mesh does not have the rank, or the graph does not have the output, or has it with another type.
    pub fn shard_output(&self, rank: usize, index: usize, output: &Array) -> Result<Array> {
        self.check_rank(rank)?;
        let n = self.whole.outputs.len();
        let Some(value) = self.whole.outputs.get(index) else {
            let message = format!("wanted one of {n} outputs, got {index}");
            return Err(mlx::Error::op("shard_output", message).into());
        };
        let wanted = self.whole.array_type(*value);
        if !output.matches_type(wanted) {
            let got = mlx::compiler_api::type_of(output)?;
            let message = format!("wanted {wanted} as output {index}, got {got}");
            return Err(mlx::Error::op("shard_output", message).into());
        }
        let cuts = self
            .axes
            .iter()
            .map(|axis| (axis.outputs[index], &axis.layouts.1[index]));
        self.part_of(rank, output, cuts)
    }

    /// Returns a rank's part of an array that is split as these say, along each axis of the mesh.
    fn part_of<'a>(
        &self,
        rank: usize,
        array: &Array,
        cuts: impl Iterator<Item = (Sharding, &'a DimLayout)>,
    ) -> Result<Array> {
        let mut part = array.clone();
        let places = self.mesh.coordinates(rank);
        for ((axis, place), (sharding, layout)) in self.mesh.axes().iter().zip(places).zip(cuts) {
            let Sharded(dim) = sharding else { continue };
            let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            let (shape, axis_of) = (part.shape()?, number(dim));
            let mut pieces = Vec::new();
            for (first, n) in layout.runs(place, axis.size) {
                let mut start = vec![0; shape.len()];
                let mut stop = shape.clone();
                (start[dim], stop[dim]) = (number(first), number(first + n));
                let strides = vec![1; shape.len()];
                let op = Op::Slice {
                    start,
                    stop,
                    strides,
                };
                pieces.push(mlx::bind(op, &[&part]));
            }
            part = match &pieces[..] {
                [one] => one.contiguous(),
                _ => mlx::concatenate(&pieces, axis_of),
            };
        }
        Ok(part)
    }

    /// Returns how the split dimension of an output is cut along an axis of the mesh, by its number.
    pub fn output_layout(&self, output: usize, axis: usize) -> Option<&DimLayout> {
        self.axes.get(axis)?.layouts.1.get(output)
    }

    /// Returns how an input is split along each axis of the mesh.
    pub fn input_shardings(&self, input: usize) -> Vec<Sharding> {
        let of = |axis: &AxisShardings| axis.inputs.get(input).copied();
        self.axes.iter().filter_map(of).collect()
    }

    /// Returns how an output is split along each axis of the mesh.
    pub fn output_shardings(&self, output: usize) -> Vec<Sharding> {
        let of = |axis: &AxisShardings| axis.outputs.get(output).copied();
        self.axes.iter().filter_map(of).collect()
    }

    fn check_rank(&self, rank: usize) -> Result<()> {
        if rank < self.mesh.size() {
            return Ok(());
        }
        let size = self.mesh.size();
        Err(Error::Unsupported(format!(
            "shard: wanted one of {size} ranks, got {rank}"
        )))
    }
}

/// Returns the graph of the rank at a place along an axis of the mesh.
fn part(
    graph: &Graph,
    place: Place<'_>,
    shardings: &AxisShardings,
    refusals: &mut Vec<ShardingRefusal>,
) -> Result<Graph> {
    let shardings = (&shardings.inputs[..], &shardings.outputs[..]);
    partition(graph, place, shardings, Use::Computed, refusals)
}

/// Whether an axis is the last one of several ranks: there parts may differ in size. Along those before, all ranks must have
/// graphs of the same shapes, so that the next axis cuts them alike.
fn is_last(mesh: &Mesh, place: usize) -> bool {
    mesh.axes()[place + 1..].iter().all(|axis| axis.size == 1)
}

/// Whether a gradient or a product with tangents is taken in a graph. MLX makes it when the graph runs, and evaluates its communications in an
/// order that comes from its form, which may depend on sizes: there parts do not differ.
fn has_gradient(graph: &Graph) -> bool {
    graph.nodes.iter().any(|node| {
        let is_gradient = matches!(
            &node.operation,
            Operation::Transform {
                transform: Transform::ValueAndGrad { .. } | Transform::Vjp { .. } | Transform::Jvp,
                ..
            }
        );
        let inside = node.operation.graphs();
        is_gradient || inside.iter().any(|(_, graph)| has_gradient(graph))
    })
}

/// An axis of the mesh along which values are to be split.
struct Along<'a> {
    mesh: &'a Mesh,
    place: usize,
    graph: &'a Graph,
    dims: &'a Dimensions,
    report: &'a mut ShardingReport,
    /// The place among inputs or outputs of each value in the report.
    places: &'a mut Vec<usize>,
}

impl Along<'_> {
    /// Returns how values are split along the axis, as their names' specifications say.
    fn values(
        &mut self,
        values: &[Value],
        names: &[String],
        spec: &dyn Fn(&str) -> PartitionSpec,
        is_output: bool,
    ) -> Vec<Sharding> {
        let mut shardings = Vec::new();
        for (place, value) in values.iter().enumerate() {
            let array_type = self.graph.array_type(*value).clone();
            // Random keys have no name.
            shardings.push(match names.get(place) {
                Some(name) => self.value((name, *value), &array_type, &spec(name), is_output),
                None => Replicated,
            });
            let n = self.report.values.len();
            self.places.resize(n, place);
        }
        shardings
    }

    /// Returns how the split dimensions of values are cut.
    fn layouts(&self, values: &[Value], shardings: &[Sharding]) -> Vec<DimLayout> {
        let pairs = values.iter().zip(shardings);
        pairs
            .map(|(value, sharding)| match sharding {
                Sharded(dim) => self.dims.layout(self.graph, *value, *dim),
                _ => DimLayout::default(),
            })
            .collect()
    }

    fn value(
        &mut self,
        (name, value): (&str, Value),
        array_type: &ArrayType,
        spec: &PartitionSpec,
        is_output: bool,
    ) -> Sharding {
        let axis = &self.mesh.axes()[self.place];
        let Some(dim) = spec.dim_of(&axis.name).filter(|_| axis.size > 1) else {
            return Replicated;
        };
        let size = array_type
            .shape
            .get(dim)
            .and_then(|size| usize::try_from(*size).ok());
        let reason = match size {
            None => format!("{array_type} has no dimension {dim}"),
            Some(_) if self.dims.is_distributed(self.graph, value, dim) => {
                let layout = self.dims.layout(self.graph, value, dim);
                self.report.values.push(ShardedValue {
                    name: name.to_owned(),
                    is_output,
                    axis: axis.name.clone(),
                    dim,
                    array_type: array_type.clone(),
                    layout,
                    ranks: axis.size,
                    bytes_per_rank: 0,
                });
                return Sharded(dim);
            }
            Some(size) if self.dims.uneven => format!(
                "{} ranks are more than {size}, dimension {dim} of {array_type}",
                axis.size
            ),
            Some(size) => format!(
                "{} ranks do not divide {size}, dimension {dim} of {array_type}: parts differ only along the last axis, and not where gradients are taken",
                axis.size
            ),
        };
        self.report.refusals.push(ShardingRefusal {
            name: name.to_owned(),
            site: SourceLocation::default(),
            axis: axis.name.clone(),
            reason,
        });
        Replicated
    }
}
