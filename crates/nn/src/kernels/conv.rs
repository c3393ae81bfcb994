//! Convolutions with a bias as one kernel, and the gradient by weights as another.

use mlx::compiler_api::type_of;
use mlx::cpu::deferred;
use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{
    Array, ArrayType, ConvOptions, ConvTransposeOptions, Dtype, Result, Shape, custom_vjp, vjp,
};
use mlx_kernels::{Conv, ConvAxis};

use super::{input, is_on_cpu, is_stored, is_traced, is_transformed, output, sizes};
use crate::batch_norm::scaled;

/// The settings of a convolution, one number for each axis of space.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub(crate) stride: Vec<i32>,
    pub(crate) padding: Vec<i32>,
    pub(crate) dilation: Vec<i32>,
    /// Of a transposed convolution, what is added at the end of each axis.
    pub(crate) transposed: Option<Vec<i32>>,
    pub(crate) groups: i32,
}

impl Convolution {
    /// Returns settings over `n_axes` axes; each is one number, or one for each of them.
    pub(crate) fn new(
        n_axes: usize,
        [stride, padding, dilation]: [&Shape; 3],
        transposed: Option<&Shape>,
        groups: i32,
    ) -> Self {
        let each = |setting: &Shape| match setting.numbers() {
            &[one] => vec![one; n_axes],
            all => all.to_vec(),
        };
        Self {
            stride: each(stride),
            padding: each(padding),
            dilation: each(dilation),
            transposed: transposed.map(each),
            groups,
        }
    }

    /// Returns the options of MLX's convolution.
    pub(crate) fn options(&self) -> ConvOptions {
        ConvOptions {
            stride: Shape::from(&self.stride),
            padding: Shape::from(&self.padding),
            dilation: Shape::from(&self.dilation),
            groups: self.groups,
        }
    }

    /// Returns the options of MLX's transposed convolution.
    pub(crate) fn transposed_options(&self) -> ConvTransposeOptions {
        let output_padding = self.transposed.clone().unwrap_or_else(|| vec![0]);
        ConvTransposeOptions {
            stride: Shape::from(&self.stride),
            padding: Shape::from(&self.padding),
            dilation: Shape::from(&self.dilation),
            output_padding: Shape::from(output_padding),
            groups: self.groups,
        }
    }

    /// Returns the convolution with its bias: by a kernel, or in MLX's operations.
    #[track_caller]
    pub(crate) fn forward(
        self,
        (x, weight, bias): (&Array, &Array, Option<&Array>),
        composed: Composed,
    ) -> Array {
        match conv(self.clone(), (x, weight, bias), composed) {
            Some(y) => y,
            None => scaled(composed(&self, x, weight), None, bias),
        }
    }
}

/// The convolution without bias in MLX's operations.
pub(crate) type Composed = fn(&Convolution, &Array, &Array) -> Array;

/// Returns a convolution over two or three axes by kernels: with its bias, or where gradients may be taken. `None` where
/// MLX's operations are as fast, or something does not fit.
#[track_caller]
fn conv(
    settings: Convolution,
    (x, weight, bias): (&Array, &Array, Option<&Array>),
    composed: Composed,
) -> Option<Array> {
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    if !settings.may_run(&inputs) {
        return None;
    }
    if !is_traced(&inputs) {
        return settings.by_kernel(&inputs, composed);
    }
    let outputs = deferred("conv", &inputs, move |inputs| {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        let settings = settings.clone();
        Ok(vec![settings.forward((x, weight, bias), composed)])
    });
    outputs.ok()?.pop()
}

fn forward(settings: Convolution, composed: Composed) -> Result<HostKernel> {
    let (types, of) = (settings.clone(), settings.clone());
    let kernel = host_kernel(
        "conv",
        move |inputs| Ok(vec![types.output_type(inputs)?]),
        move |inputs, outputs| {
            let inputs = [input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?];
            let out = output(outputs)?;
            match inputs[0].dtype() {
                Dtype::Float32 => of.run::<f32>(inputs, out),
                Dtype::Float16 => of.run::<mlx::f16>(inputs, out),
                _ => of.run::<mlx::bf16>(inputs, out),
            }
        },
    )?;
    Ok(kernel.composed(move |inputs| vec![with_gradient(&settings, inputs, composed)]))
}

