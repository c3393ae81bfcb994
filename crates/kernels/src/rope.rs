//! Rotary position embeddings (RoPE): pairs of elements are rotated by an angle that is proportional to the position.
//!
//! Blocking: a task has about 64 KiB of rows. Limit: memory bandwidth, once the table of cosines and sines is made;
//! a [`RotaryTable`] serves all heads, layers, queries and keys of a step.

use std::f64::consts::TAU;

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::elementwise::{UnaryOp, unary};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Rotated elements of a row, at most: no model has more, and the table would not fit in memory.
const MAX_DIMS: usize = 1 << 20;

/// The shape of what is rotated: `[outer, positions, dim]`, where `outer` is the batch times the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeShape {
    /// Everything before the positions.
    pub outer: usize,
    /// The number of positions.
    pub positions: usize,
    /// The length of a row; elements after the rotated ones are copied.
    pub dim: usize,
}

/// The angle of each pair at each position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// How many elements of a row are rotated; even.
    pub dims: usize,
    /// Pairs are adjacent, `(2 i, 2 i + 1)`, if true, and `(i, i + dims / 2)` if not.
    pub traditional: bool,
    /// Pair `i` rotates by `base^(-2 i / dims)` per position.
    pub base: f32,
    /// The factor of positions.
    pub scale: f32,
    /// The position of the first row.
    pub offset: i64,
}

impl Default for Rope {
    fn default() -> Self {
        Self {
            dims: 0,
            traditional: false,
            base: 10_000.0,
            scale: 1.0,
            offset: 0,
        }
    }
}

/// The cosines and sines of consecutive positions, computed once and used for many arrays.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    dims: usize,
    traditional: bool,
    positions: usize,
    /// `[positions, dims / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// Makes the table for `positions` positions.
    ///
    /// Angles are computed and reduced in `f64`, so late positions are as exact as early ones: 2 ulp of 1.
    ///
    /// # Errors
    /// When `dims` is odd or above a million, or the table does not fit in memory.
    pub fn new(rope: Rope, positions: usize) -> Result<Self> {
        if rope.dims > MAX_DIMS {
            let wanted = "at most a million";
            return Err(Error::Parameter {
                op: "rope",
                what: "dims",
                wanted,
                got: rope.dims,
            });
        }
        let step =
            |pair: usize| f64::from(rope.base).powf(-((2 * pair) as f64) / rope.dims.max(1) as f64);
        let steps: Vec<f64> = (0..rope.dims / 2).map(step).collect();
        Self::with_steps(rope, positions, &steps)
    }

    /// Makes the table for pairs that rotate by `1 / frequencies[i]` per position, as MLX defines `freqs`.
    ///
    /// # Errors
    /// When `dims` is odd, or there are not `dims / 2` frequencies.
    pub fn with_frequencies(rope: Rope, positions: usize, frequencies: &[f32]) -> Result<Self> {
        length("rope", "frequencies", rope.dims / 2, frequencies.len())?;
        let steps: Vec<f64> = frequencies.iter().map(|f| 1.0 / f64::from(*f)).collect();
        Self::with_steps(rope, positions, &steps)
    }

    fn with_steps(rope: Rope, positions: usize, steps: &[f64]) -> Result<Self> {
        if !rope.dims.is_multiple_of(2) {
            return Err(Error::Parameter {
                op: "rope",
                what: "dims",
                wanted: "even",
                got: rope.dims,
            });
        }
        let size = product("rope", &[positions, steps.len(), size_of::<f64>()])? / size_of::<f64>();
        let mut angles = vec![0.0; size];
        if size > 0 {
            for (position, angles) in angles.chunks_exact_mut(steps.len()).enumerate() {
                let position = (rope.offset as f64 + position as f64) * f64::from(rope.scale);
                simd::dispatch(Angles {
                    position,
                    steps,
                    angles,
                });
            }
        }
        let (mut cos, mut sin) = (vec![0.0; size], vec![0.0; size]);
        unary(UnaryOp::Cos, &angles, &mut cos)?;
        unary(UnaryOp::Sin, &angles, &mut sin)?;
        Ok(Self {
            dims: rope.dims,
            traditional: rope.traditional,
            positions,
            cos,
            sin,
        })
    }

    /// Rotates the pairs of each row of `x` by its position and writes them to `out`.
    ///
    /// With `a` the angle of a pair `(u, v)`: `(u cos(a) - v sin(a), u sin(a) + v cos(a))`, where
    /// `a = (offset + position) * scale * base^(-2 i / dims)`.
    ///
    /// Error: `2^-22` times the length of the pair.
    ///
    /// # Errors
    /// When a length does not match the shape, rows are shorter than the rotated elements, or the table has other positions.
    pub fn apply<T: Element>(&self, shape: RopeShape, x: &[T], out: &mut [T]) -> Result<()> {
        (T::kernels().rope)(self, shape, x, out)
    }

    /// Rotates consecutive rows, the first at position `first` of the table.
    fn rows(&self, first: usize, dim: usize, x: &[f32], out: &mut [f32]) {
        simd::dispatch(Rotate {
            table: self,
            first,
            dim,
            x,
            out,
        });
    }
}

