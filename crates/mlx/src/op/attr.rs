//! What an operation can be told besides its inputs, and how that is printed and read back.

use std::ffi::{CStr, CString, c_char};
use std::fmt;

use mlx_sys as sys;

use crate::Dtype;

/// The value of one attribute, in the few forms that a printed graph has.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrValue {
    /// An optional attribute that is not set.
    None,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// Several whole numbers.
    Ints(Vec<i64>),
    /// A name or a format string.
    Text(String),
    /// An element type.
    Dtype(Dtype),
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::None => f.write_str("none"),
            AttrValue::Bool(value) => write!(f, "{value}"),
            AttrValue::Int(value) => write!(f, "{value}"),
            AttrValue::Float(value) => write!(f, "{value:?}"),
            AttrValue::Ints(values) => write!(f, "{values:?}"),
            AttrValue::Text(text) => write!(f, "{text:?}"),
            AttrValue::Dtype(dtype) => write!(f, "{dtype}"),
        }
    }
}

/// A type that an attribute can have.
pub trait OpAttr: Sized {
    /// Returns the value to print.
    fn to_value(&self) -> AttrValue;
    /// Returns the attribute that prints as `value`, if there is one.
    fn from_value(value: &AttrValue) -> Option<Self>;
}

impl OpAttr for bool {
    fn to_value(&self) -> AttrValue {
        AttrValue::Bool(*self)
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Bool(value) => Some(*value),
            // Printing leaves out what is not set.
            AttrValue::None => Some(false),
            _ => None,
        }
    }
}

impl OpAttr for i32 {
    fn to_value(&self) -> AttrValue {
        AttrValue::Int(i64::from(*self))
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Int(value) => (*value).try_into().ok(),
            _ => None,
        }
    }
}

impl OpAttr for usize {
    fn to_value(&self) -> AttrValue {
        AttrValue::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Int(value) => (*value).try_into().ok(),
            _ => None,
        }
    }
}

impl OpAttr for f64 {
    fn to_value(&self) -> AttrValue {
        AttrValue::Float(*self)
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Float(value) => Some(*value),
            #[allow(clippy::cast_precision_loss)]
            AttrValue::Int(value) => Some(*value as f64),
            _ => None,
        }
    }
}

impl OpAttr for f32 {
    fn to_value(&self) -> AttrValue {
        // The shortest decimal of the f32, so that 1e-5 does not print as 9.999999747378752e-6.
        AttrValue::Float(self.to_string().parse().unwrap_or(f64::from(*self)))
    }
    #[allow(clippy::cast_possible_truncation)]
    fn from_value(value: &AttrValue) -> Option<Self> {
        f64::from_value(value).map(|value| value as f32)
    }
}

impl OpAttr for Dtype {
    fn to_value(&self) -> AttrValue {
        AttrValue::Dtype(*self)
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Dtype(dtype) => Some(*dtype),
            _ => None,
        }
    }
}

impl<T: OpAttr> OpAttr for Option<T> {
    fn to_value(&self) -> AttrValue {
        self.as_ref().map_or(AttrValue::None, OpAttr::to_value)
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::None => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl OpAttr for Vec<i32> {
    fn to_value(&self) -> AttrValue {
        AttrValue::Ints(self.iter().copied().map(i64::from).collect())
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Ints(values) => values.iter().map(|v| (*v).try_into().ok()).collect(),
            _ => None,
        }
    }
}

impl OpAttr for Vec<i64> {
    fn to_value(&self) -> AttrValue {
        AttrValue::Ints(self.clone())
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Ints(values) => Some(values.clone()),
            _ => None,
        }
    }
}

/// OpString that C can read: a format string such as einsum's subscripts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpString(CString);

impl OpString {
    /// Returns `text` for C, cut at a zero byte, which no format string has.
    pub fn new(text: &str) -> Self {
        let until_zero = text.split('\0').next().unwrap_or("");
        Self(CString::new(until_zero).unwrap_or_default())
    }

    pub(crate) fn c_text(&self) -> *const c_char {
        self.0.as_ptr()
    }
}

impl fmt::Display for OpString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

impl OpAttr for OpString {
    fn to_value(&self) -> AttrValue {
        AttrValue::Text(self.to_string())
    }
    fn from_value(value: &AttrValue) -> Option<Self> {
        match value {
            AttrValue::Text(text) => Some(OpString::new(text)),
            _ => None,
        }
    }
}

