//! From a dtype to the storage type that a kernel is generic over.

/// Calls a function that is generic over the storage type with the type of a dtype.
macro_rules! by_dtype {
    ($dtype:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $dtype {
            $crate::Dtype::Float32 => $function::<f32>($($argument),*),
            $crate::Dtype::Float16 => $function::<half::f16>($($argument),*),
            $crate::Dtype::Bfloat16 => $function::<half::bf16>($($argument),*),
            other => Err(format!("no kernel stores {other}")),
        }
    };
}
pub(super) use by_dtype;

/// What both crates store.
pub(super) trait Stored: crate::Element + mlx_kernels::Element + Into<f32> {
    /// The nearest number of this type.
    fn nearest(number: f32) -> Self;
}

impl Stored for f32 {
    fn nearest(number: f32) -> Self {
        number
    }
}

impl Stored for half::f16 {
    fn nearest(number: f32) -> Self {
        Self::from_f32(number)
    }
}

impl Stored for half::bf16 {
    fn nearest(number: f32) -> Self {
        Self::from_f32(number)
    }
}
