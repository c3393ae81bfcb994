//! The methods of [`Array`] as functions, for those who write `mlx::softmax(&x, -1)` as in Python.
//!
//! The first argument is an array or a reference to one, in element-wise functions a number too; the others are those of
//! the method.

use super::{
    CloseOptions, ConvOptions, ConvTransposeOptions, ConvolveMode, CumulativeOptions, PadWidth,
    Sections, TensordotAxes,
};
use crate::array::pair;
use crate::shape::VarianceOptions;
use crate::{Array, Axes, Dtype, Integer, Operand, Reduction, Result, Shape};

/// Functions of one array or number.
macro_rules! unary {
    ($($name:ident)*) => {$(
        #[doc = concat!("Returns what the method [`Array::", stringify!($name), "`] does.")]
        #[track_caller]
        pub fn $name(a: impl Into<Operand>) -> Array {
            a.into().alone().$name()
        }
    )*};
}

unary! {
    abs acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh bitwise_invert ceil conj conjugate
    cos cosh degrees erf erfinv exp expm1 floor imag isfinite isinf isnan isneginf isposinf log log10 log1p log2
    logical_not nan_to_num negative positive radians real reciprocal round rsqrt sigmoid sign sin sinh sqrt square
    stop_gradient tan tanh to_fp8 trunc
    atleast_1d atleast_2d atleast_3d contiguous diag diagonal diff matrix_transpose trace tril triu
}

/// Functions of two arrays or numbers; a number takes the other's dtype.
macro_rules! binary {
    ($($name:ident)*) => {$(
        #[doc = concat!("Returns what the method [`Array::", stringify!($name), "`] does.")]
        #[track_caller]
        pub fn $name(a: impl Into<Operand>, b: impl Into<Operand>) -> Array {
            let (a, b) = pair(a.into(), b.into());
            a.$name(b)
        }
    )*};
}

binary! {
    add allclose arctan2 array_equal atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    divide equal floor_divide greater greater_equal isclose left_shift less less_equal logaddexp logical_and logical_or
    logical_xor maximum minimum multiply not_equal pow power remainder right_shift subtract
}

/// Functions whose other arguments are those of the method, as it names them.
macro_rules! functions {
    ($($name:ident($($arg:ident: $t:ty),*) -> $output:ty;)*) => {$(
        #[doc = concat!("Returns what the method [`Array::", stringify!($name), "`] does.")]
        #[allow(clippy::missing_errors_doc)] // The method's.
        #[track_caller]
        pub fn $name(a: impl AsRef<Array>, $($arg: $t),*) -> $output {
            a.as_ref().$name($($arg),*)
        }
    )*};
}

