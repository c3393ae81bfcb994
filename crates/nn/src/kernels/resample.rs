//! Interpolation along axes as one kernel. It is linear: its gradient is the same with the terms of the elements of the
//! input.

use std::sync::Arc;

use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Result, custom_vjp, vjp, zeros};
use mlx_kernels::ResampleAxis;

use super::{input, is_on_cpu, is_traced, output, sizes};

/// What each place of an axis is the weighted sum of.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The size of the input.
    pub(crate) input: usize,
    /// The terms of a place are those from its number to the next.
    pub(crate) starts: Vec<usize>,
    /// The element of each term, and its weight.
    pub(crate) indices: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

impl Terms {
    fn output(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the terms of each element of the input: the places that it is in.
    fn transposed(&self) -> Self {
        let mut terms = vec![Vec::new(); self.input];
        for place in 0..self.output() {
            for term in self.starts[place]..self.starts[place + 1] {
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                terms[self.indices[term] as usize].push((place, self.weights[term]));
            }
        }
        let mut starts = vec![0];
        for terms in &terms {
            starts.push(starts[starts.len() - 1] + terms.len());
        }
        let (indices, weights) = terms.into_iter().flatten().unzip();
        Self {
            input: self.output(),
            starts,
            indices,
            weights,
        }
    }
}

/// Returns weighted sums along the axes of space of `[batch, space.., channels]`, in `float32`, by a kernel; `None` where
/// there is none. `composed` computes the same in MLX's operations.
#[track_caller]
pub(crate) fn resample(
    terms: Vec<Terms>,
    x: &Array,
    composed: impl Fn(&Array) -> Array + Send + Sync + 'static,
) -> Option<Array> {
    let is_read = |dtype| {
        !matches!(
            dtype,
            Dtype::Float64 | Dtype::Complex64 | Dtype::Int64 | Dtype::Uint64
        )
    };
    if is_traced(&[x]) || !is_on_cpu() || terms.len() > 3 || !x.dtype().is_ok_and(is_read) {
        return None;
    }
    let x = x.astype(Dtype::Float32);
    let interpolation = Interpolation {
        terms: terms.into(),
        composed: Arc::new(composed),
    };
    Some(interpolation.forward().ok()?.apply_one(&[&x]))
}

#[derive(Clone)]
struct Interpolation {
    terms: Arc<[Terms]>,
    composed: Arc<dyn Fn(&Array) -> Array + Send + Sync>,
}

impl Interpolation {
    fn forward(&self) -> Result<HostKernel> {
        let this = self.clone();
        let composed = move |inputs: &[Array]| {
            let (of, rule) = (this.clone(), this.clone());
            let function = custom_vjp(
                move |x: &Array| (of.composed)(x),
                move |_: &Array, cotangent: &Array, _: &Array| {
                    Result::Ok(rule.gradient()?.apply_one(&[cotangent]))
                },
            );
            vec![Array::from_result(function.call(&inputs[0]))]
        };
        Ok(kernel("upsample", Arc::clone(&self.terms))?.composed(composed))
    }

    fn gradient(&self) -> Result<HostKernel> {
        let this = self.clone();
        let composed = move |inputs: &[Array]| vec![Array::from_result(this.pulled(&inputs[0]))];
        let transposed = self.terms.iter().map(Terms::transposed).collect();
        Ok(kernel("upsample gradient", transposed)?.composed(composed))
    }

    /// Returns the gradient in MLX's operations, which is the same whatever the input is.
    #[track_caller]
    fn pulled(&self, cotangent: &Array) -> Result<Array> {
        let mut shape = cotangent.shape()?;
        for (size, terms) in shape[1..].iter_mut().zip(self.terms.iter()) {
            *size = i32::try_from(terms.input).unwrap_or(i32::MAX);
        }
        let (_, gradient) = vjp(|x: &Array| (self.composed)(x), &zeros(shape), cotangent)?;
        Ok(gradient)
    }
}

fn kernel(name: &str, terms: Arc<[Terms]>) -> Result<HostKernel> {
    let types = Arc::clone(&terms);
    host_kernel(
        name,
        move |inputs| Ok(vec![output_type(inputs, &types)?]),
        move |inputs, outputs| run(&terms, input(inputs, 0)?, output(outputs)?),
    )
}

fn output_type(inputs: &[ArrayType], terms: &[Terms]) -> std::result::Result<ArrayType, String> {
    let fits = |x: &&ArrayType| {
        let axes = sizes(&x.shape);
        axes.len() == terms.len() + 2
            && axes[1..]
                .iter()
                .zip(terms)
                .all(|(&axis, terms)| axis == terms.input)
    };
    let Some(x) = inputs.first().filter(fits) else {
        let wanted: Vec<usize> = terms.iter().map(|terms| terms.input).collect();
        return Err(format!("wanted axes of space {wanted:?}, got {inputs:?}"));
    };
    let mut output = x.clone();
    for (axis, terms) in output.shape[1..].iter_mut().zip(terms) {
        let size = i32::try_from(terms.output());
        *axis = size.map_err(|_| "an axis is too long".to_owned())?;
    }
    Ok(output)
}

fn run(
    terms: &[Terms],
    x: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> std::result::Result<(), String> {
    let axes: Vec<ResampleAxis<'_>> = terms
        .iter()
        .map(|terms| ResampleAxis {
            input: terms.input,
            starts: &terms.starts,
            indices: &terms.indices,
            weights: &terms.weights,
        })
        .collect();
    let shape = sizes(x.shape());
    let (batch, channels) = (shape[0], shape[shape.len() - 1]);
    mlx_kernels::resample(batch, &axes, channels, x.as_slice()?, out.as_mut_slice()?)
        .map_err(|error| error.to_string())
}
