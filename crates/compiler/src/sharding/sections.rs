//! Ways by section: a dimension in sections is taken apart or put together, each rank with its part of each section.

use mlx::Op;

use super::intervals::{Interval, intervals};
use super::partition::Partitioner;
use super::strategy::{Sharded, Strategy};
use crate::graph::{Node, Value};

impl Partitioner<'_> {
    /// Returns the ways of an operation that takes sections apart, or joins them.
    pub(super) fn by_section(&self, node: &Node, op: &Op) -> Option<Strategy> {
        // What ranks of another axis take may be a section on one of them only.
        if node.site.of_rank && matches!(op, Op::Slice { .. }) {
            return None;
        }
        let ((whole, dim), parts) = intervals(self.from, node, op)?;
        let (dims, rank) = (self.place.dims, self.place.rank);
        let local = |part: &Interval| dims.local_interval(self.from, (whole, dim), *part, rank);
        let local: Vec<(usize, usize)> = parts.iter().map(local).collect::<Option<_>>()?;
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let of = |values: &[Value]| vec![Sharded(dim); values.len()];
        let way = Strategy {
            outputs: of(&node.outputs),
            ..Strategy::new(of(&node.inputs), Sharded(dim))
        };
        if let Op::Reshape { .. } | Op::Unflatten { .. } = op {
            let to = parts.first()?.1.1;
            let site = self.site(node, op);
            let shape = site.with_output_part(site.out(), to);
            let way = Strategy::new(vec![Sharded(dim)], Sharded(to));
            return Some(way.with_op(Op::Reshape { shape }));
        }
        Some(match op {
            Op::Slice {
                start,
                stop,
                strides,
            } => {
                let (mut start, mut stop) = (start.clone(), stop.clone());
                start[dim] = number(local[0].0);
                stop[dim] = number(local[0].0 + local[0].1);
                way.with_op(Op::Slice {
                    start,
                    stop,
                    strides: strides.clone(),
                })
            }
            Op::Split { axis, .. } | Op::SplitSections { axis, .. } => {
                let indices = local.iter().skip(1).map(|(first, _)| number(*first));
                way.with_op(Op::SplitSections {
                    indices: indices.collect(),
                    axis: *axis,
                })
            }
            _ => way,
        })
    }
}