functions! {
    all(axes: impl Into<Reduction>) -> Array;
    any(axes: impl Into<Reduction>) -> Array;
    argmax(axis: impl Into<Reduction>) -> Array;
    argmin(axis: impl Into<Reduction>) -> Array;
    argpartition(kth: impl Integer, axis: impl Into<Axes>) -> Array;
    argsort(axis: impl Into<Axes>) -> Array;
    as_strided(shape: impl Into<Shape>, strides: impl Into<Vec<i64>>, offset: usize) -> Array;
    astype(dtype: Dtype) -> Array;
    broadcast_to(shape: impl Into<Shape>) -> Array;
    conv1d(weight: &Array, options: impl Into<ConvOptions>) -> Array;
    conv2d(weight: &Array, options: impl Into<ConvOptions>) -> Array;
    conv3d(weight: &Array, options: impl Into<ConvOptions>) -> Array;
    conv_transpose1d(weight: &Array, options: impl Into<ConvTransposeOptions>) -> Array;
    conv_transpose2d(weight: &Array, options: impl Into<ConvTransposeOptions>) -> Array;
    conv_transpose3d(weight: &Array, options: impl Into<ConvTransposeOptions>) -> Array;
    convolve(v: impl AsRef<Array>) -> Array;
    convolve_with(v: impl AsRef<Array>, mode: ConvolveMode) -> Array;
    count_nonzero(axes: impl Into<Reduction>) -> Array;
    cummax(options: impl Into<CumulativeOptions>) -> Array;
    cummin(options: impl Into<CumulativeOptions>) -> Array;
    cumprod(options: impl Into<CumulativeOptions>) -> Array;
    cumsum(options: impl Into<CumulativeOptions>) -> Array;
    cumulative_prod(options: impl Into<CumulativeOptions>) -> Array;
    cumulative_sum(options: impl Into<CumulativeOptions>) -> Array;
    diag_with(k: impl Integer) -> Array;
    divmod(b: impl Into<Operand>) -> Result<(Array, Array)>;
    expand_dims(axes: impl Into<Shape>) -> Array;
    flatten(start_axis: impl Integer, end_axis: impl Integer) -> Array;
    flip(axes: impl Into<Axes>) -> Array;
    from_fp8(dtype: Dtype) -> Array;
    hadamard_transform(scale: impl Into<Option<f32>>) -> Array;
    inner(b: impl AsRef<Array>) -> Array;
    kron(b: impl AsRef<Array>) -> Array;
    logcumsumexp(options: impl Into<CumulativeOptions>) -> Array;
    logsumexp(axes: impl Into<Reduction>) -> Array;
    matmul(b: impl AsRef<Array>) -> Array;
    max(axes: impl Into<Reduction>) -> Array;
    mean(axes: impl Into<Reduction>) -> Array;
    median(axes: impl Into<Reduction>) -> Array;
    min(axes: impl Into<Reduction>) -> Array;
    minmax(axes: impl Into<Reduction>) -> (Array, Array);
    moveaxis(source: impl Integer, destination: impl Integer) -> Array;
    outer(b: impl AsRef<Array>) -> Array;
    pad(width: impl Into<PadWidth>) -> Array;
    partition(kth: impl Integer, axis: impl Into<Axes>) -> Array;
    permute_dims(axes: impl Into<Axes>) -> Array;
    prod(axes: impl Into<Reduction>) -> Array;
    repeat(repeats: impl Integer, axis: impl Into<Axes>) -> Array;
    reshape(shape: impl Into<Shape>) -> Array;
    roll(shift: impl Into<Shape>, axes: impl Into<Axes>) -> Array;
    round_with(decimals: i32) -> Array;
    searchsorted(values: impl Into<Operand>) -> Array;
    segmented_mm(b: &Array, segments: &Array) -> Array;
    softmax(axes: impl Into<Axes>) -> Array;
    sort(axis: impl Into<Axes>) -> Array;
    split(sections: impl Into<Sections>, axis: impl Integer) -> Result<Vec<Array>>;
    squeeze(axes: impl Into<Axes>) -> Array;
    std(axes: impl Into<VarianceOptions>) -> Array;
    sum(axes: impl Into<Reduction>) -> Array;
    swapaxes(axis1: impl Integer, axis2: impl Integer) -> Array;
    tensordot(b: impl AsRef<Array>, axes: impl Into<TensordotAxes>) -> Array;
    tile(reps: impl Into<Shape>) -> Array;
    topk(k: impl Integer) -> Array;
    topk_with(k: impl Integer, axis: impl Into<Axes>) -> Array;
    transpose(axes: impl Into<Axes>) -> Array;
    tril_with(k: impl Integer) -> Array;
    triu_with(k: impl Integer) -> Array;
    unflatten(axis: impl Integer, shape: impl Into<Shape>) -> Array;
    unstack(axis: impl Integer) -> Result<Vec<Array>>;
    var(axes: impl Into<VarianceOptions>) -> Array;
    vecdot(b: impl AsRef<Array>) -> Array;
    view(dtype: Dtype) -> Array;
}

/// Returns the elements limited to `min` and `max`, either of which may be `None::<f32>`: [`Array::clip`].
#[track_caller]
pub fn clip<A: Into<Operand>, B: Into<Operand>>(
    a: impl AsRef<Array>,
    min: impl Into<Option<A>>,
    max: impl Into<Option<B>>,
) -> Array {
    a.as_ref().clip(min, max)
}

/// Returns whether elements are equal within tolerances: [`Array::isclose_with`].
#[track_caller]
pub fn isclose_with(
    a: impl Into<Operand>,
    b: impl Into<Operand>,
    options: impl Into<CloseOptions>,
) -> Array {
    let (a, b) = pair(a.into(), b.into());
    a.isclose_with(b, options)
}

/// Returns whether all elements are equal within tolerances: [`Array::allclose_with`].
#[track_caller]
pub fn allclose_with(
    a: impl Into<Operand>,
    b: impl Into<Operand>,
    options: impl Into<CloseOptions>,
) -> Array {
    let (a, b) = pair(a.into(), b.into());
    a.allclose_with(b, options)
}
