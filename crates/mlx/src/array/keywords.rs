//! What is a keyword argument in Python and comes after the call in Rust: `random::normal([2, 3]).key(&key)`.
//!
//! Such a function tells its thread how its result is made again with other options ([`remember`]). A method here asks
//! for that, if its array is the last such result; what the first call has built is never computed. The inputs are kept
//! until the next such call, or until something is computed on this thread, so that they do not outlive a step.
//!
//! ```
//! # fn main() -> mlx::Result<()> {
//! use mlx::{linalg, random};
//! let key = random::key(7);
//! let x = random::normal([2, 3]).key(&key);
//! assert!(x.array_equal(random::normal_with([2, 3], &key)).item::<bool>()?);
//! let x = mlx::array!([[3.0, 4.0], [6.0, 8.0]]);
//! assert_eq!(linalg::norm(&x).axis(-1).ord(1).to_vec::<f32>()?, [7.0, 14.0]);
//! let text = x.exp().ord(1).eval().unwrap_err().to_string();
//! assert!(text.contains("ord: wanted the result of a function that takes it, right after the call"), "{text}");
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0277
//! let x = mlx::array!([1.0, 2.0]).sum(0).keepdims(true); // axes that stay are given by `keepdims`: ..
//! ```

use std::cell::RefCell;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::{Array, State};
use crate::ffi::Handle;
use crate::local::with_local;
use crate::op::Order;
use crate::{Axes, Error, Integer, Operand, Shape};

/// An argument that is given by name.
#[derive(Clone)]
pub enum Keyword {
    /// The key of random numbers.
    Key(Array),
    /// A mean.
    Loc(Operand),
    /// A standard deviation, or another factor.
    Scale(Operand),
    /// How many samples are drawn.
    NumSamples(i32),
    /// A relative tolerance.
    Rtol(f64),
    /// An absolute tolerance.
    Atol(f64),
    /// Whether NaN is equal to NaN.
    EqualNan(bool),
    /// What is taken off the number of elements.
    Ddof(i32),
    /// Along which axes.
    Axes(Axes),
    /// The order of a norm.
    Ord(Order),
    /// Whether from the last element to the first.
    Reverse(bool),
    /// Whether with the element itself.
    Inclusive(bool),
    /// The sizes of a Fourier transform.
    Sizes(Shape),
    /// Whether the upper triangle.
    Upper(bool),
    /// The share of a target that is spread over all classes.
    LabelSmoothing(f32),
    /// How losses are reduced: `none`, `mean`, `sum`, ..
    Reduction(String),
    /// One weight for each loss.
    Weights(Array),
}

/// Makes a result again with one more argument; nothing where the function does not take it.
type Again = Box<dyn FnOnce(Keyword) -> Option<Array>>;

struct LastCall {
    result: Weak<Handle>,
    again: Again,
}

thread_local! {
    static LAST: RefCell<Option<LastCall>> = const { RefCell::new(None) };
}

/// Returns `result`, for which `again` gives the result with another argument.
#[must_use]
pub fn remember(result: Array, again: impl FnOnce(Keyword) -> Option<Array> + 'static) -> Array {
    let call = result.any_handle().map(|handle| LastCall {
        result: Rc::downgrade(handle),
        again: Box::new(again),
    });
    swap(call);
    result
}

/// Forgets the last call and with it its inputs.
pub(crate) fn forget() {
    swap(None);
}

/// What was there before is dropped after the place is free again.
fn swap(call: Option<LastCall>) -> Option<LastCall> {
    with_local(&LAST, |last| std::mem::replace(last, call))
}

impl Array {
    fn any_handle(&self) -> Option<&Rc<Handle>> {
        match &self.state {
            State::Ready(handle) => Some(handle),
            State::Traced(traced) => Some(&traced.shadow),
            State::Failed(_) => None,
        }
    }

    #[track_caller]
    fn with_keyword(&self, name: &'static str, keyword: Keyword) -> Array {
        let Some(handle) = self.any_handle() else {
            return self.clone();
        };
        let call = swap(None).filter(|call| std::ptr::eq(call.result.as_ptr(), Rc::as_ptr(handle)));
        let at = Location::caller();
        match call.and_then(|call| (call.again)(keyword)) {
            Some(Array {
                state: State::Failed(error),
            }) => Array::failed(error.as_ref().clone().at(at)),
            Some(array) => array,
            None => {
                let message = "wanted the result of a function that takes it, right after the call";
                Array::failed(Error::op(name, message))
            }
        }
    }
}

