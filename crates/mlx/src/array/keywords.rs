//! What is a keyword argument in Python and looks like a method in Rust: methods that do not compile, and whose message
//! names the right call.
//!
//! ```compile_fail,E0277
//! let key = mlx::random::key(7);
//! let x = mlx::random::normal([2, 3]).key(&key); // a key is given to the function that draws, ..
//! ```
//!
//! ```compile_fail,E0277
//! let x = mlx::array!([1.0, 2.0]).var(0).ddof(1); // `ddof` is given with the axes: ..
//! ```

use super::Array;

/// Makes methods that nothing can be given to, each with a trait whose message says what to write.
macro_rules! keywords {
    ($($method:ident $trait:ident $message:literal $label:literal;)*) => {
        $(
            #[doc(hidden)]
            #[diagnostic::on_unimplemented(message = $message, label = $label)]
            pub trait $trait {
                /// No type: so that a call that follows is no second error.
                type Never;

                /// Never called.
                fn never() -> Self::Never;
            }
        )*

        impl Array {$(
            #[doc(hidden)]
            pub fn $method<T: $trait>(&self, _: T) -> T::Never {
                T::never()
            }
        )*}
    };
}

keywords! {
    key NoKeyAfterwards
        "a key is given to the function that draws, with the ending `_with`: `random::normal_with([2, 3], &key)`"
        "not a method of the array: `random::normal_with(shape, &key)`, `random::uniform_with(low, high, shape, &key)`";
    loc NoLocAfterwards
        "a mean is given by options: `random::normal_with(shape, NormalOptions {{ loc: 2.0.into(), ..Default::default() }})`"
        "not a method of the array; `random::normal(shape) * scale + loc` is the same";
    rtol NoRtolAfterwards
        "tolerances are given by `allclose_with(&a, &b, (rtol, atol))`"
        "not a method of the array: `allclose_with(&a, &b, (1e-4, 1e-5))`";
    atol NoAtolAfterwards
        "tolerances are given by `allclose_with(&a, &b, (rtol, atol))`"
        "not a method of the array: `allclose_with(&a, &b, (1e-4, 1e-5))`";
    ddof NoDdofAfterwards
        "`ddof` is given with the axes: `x.var(keepdims(0).ddof(1))`, `x.var(Reduction::from(0).ddof(1))`"
        "not a method of the array: `x.var(Reduction::from(0).ddof(1))`";
    keepdims NoKeepdimsAfterwards
        "axes that stay are given by `keepdims`: `x.mean(keepdims(-1))`"
        "not a method of the array: `x.mean(keepdims(-1))`";
    axis NoAxisAfterwards
        "an axis is an argument: `x.sum(-1)`, `fft::fft_with(&x, (n, axis))`, `linalg::norm_with(&x, order, axis)`"
        "not a method of the array: `x.sum(-1)`, `norm_with(&x, order, -1)`";
    ord NoOrdAfterwards
        "the order of a norm is given by `linalg::norm_with(&x, order, axes)`"
        "not a method of the array: `linalg::norm_with(&x, \"nuc\", ())`";
    reverse NoReverseAfterwards
        "the direction is given by options: `x.cumsum(CumulativeOptions {{ reverse: true, ..CumulativeOptions::along(0) }})`"
        "not a method of the array: `CumulativeOptions {{ reverse: true, ..CumulativeOptions::along(0) }}`; `x.flip(0)` turns an axis round";
    num_samples NoSamplesAfterwards
        "several samples are given by options: `random::categorical_with(&logits, CategoricalOptions {{ num_samples: Some(3), ..Default::default() }})`"
        "not a method of the array: `CategoricalOptions {{ num_samples: Some(3), ..Default::default() }}`";
    n NoSizeAfterwards
        "sizes of a Fourier transform are given by `fft_with(&x, n)`, `fft_with(&x, (n, axis))`, `fftn_with(&x, (sizes, axes))`"
        "not a method of the array: `rfftn_with(&x, ([16, 16], [0, 1]))`";
    axes NoAxesAfterwards
        "axes are an argument: `x.sum([0, 1])`, `fft::fftn_with(&x, (sizes, axes))`"
        "not a method of the array: `x.sum([0, 1])`";
    label_smoothing NoSmoothingAfterwards
        "options of a loss are given by `losses::cross_entropy_with(&logits, &targets, options)`"
        "not a method of the array: `CrossEntropyOptions {{ label_smoothing: 0.1, ..Default::default() }}`";
    reduction NoReductionAfterwards
        "the reduction of a loss is given by `losses::cross_entropy_with(&logits, &targets, options)`, or done afterwards: `.mean(())`"
        "not a method of the array: `losses::cross_entropy(&logits, &targets).mean(())`";
    upper NoUpperAfterwards
        "which triangle is given by the form with options: `linalg::cholesky_with(&a, true)`"
        "not a method of the array: the function that ends in `_with` takes it";
}