/// Returns the composed form, whose gradient by the weight is a kernel.
#[track_caller]
fn with_gradient(settings: &Convolution, inputs: &[Array], composed: Composed) -> Array {
    match inputs {
        [x, weight, bias] => differentiable(settings, (x, weight), composed) + bias,
        _ => mlx::zeros([0]),
    }
}

/// Returns the convolution without bias; its gradient by the weight is a kernel, but of a transposed one.
#[track_caller]
fn differentiable(
    settings: &Convolution,
    (x, weight): (&Array, &Array),
    composed: Composed,
) -> Array {
    if settings.transposed.is_some() {
        return composed(settings, x, weight);
    }
    let (of, rule) = (settings.clone(), settings.clone());
    let function = custom_vjp(
        move |x: &Array, weight: &Array| composed(&of, x, weight),
        move |(x, weight): &(Array, Array), cotangent: &Array, _: &Array| {
            let (_, by_x) = vjp(|x: &Array| composed(&rule, x, weight), x, cotangent)?;
            let kernel = weight_gradient(rule.clone(), weight.array_type()?, composed)?;
            Result::Ok((by_x, kernel.apply_one(&[x, cotangent])))
        },
    );
    Array::from_result(function.call((x, weight)))
}

fn weight_gradient(
    settings: Convolution,
    weight: ArrayType,
    composed: Composed,
) -> Result<HostKernel> {
    let (of, shape, types) = (settings.clone(), weight.shape.clone(), weight.clone());
    let kernel = host_kernel(
        "conv weight gradient",
        move |_| Ok(vec![types.clone()]),
        move |inputs, outputs| {
            let inputs = [input(inputs, 0)?, input(inputs, 1)?];
            let out = output(outputs)?;
            match inputs[0].dtype() {
                Dtype::Float32 => of.run_gradient::<f32>(inputs, &shape, out),
                Dtype::Float16 => of.run_gradient::<mlx::f16>(inputs, &shape, out),
                _ => of.run_gradient::<mlx::bf16>(inputs, &shape, out),
            }
        },
    )?;
    Ok(kernel.composed(move |inputs| {
        let any = mlx::zeros(weight.shape.clone()).astype(weight.dtype);
        let products = vjp(
            |weight: &Array| composed(&settings, &inputs[0], weight),
            &any,
            &inputs[1],
        );
        vec![Array::from_result(products.map(|(_, gradient)| gradient))]
    }))
}

impl Convolution {
    /// Whether kernels may run, and take inputs of these types and sizes.
    fn may_run(&self, inputs: &[&Array]) -> bool {
        let types: Option<Vec<ArrayType>> =
            inputs.iter().map(|input| type_of(input).ok()).collect();
        let Some(types) = types.filter(|_| is_on_cpu()) else {
            return false;
        };
        let dtype = types[0].dtype;
        let fits = match types.as_slice() {
            [x, weight] => self.axes(&x.shape, &weight.shape).is_some(),
            [x, weight, bias] => self.output(&x.shape, &weight.shape, &bias.shape).is_some(),
            _ => false,
        };
        is_stored(dtype)
            && types.iter().all(|one| one.dtype == dtype)
            && (4..=5).contains(&types[0].shape.len())
            && fits
    }

    /// Returns the convolution with its bias by a kernel, or the one without bias with a kernel for its gradient, if one may
    /// be taken.
    #[track_caller]
    fn by_kernel(self, inputs: &[&Array], composed: Composed) -> Option<Array> {
        match inputs {
            [_, _, _] => Some(forward(self, composed).ok()?.apply_one(inputs)),
            [x, weight] if is_transformed(inputs) => {
                Some(differentiable(&self, (x, weight), composed))
            }
            _ => None,
        }
    }

