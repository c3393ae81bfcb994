//! Activation functions as layers, with the names and defaults of `mlx.nn`.

use mlx::{Array, Integer};

use crate::{Forward, Module, ModuleState, activation};

/// Makes layers without settings of functions.
macro_rules! plain {
    ($($name:ident $function:expr, $formula:literal;)*) => {$(
        #[doc = concat!("The layer of `", $formula, "`.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
        pub struct $name;

        impl $name {
            /// Returns the layer.
            pub fn new() -> Self {
                Self
            }

            /// Applies the function to each element, or to the last axis.
            #[track_caller]
            pub fn forward(&self, x: &Array) -> Array {
                $function(x)
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                $function(x)
            }
        }
    )*};
}

plain! {
    ReLU activation::relu, "max(x, 0)";
    ReLU2 activation::relu2, "max(x, 0)^2";
    ReLU6 activation::relu6, "min(max(x, 0), 6)";
    SELU activation::selu, "1.0507 * elu(x, 1.67326)";
    SiLU activation::silu, "x * sigmoid(x)";
    Mish activation::mish, "x * tanh(softplus(x))";
    Hardswish activation::hardswish, "x * min(max(x + 3, 0), 6) / 6";
    HardTanh activation::hard_tanh, "min(max(x, -1), 1)";
    Sigmoid activation::sigmoid, "1 / (1 + exp(-x))";
    Tanh activation::tanh, "tanh(x)";
    Softplus activation::softplus, "log(1 + exp(x))";
    Softsign activation::softsign, "x / (1 + |x|)";
    LogSigmoid activation::log_sigmoid, "log(sigmoid(x))";
    Softmax (|x: &Array| activation::softmax(x, -1)), "softmax(x)";
    Softmin (|x: &Array| activation::softmin(x, -1)), "softmax(-x)";
    LogSoftmax (|x: &Array| activation::log_softmax(x, -1)), "log(softmax(x))";
}

/// Makes layers with one number as setting of functions.
macro_rules! with_number {
    ($($name:ident $field:ident: $type:ty = $default:literal, $function:path, $formula:literal, $what:literal;)*) => {$(
        #[doc = concat!("The layer of `", $formula, "`.")]
        #[derive(Clone, Copy, Debug, PartialEq, Module)]
        pub struct $name {
            #[doc = $what]
            pub $field: $type,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $field: $default }
            }
        }

        impl $name {
            #[doc = concat!("Returns the layer with this setting; the default is ", stringify!($default), ".")]
            pub fn new($field: $type) -> Self {
                Self { $field }
            }

            /// Applies the function.
            #[track_caller]
            pub fn forward(&self, x: &Array) -> Array {
                $function(x, self.$field)
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                $function(x, self.$field)
            }
        }
    )*};
}

with_number! {
    GLU axis: i32 = -1, activation::glu_with, "a * sigmoid(b)", "The axis that is split into `a` and `b`.";
    LeakyReLU negative_slope: f32 = 0.01, activation::leaky_relu_with, "max(negative_slope * x, x)", "The slope of negative values.";
    ELU alpha: f32 = 1.0, activation::elu_with, "x > 0 ? x : alpha * (exp(x) - 1)", "The limit for very negative values, negated.";
    CELU alpha: f32 = 1.0, activation::celu_with, "max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)", "The limit for very negative values, negated.";
    Softshrink lambd: f32 = 0.5, activation::softshrink_with, "|x| > lambd ? x - sign(x) * lambd : 0", "The size up to which values are 0.";
    HardShrink lambd: f32 = 0.5, activation::hard_shrink_with, "|x| > lambd ? x : 0", "The size up to which values are 0.";
    Step threshold: f32 = 0.0, activation::step_with, "x >= threshold ? 1 : 0", "The value from which the result is 1.";
}

/// The form of [`GELU`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GeluApprox {
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    #[default]
    None,
    /// With a hyperbolic tangent: `"precise"` or `"tanh"` in Python.
    Tanh,
    /// `x * sigmoid(1.702 * x)`: `"fast"` in Python.
    Fast,
}

/// The layer of `x * (1 + erf(x / sqrt(2))) / 2`, or of an approximation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
pub struct GELU {
    /// The approximation; none by default.
    #[module(static)]
    pub approx: GeluApprox,
}

impl GELU {
    /// Returns the layer without approximation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the layer with an approximation.
    #[must_use]
    pub fn approx(mut self, approx: GeluApprox) -> Self {
        self.approx = approx;
        self
    }

    /// Applies the function to each element.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self.approx {
            GeluApprox::None => activation::gelu(x),
            GeluApprox::Tanh => activation::gelu_approx(x),
            GeluApprox::Fast => activation::gelu_fast_approx(x),
        }
    }
}

/// The layer of `max(x, 0) + weight * min(x, 0)`, whose slope of negative values is trained.
#[derive(Clone, Module)]
pub struct PReLU {
    /// The slopes, `[1]`, or one for each feature of the last axis.
    pub weight: Array,
    /// What is frozen.
    pub state: ModuleState,
}

impl Default for PReLU {
    fn default() -> Self {
        Self::new(1, 0.25)
    }
}

impl PReLU {
    /// Returns the layer with `num_parameters` slopes that start at `init`; the defaults are 1 and 0.25.
    pub fn new(num_parameters: impl Integer, init: f32) -> Self {
        let num_parameters = num_parameters.to_i32();
        Self {
            weight: mlx::full([num_parameters], init),
            state: ModuleState::default(),
        }
    }

    /// Applies the function.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        activation::prelu(x, &self.weight)
    }
}

impl Forward for GELU {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

impl Forward for PReLU {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}