/// Makes an enum whose cases are names in the C interface.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$case_doc])* $case),* }

        impl super::encode::Encode for $name {
            const LAYOUT: u64 = {
                let hash = super::encode::fnv(super::encode::FNV_START, stringify!($name));
                $(let hash = super::encode::fnv(hash, stringify!($case));)*
                hash
            };
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                let [number] = super::encode::take(bytes)?;
                [$($name::$case),*].get(usize::from(number)).copied()
            }
            #[cfg(test)]
            fn cpp_type() -> String {
                stringify!($name).to_owned()
            }
        }

        impl $name {
            /// The cases and their texts.
            #[cfg(test)]
            pub(super) const CASES: &'static [(&'static str, &'static str)] =
                &[$((stringify!($case), match $text.to_str() { Ok(text) => text, Err(_) => "" })),*];

            fn c_str(self) -> &'static CStr {
                match self { $($name::$case => $text),* }
            }

            #[allow(dead_code)]
            pub(crate) fn c_text(self) -> *const c_char {
                self.c_str().as_ptr()
            }
        }

        impl OpAttr for $name {
            fn to_value(&self) -> AttrValue {
                AttrValue::Text(self.c_str().to_string_lossy().into_owned())
            }
            fn from_value(value: &AttrValue) -> Option<Self> {
                [$($name::$case),*].into_iter().find(|case| case.to_value() == *value)
            }
        }
    };
}

named! {
    /// Which end of a run of equal values [`searchsorted`](crate::Array::searchsorted) points to.
    SearchSide {
        /// Before the first equal value.
        Left = c"left",
        /// After the last equal value.
        Right = c"right",
    }
}
named! {
    /// How quantized weights are coded.
    QuantizationMode {
        /// Integers with a scale and a bias for each group.
        Affine = c"affine",
        /// FP4 (E2M1) with an E8M0 scale for each group of 32.
        Mxfp4 = c"mxfp4",
        /// FP8 (E4M3) with an E8M0 scale for each group of 32.
        Mxfp8 = c"mxfp8",
        /// FP4 (E2M1) with an E4M3 scale for each group of 16.
        Nvfp4 = c"nvfp4",
    }
}
named! {
    /// What [`pad`](crate::Array::pad) puts around an array.
    PadMode {
        /// A value.
        Constant = c"constant",
        /// The nearest element.
        Edge = c"edge",
        /// The elements mirrored at the outermost one, which is not repeated.
        Reflect = c"reflect",
        /// The elements mirrored at the border: the outermost one is repeated.
        Symmetric = c"symmetric",
    }
}
named! {
    /// The order of the axes of [`meshgrid`](crate::meshgrid).
    MeshIndexing {
        /// Cartesian: the first two axes are swapped.
        Xy = c"xy",
        /// Matrix order.
        Ij = c"ij",
    }
}
named! {
    /// Which triangle of a symmetric matrix is read.
    Triangle {
        /// The lower one.
        Lower = c"L",
        /// The upper one.
        Upper = c"U",
    }
}
named! {
    /// What of a mask MLX's attention is given.
    MaskMode {
        /// No mask.
        None = c"",
        /// Causal, aligned to the last key.
        Causal = c"causal",
        /// The next input: boolean or additive.
        Array = c"array",
    }
}
named! {
    /// Which direction of a Fourier transform is scaled by `1 / n`.
    FftNorm {
        /// The inverse one.
        Backward = c"backward",
        /// Both, by `1 / sqrt(n)`.
        Ortho = c"ortho",
        /// The forward one.
        Forward = c"forward",
    }
}

impl MaskMode {
    pub(crate) fn has_array(self) -> bool {
        self == MaskMode::Array
    }
}

impl FftNorm {
    pub(crate) fn raw(self) -> sys::mlx_fft_norm {
        match self {
            FftNorm::Backward => sys::mlx_fft_norm__MLX_FFT_NORM_BACKWARD,
            FftNorm::Ortho => sys::mlx_fft_norm__MLX_FFT_NORM_ORTHO,
            FftNorm::Forward => sys::mlx_fft_norm__MLX_FFT_NORM_FORWARD,
        }
    }
}