/// Methods that give an argument by its name.
macro_rules! keywords {
    ($($(#[$doc:meta])* $method:ident($value:ident: $t:ty) = $keyword:expr;)*) => {
        impl Array {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self, $value: $t) -> Array {
                self.with_keyword(stringify!($method), $keyword)
            }
        )*}
    };
}

keywords! {
    /// Draws what was just drawn with this key: `random::normal([2, 3]).key(&key)` is
    /// [`random::normal_with([2, 3], &key)`](crate::random::normal_with), as Python's `key=key`.
    ///
    /// It comes right after the function that draws. Outside of compiled functions the thread's default key is put back.
    key(key: impl AsRef<Array>) = Keyword::Key(key.as_ref().clone());
    /// Draws what was just drawn with this mean: `random::normal([3]).loc(5.0).scale(0.1)`.
    loc(loc: impl Into<Operand>) = Keyword::Loc(loc.into());
    /// Draws what was just drawn with this standard deviation: `random::normal([3]).loc(5.0).scale(0.1)`.
    scale(scale: impl Into<Operand>) = Keyword::Scale(scale.into());
    /// Draws `n` for each row: `random::categorical(&logits).num_samples(5)`.
    num_samples(num: impl Integer) = Keyword::NumSamples(num.to_i32());
    /// Compares with this relative tolerance: `a.allclose(&b).rtol(1e-4)`.
    rtol(rtol: impl Into<f64>) = Keyword::Rtol(rtol.into());
    /// Compares with this absolute tolerance: `a.allclose(&b).rtol(1e-4).atol(1e-5)`.
    atol(atol: impl Into<f64>) = Keyword::Atol(atol.into());
    /// Compares with NaN equal to NaN: `a.allclose(&b).equal_nan(true)`.
    equal_nan(equal_nan: bool) = Keyword::EqualNan(equal_nan);
    /// Takes `n - ddof` as denominator of a variance: `x.var(0).ddof(1)`.
    ddof(ddof: i32) = Keyword::Ddof(ddof);
    /// Works along this axis: `linalg::norm(&x).axis(-1)`, `fft::fft(&x).axis(0)`, `losses::cross_entropy(&x, &y).axis(1)`.
    axis(axis: impl Into<Axes>) = Keyword::Axes(axis.into());
    /// Works along these axes: `fft::rfftn(&x).n([16, 16]).axes([0, 1])`.
    axes(axes: impl Into<Axes>) = Keyword::Axes(axes.into());
    /// Takes a norm of this order: `linalg::norm(&x).ord("nuc")`.
    ord(ord: impl Into<Order>) = Keyword::Ord(ord.into());
    /// Accumulates from the last element to the first: `x.cumsum(0).reverse(true)`.
    reverse(reverse: bool) = Keyword::Reverse(reverse);
    /// Accumulates with or without the element itself: `x.cumsum(0).inclusive(false)`.
    inclusive(inclusive: bool) = Keyword::Inclusive(inclusive);
    /// Transforms `n` elements: `fft::fft(&x).n(16)`, `fft::rfftn(&x).n([16, 16])`.
    n(n: impl Into<Shape>) = Keyword::Sizes(n.into());
    /// Reads the upper triangle: `linalg::cholesky(&a).upper(true)`.
    upper(upper: bool) = Keyword::Upper(upper);
    /// Spreads a share of each target over all classes: `losses::cross_entropy(&logits, &y).label_smoothing(0.1)`.
    label_smoothing(share: f32) = Keyword::LabelSmoothing(share);
    /// Reduces losses: `losses::mse_loss(&a, &b).reduction("sum")`.
    reduction(reduction: impl ToString) = Keyword::Reduction(reduction.to_string());
    /// Weighs losses: `losses::cross_entropy(&logits, &y).weights(&w)`.
    weights(weights: impl AsRef<Array>) = Keyword::Weights(weights.as_ref().clone());
}

/// No type: axes that stay are given beforehand, because that is cheap for the many reductions of a model.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "axes that stay are given by `keepdims`: `x.mean(keepdims(-1))`",
    label = "not a method of the array: `x.mean(keepdims(-1))`"
)]
pub trait NoKeepdimsAfterwards {
    /// No type: so that a call that follows is no second error.
    type Never;

    /// Never called.
    fn never() -> Self::Never;
}

impl Array {
    #[doc(hidden)]
    pub fn keepdims<T: NoKeepdimsAfterwards>(&self, _: T) -> T::Never {
        T::never()
    }
}
