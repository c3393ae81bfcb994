//! Modules of which each rank keeps a share of every parameter.

use mlx::distributed::{Group, all_gather, sum_scatter};
use mlx::{Array, Dtype, Error, Result, concatenate, custom_function};

use super::shard::{Segments, shard, to_i32};
use crate::module::{ParameterVisitor, Role, copy};
use crate::{Forward, Module};

/// A module of which each rank keeps a share of every parameter: `mlx.nn.FullyShardedModule`.
///
/// Whole parameters are gathered when the module computes, and their gradients are averaged over the ranks, each of which
/// gets its share: optimizers see shards only. Every parameter is cut along its first axis.
#[derive(Clone, Module)]
pub struct FullyShardedModule<M: Module> {
    /// The module with this rank's shards as parameters.
    #[module(flatten)]
    pub module: M,
    #[module(static)]
    group: Group,
    #[module(static)]
    compute_dtype: Option<Dtype>,
}

/// Returns the module of which each rank keeps a share: `mlx.nn.fully_shard`.
///
/// With a `compute_dtype`, whole parameters are cast to it before they are gathered.
///
/// # Errors
/// When a parameter is a scalar, or the ranks of the group do not divide its first axis.
#[track_caller]
pub fn fully_shard<M: Module>(
    module: &M,
    group: &Group,
    compute_dtype: Option<Dtype>,
) -> Result<FullyShardedModule<M>> {
    let mut module = copy(module);
    if group.size() > 1 {
        for part in sharded_parts(&mut module) {
            let refused =
                |why: String| Error::op("fully_shard", format!("parameter {:?}: {why}", part.name));
            if part.array.ndim()? == 0 {
                return Err(refused("wanted an axis to cut, got a scalar".to_owned()));
            }
            *part.array = shard(part.array, 0, &Segments::default(), group)
                .map_err(|error| refused(error.to_string()))?;
        }
    }
    Ok(FullyShardedModule {
        module,
        group: group.clone(),
        compute_dtype,
    })
}

/// The parameters, without buffers, which every rank has.
fn sharded_parts<M: Module>(module: &mut M) -> Vec<crate::module::Part<'_>> {
    let parts = ParameterVisitor::of(module).parts.into_iter();
    parts.filter(|part| part.role != Role::Buffer).collect()
}

impl<M: Module> FullyShardedModule<M> {
    /// Returns the module with whole parameters. Its gradient is that of the shards.
    ///
    /// What it saves, any number of ranks can load and shard again.
    ///
    /// # Errors
    /// When a parameter carries an error.
    #[track_caller]
    pub fn gathered(&self) -> Result<M> {
        let mut whole = copy(&self.module);
        if self.group.size() == 1 {
            return Ok(whole);
        }
        let mut parts = sharded_parts(&mut whole);
        // One dtype is gathered at a time: joining would convert others.
        let mut dtypes: Vec<Dtype> = Vec::new();
        for part in &parts {
            let dtype = part.array.dtype()?;
            if !dtypes.contains(&dtype) {
                dtypes.push(dtype);
            }
        }
        for dtype in dtypes {
            let mut of_dtype: Vec<&mut Array> = Vec::new();
            for part in &mut parts {
                if part.array.dtype()? == dtype {
                    of_dtype.push(&mut *part.array);
                }
            }
            let shards: Vec<Array> = of_dtype.iter().map(|array| (**array).clone()).collect();
            let cast = self
                .compute_dtype
                .filter(|to| *to != dtype && dtype.is_floating());
            for (place, array) in of_dtype
                .into_iter()
                .zip(gather(&shards, &self.group, cast)?)
            {
                *place = array;
            }
        }
        Ok(whole)
    }
}

impl<M: Module + Forward> Forward for FullyShardedModule<M> {
    #[track_caller]
    fn forward(&self, input: &Array) -> Array {
        match self.gathered() {
            Ok(module) => module.forward(input),
            Err(error) => Array::failed(error),
        }
    }
}

/// Gathers shards of one dtype by one communication, and scatters their gradients by another.
#[track_caller]
fn gather(shards: &[Array], group: &Group, cast: Option<Dtype>) -> Result<Vec<Array>> {
    let ranks = to_i32(group.size());
    let mut shapes = Vec::with_capacity(shards.len());
    let mut ends = Vec::with_capacity(shards.len());
    let mut end = 0;
    for shard in shards {
        shapes.push(shard.shape()?);
        end += to_i32(shard.size()?);
        ends.push(end);
    }
    ends.pop();
    let dtype = shards[0].dtype()?;
    let (group, back) = (group.clone(), group.clone());
    let (whole_shapes, back_ends, back_shapes) = (shapes.clone(), ends.clone(), shapes);
    let gathered = custom_function(move |shards: &Vec<Array>| -> Result<Vec<Array>> {
        let rows: Vec<Array> = shards.iter().map(|shard| shard.reshape([1, -1])).collect();
        let row = concatenate(&rows, 1);
        let row = cast.map_or_else(|| row.clone(), |dtype| row.astype(dtype));
        let all = split(&all_gather(&row, &group), &ends, 1)?;
        let whole = all.iter().zip(&whole_shapes).map(|(part, shape)| {
            let mut shape = shape.clone();
            shape[0] *= ranks;
            part.reshape(shape)
        });
        Ok(whole.collect())
    })
    .vjp(
        move |_: &Vec<Array>, cotangents: &Vec<Array>, _: &Vec<Array>| -> Result<Vec<Array>> {
            let rows: Vec<Array> = cotangents.iter().map(|c| c.reshape([ranks, -1])).collect();
            #[allow(clippy::cast_precision_loss)]
            let mean = sum_scatter(&concatenate(&rows, 1), &back) / ranks as f32;
            let parts = split(&mean, &back_ends, 1)?;
            let shards = parts.iter().zip(&back_shapes);
            Ok(shards
                .map(|(part, shape)| part.reshape(shape.clone()).astype(dtype))
                .collect())
        },
    );
    gathered(&shards.to_vec())
}

fn split(all: &Array, ends: &[i32], axis: i32) -> Result<Vec<Array>> {
    match ends.is_empty() {
        true => Ok(vec![all.clone()]),
        false => all.split_at(ends.to_vec(), axis),
    }
}