/// [`RotaryTable::apply`], compiled in this crate.
pub(crate) fn rope_instance<T: Element>(
    table: &RotaryTable,
    shape: RopeShape,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let elements = check(table.dims, shape, x.len(), out.len())?;
    length(
        "rope",
        "table of positions",
        shape.positions,
        table.positions,
    )?;
    if elements == 0 {
        return Ok(());
    }
    let rows = (16 * 1024 / shape.dim).max(1);
    let task = rows * shape.dim;
    parallel_for(
        x.chunks(task).zip(out.chunks_mut(task)).enumerate(),
        0.4 * elements as f64,
        || (vec![0.0; shape.dim], vec![0.0; shape.dim]),
        |(x_f32, result), (task, (x, out))| {
            let first = task * rows % shape.positions;
            if let Some((x, out)) = T::as_f32(x, out) {
                return table.rows(first, shape.dim, x, out);
            }
            let pairs = x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim));
            for (row, (x, out)) in pairs.enumerate() {
                let x = T::read(x, x_f32);
                T::write(out, result, |out| {
                    table.rows(first + row, shape.dim, x, out)
                });
            }
        },
    );
    Ok(())
}

/// The number of elements, if lengths and dims match the shape.
fn check(dims: usize, shape: RopeShape, x: usize, out: usize) -> Result<usize> {
    let elements = product("rope", &[shape.outer, shape.positions, shape.dim])?;
    length("rope", "x", elements, x)?;
    length("rope", "out", elements, out)?;
    if shape.dim < dims {
        let wanted = "at least the turned dims";
        return Err(Error::Parameter {
            op: "rope",
            what: "dim",
            wanted,
            got: shape.dim,
        });
    }
    Ok(elements)
}

struct Angles<'a> {
    position: f64,
    steps: &'a [f64],
    angles: &'a mut [f32],
}

impl WithSimd for Angles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (angle, step) in self.angles.iter_mut().zip(self.steps) {
            let exact = self.position * step;
            *angle = (exact - (exact * (1.0 / TAU)).round_ties_even() * TAU) as f32;
        }
    }
}

struct Rotate<'a> {
    table: &'a RotaryTable,
    first: usize,
    dim: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            table,
            first,
            dim,
            x,
            out,
        } = self;
        let half = table.dims / 2;
        let rows = x.chunks_exact(dim).zip(out.chunks_exact_mut(dim));
        for (row, (x, out)) in rows.enumerate() {
            let at = (first + row) % table.positions * half;
            let cos = &table.cos[at..at + half];
            let sin = &table.sin[at..at + half];
            let (x, x_rest) = x.split_at(table.dims);
            let (out, out_rest) = out.split_at_mut(table.dims);
            out_rest.copy_from_slice(x_rest);
            if table.traditional {
                let pairs = x.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<2>().0);
                for (([u, v], out), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    *out = [u * cos - v * sin, u * sin + v * cos];
                }
            } else {
                let (u, v) = x.split_at(half);
                let (out_u, out_v) = out.split_at_mut(half);
                rotate_halves(simd, [u, v, cos, sin], out_u, out_v);
            }
        }
    }
}

/// Rotates the pairs of one element of each half; all slices have the same length.
#[inline(always)]
fn rotate_halves<S: Simd>(simd: S, inputs: [&[f32]; 4], out_u: &mut [f32], out_v: &mut [f32]) {
    let rotate = |[u, v, cos, sin]: [S::f32s; 4]| {
        let [u, v, cos, sin] = [u, v, cos, sin].map(|value| Lanes::new(simd, value));
        (
            u.mul_add(cos, -(v * sin)).value,
            u.mul_add(sin, v * cos).value,
        )
    };
    let [(u, u_tail), (v, v_tail), (cos, cos_tail), (sin, sin_tail)] =
        inputs.map(|values| S::as_simd_f32s(values));
    let (out_u, out_u_tail) = S::as_mut_simd_f32s(out_u);
    let (out_v, out_v_tail) = S::as_mut_simd_f32s(out_v);
    let pairs = u.iter().zip(v).zip(cos.iter().zip(sin));
    for ((out_u, out_v), ((u, v), (cos, sin))) in out_u.iter_mut().zip(out_v).zip(pairs) {
        (*out_u, *out_v) = rotate([*u, *v, *cos, *sin]);
    }
    if !u_tail.is_empty() {
        let load = |values| simd.partial_load_f32s(values);
        let (u, v) = rotate([load(u_tail), load(v_tail), load(cos_tail), load(sin_tail)]);
        simd.partial_store_f32s(out_u_tail, u);
        simd.partial_store_f32s(out_v_tail, v);
    }
}
