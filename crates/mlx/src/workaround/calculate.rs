//! Small formulas over handles: what replacements of MLX's operations are written with.

use crate::ffi::table::one;
use crate::ffi::{Handle, NativeError, data, stream};
use crate::op::Op;
use crate::{Dtype, Element};

type Result = std::result::Result<Handle, NativeError>;

/// Calls operations on one stream.
#[derive(Clone, Copy)]
pub(super) struct Calculator {
    stream: mlx_sys::mlx_stream,
}

impl Calculator {
    pub(super) fn on(stream: mlx_sys::mlx_stream) -> Self {
        Self { stream }
    }

    pub(super) fn raw(self) -> mlx_sys::mlx_stream {
        self.stream
    }

    /// The widest floating dtype that the stream's device has.
    pub(super) fn widest(self) -> Dtype {
        if stream::is_gpu(self.stream) {
            Dtype::Float32
        } else {
            Dtype::Float64
        }
    }

    pub(super) fn apply(self, op: &Op, inputs: &[&Handle]) -> Result {
        one(op, inputs, self.stream)
    }

    pub(super) fn unary(self, op: Op, x: &Handle) -> Result {
        one(&op, &[x], self.stream)
    }

    pub(super) fn binary(self, op: Op, a: &Handle, b: &Handle) -> Result {
        one(&op, &[a, b], self.stream)
    }

    pub(super) fn astype(self, x: &Handle, dtype: Dtype) -> Result {
        one(&Op::Astype { dtype }, &[x], self.stream)
    }

    /// A scalar of a dtype.
    pub(super) fn number<T: Element>(self, value: T, dtype: Dtype) -> Result {
        self.astype(&data::from_slice(&[value], &[])?, dtype)
    }

    /// A scalar of the widest floating dtype of the device.
    pub(super) fn wide(self, value: f64) -> Result {
        match self.widest() {
            Dtype::Float64 => self.number(value, Dtype::Float64),
            // A GPU takes no double, not even to round it.
            #[allow(clippy::cast_possible_truncation)]
            dtype => self.number(value as f32, dtype),
        }
    }

    pub(super) fn choose(self, condition: &Handle, yes: &Handle, no: &Handle) -> Result {
        one(&Op::Where, &[condition, yes, no], self.stream)
    }

    /// `a + b`.
    pub(super) fn add(self, a: &Handle, b: &Handle) -> Result {
        self.binary(Op::Add, a, b)
    }

    /// `a - b`.
    pub(super) fn subtract(self, a: &Handle, b: &Handle) -> Result {
        self.binary(Op::Subtract, a, b)
    }

    /// `a * b`.
    pub(super) fn multiply(self, a: &Handle, b: &Handle) -> Result {
        self.binary(Op::Multiply, a, b)
    }

    /// `a / b`.
    pub(super) fn divide(self, a: &Handle, b: &Handle) -> Result {
        self.binary(Op::Divide, a, b)
    }
}

/// Elements of arrays larger than this are not looked at.
const FEW: usize = 64;

/// Returns the elements of a small array that has been evaluated.
pub(super) fn known(x: &Handle) -> Option<Vec<f64>> {
    fn read<T: Element>(x: &Handle, wide: fn(T) -> f64) -> Option<Vec<f64>> {
        let all = data::as_slice::<T>(x).ok()?;
        Some(all.iter().map(|&element| wide(element)).collect())
    }
    if x.size() > FEW {
        return None;
    }
    #[allow(clippy::cast_precision_loss)]
    match x.dtype() {
        Dtype::Int8 => read::<i8>(x, f64::from),
        Dtype::Int16 => read::<i16>(x, f64::from),
        Dtype::Int32 => read::<i32>(x, f64::from),
        Dtype::Int64 => read::<i64>(x, |x| x as f64),
        Dtype::Uint8 => read::<u8>(x, f64::from),
        Dtype::Uint16 => read::<u16>(x, f64::from),
        Dtype::Uint32 => read::<u32>(x, f64::from),
        Dtype::Uint64 => read::<u64>(x, |x| x as f64),
        Dtype::Float16 => read::<half::f16>(x, f64::from),
        Dtype::Bfloat16 => read::<half::bf16>(x, f64::from),
        Dtype::Float32 => read::<f32>(x, f64::from),
        Dtype::Float64 => read::<f64>(x, |x| x),
        _ => None,
    }
}