    /// Returns the axes of the convolution; `None` if sizes do not fit.
    fn axes(&self, x: &[i32], weight: &[i32]) -> Option<Vec<ConvAxis>> {
        let n_axes = x.len().checked_sub(2)?;
        let settings = [&self.stride, &self.padding, &self.dilation];
        let fits = settings.iter().all(|all| all.len() == n_axes)
            && weight.len() == x.len()
            && x.iter().chain(weight).all(|&size| size > 0)
            && self
                .stride
                .iter()
                .chain(&self.dilation)
                .all(|&step| step > 0)
            && self.groups > 0
            && weight[weight.len() - 1].checked_mul(self.groups) == x.last().copied()
            && weight[0] % self.groups == 0;
        if !fits {
            return None;
        }
        let axis = |at: usize| {
            let sizes = [
                x[at + 1],
                weight[at + 1],
                self.stride[at],
                self.padding[at],
                self.dilation[at],
            ];
            let [input, kernel, stride, padding, dilation] = sizes.map(i64::from);
            let reach = (kernel - 1) * dilation;
            let (before, output, input_dilation) = match &self.transposed {
                Some(extra) => {
                    let extra = i64::from(*extra.get(at)?);
                    let output = (input - 1) * stride + reach + 1 + extra - 2 * padding;
                    (reach - padding, output, stride)
                }
                None => (
                    padding,
                    (input + 2 * padding - reach - 1).div_euclid(stride) + 1,
                    1,
                ),
            };
            let size = |number: i64| usize::try_from(number).ok();
            Some(ConvAxis {
                input: size(input)?,
                kernel: size(kernel)?,
                output: size(output).filter(|&output| output > 0)?,
                stride: if self.transposed.is_some() {
                    1
                } else {
                    size(stride)?
                },
                padding: size(before)?,
                kernel_dilation: size(dilation)?,
                input_dilation: size(input_dilation)?,
            })
        };
        (0..n_axes).map(axis).collect()
    }

    /// Returns the shape of the output; `None` if sizes do not fit.
    fn output(&self, x: &[i32], weight: &[i32], bias: &[i32]) -> Option<Vec<i32>> {
        if bias != &weight[..1] {
            return None;
        }
        let mut shape = vec![x[0]];
        for axis in self.axes(x, weight)? {
            shape.push(i32::try_from(axis.output).ok()?);
        }
        shape.push(weight[0]);
        Some(shape)
    }

    fn output_type(&self, inputs: &[ArrayType]) -> std::result::Result<ArrayType, String> {
        let shape = match inputs {
            [x, weight, bias] => self.output(&x.shape, &weight.shape, &bias.shape),
            _ => None,
        };
        let shape = shape.ok_or_else(|| format!("sizes do not fit: {inputs:?}"))?;
        Ok(ArrayType {
            shape,
            dtype: inputs[0].dtype,
        })
    }

    fn run<T: mlx::Element + mlx_kernels::Element>(
        &self,
        [x, weight, bias]: [&HostInput<'_>; 3],
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let axes = self
            .axes(x.shape(), weight.shape())
            .ok_or("sizes do not fit")?;
        let conv = self.sizes(&axes, x.shape(), weight.shape());
        let (x, weight, bias) = (x.as_slice::<T>()?, weight.as_slice()?, bias.as_slice()?);
        mlx_kernels::conv_with_bias(conv, x, weight, bias, out.as_mut_slice()?)
            .map_err(|error| error.to_string())
    }

    fn run_gradient<T: mlx::Element + mlx_kernels::Element>(
        &self,
        [x, cotangent]: [&HostInput<'_>; 2],
        weight: &[i32],
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let axes = self.axes(x.shape(), weight).ok_or("sizes do not fit")?;
        let conv = self.sizes(&axes, x.shape(), weight);
        let (x, cotangent) = (x.as_slice::<T>()?, cotangent.as_slice()?);
        mlx_kernels::conv_weight_gradient(conv, x, cotangent, out.as_mut_slice()?)
            .map_err(|error| error.to_string())
    }

    fn sizes<'a>(&self, axes: &'a [ConvAxis], x: &[i32], weight: &[i32]) -> Conv<'a> {
        let numbers = sizes(&[x[0], x[x.len() - 1], weight[0], self.groups]);
        Conv {
            batch: numbers[0],
            axes,
            channels: numbers[1],
            outputs: numbers[2],
            groups: numbers[3],
            flip: self.transposed.is_some(),
        }
    }
}
