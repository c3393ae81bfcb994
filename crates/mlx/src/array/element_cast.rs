//! Elements as another Rust type than their own: where every value stays what it is.

use std::any::Any;

use half::{bf16, f16};

use crate::dtype::{Complex64, FromElement, Number};
use crate::error::WithOp;
use crate::ffi::{Handle, data};
use crate::{Dtype, Element, Error, Result};

/// Returns the elements of an evaluated, row-contiguous array as `T`.
#[track_caller]
pub(super) fn elements<T: FromElement>(op: &'static str, handle: &Handle) -> Result<Vec<T>> {
    match handle.dtype() {
        Dtype::Bool => read::<bool, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Uint8 => read::<u8, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Uint16 => read::<u16, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Uint32 => read::<u32, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Uint64 => read::<u64, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Int8 => read::<i8, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Int16 => read::<i16, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Int32 => read::<i32, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Int64 => read::<i64, T>(op, handle, |x| Number::Integer(x.into())),
        Dtype::Float16 => read::<f16, T>(op, handle, |x| Number::Half(x.into())),
        Dtype::Float32 => read::<f32, T>(op, handle, Number::Single),
        Dtype::Float64 => read::<f64, T>(op, handle, Number::Double),
        Dtype::Bfloat16 => read::<bf16, T>(op, handle, |x| Number::Half(x.into())),
        Dtype::Complex64 => read::<Complex64, T>(op, handle, |_| Number::Complex),
    }
}

#[track_caller]
fn read<E: Element, T: FromElement>(
    op: &'static str,
    handle: &Handle,
    number: fn(E) -> Number,
) -> Result<Vec<T>> {
    let own = data::as_slice::<E>(handle).with_op(op)?;
    let boxed: Box<dyn Any> = Box::new(own.to_vec());
    if let Ok(same) = boxed.downcast::<Vec<T>>() {
        return Ok(*same);
    }
    let (wanted, got) = (T::WANTED, E::DTYPE);
    let mut read = Vec::with_capacity(own.len());
    for &element in own {
        match (T::from_number(number(element)), number(element)) {
            (Some(value), _) => read.push(value),
            (None, Number::Integer(value)) if wanted != Dtype::Bool => {
                let text = format!(
                    "wanted numbers that {wanted} holds exactly, got {value} of {got}; convert with astype first"
                );
                return Err(Error::op(op, text));
            }
            (None, _) => return Err(Error::Dtype { op, wanted, got }),
        }
    }
    match own {
        // Nothing to read, so the types alone decide, as they do with elements.
        [] if T::from_number(number(E::default())).is_none() => {
            Err(Error::Dtype { op, wanted, got })
        }
        _ => Ok(read),
    }
}
