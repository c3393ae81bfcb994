//! Gradients of functions that give a scalar.

use std::panic::Location;

use super::call::{split, transformed};
use super::transformed::{Apply, GradsByNumber, grads};
use super::{Arg, Argnums, Nth, Transform, Transformed};
use crate::tree::{Arguments, Function};
use crate::{Array, Error, Result, Tree};

/// What a function must give for [`value_and_grad`]: a scalar, or a tuple that begins with one.
///
/// What comes after the scalar has no part in the gradient.
#[diagnostic::on_unimplemented(
    message = "a function with a gradient must give an `Array` or a tuple that begins with one, got `{Self}`"
)]
pub trait Loss: Tree {}

impl Loss for Array {}
impl<A: Tree> Loss for (Array, A) {}
impl<A: Tree, B: Tree> Loss for (Array, A, B) {}
impl<A: Tree, B: Tree, C: Tree> Loss for (Array, A, B, C) {}

/// Returns the function that gives the gradient of `function` with respect to its first argument.
///
/// The gradient is a tree of the argument's own type: of a map of parameters it is a map under the same keys.
/// `function` must give a floating scalar.
///
/// ```
/// use std::collections::BTreeMap;
/// use mlx::{Array, array, grad};
///
/// # fn main() -> mlx::Result<()> {
/// type Parameters = BTreeMap<&'static str, Array>;
/// let loss = |p: &Parameters, x: &Array| (&p["w"] * x + &p["b"]).square().sum(());
/// let parameters = Parameters::from([("w", array!(2.0)), ("b", array!(1.0))]);
/// let gradient = grad(loss)(&parameters, &array!([1.0, 3.0]))?;
/// assert_eq!(gradient["w"].item::<f32>()?, 48.0); // 2*3*1 + 2*7*3
/// assert_eq!(gradient["b"].item::<f32>()?, 20.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn grad<'f, Args, F>(function: F) -> Transformed<'f, Args, <Args as Nth<0>>::Arg>
where
    Args: Nth<0> + 'f,
    F: Function<Args, Output = Array> + 'f,
{
    grad_of(function, Arg::<0>)
}

/// Returns the function that gives the gradient of `function` with respect to the arguments `argnums`.
///
/// ```
/// use mlx::{Array, array, grad_of, transforms::Arg};
///
/// # fn main() -> mlx::Result<()> {
/// let area = |a: &Array, b: &Array| a * b;
/// let by_both = grad_of(area, (Arg::<0>, Arg::<1>));
/// let (by_a, by_b) = by_both(&array!(2.0), &array!(3.0))?;
/// assert_eq!((by_a.item::<f32>()?, by_b.item::<f32>()?), (3.0, 2.0));
/// let (by_a, by_b) = grad_of(area, [0, 1])(&array!(2.0), &array!(3.0))?;
/// # assert_eq!((by_a.item::<f32>()?, by_b.item::<f32>()?), (3.0, 2.0));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "argnums")]
#[track_caller]
pub fn grad_of<'f, Args, F, N>(function: F, argnums: N) -> Transformed<'f, Args, N::Grads>
where
    Args: Arguments + 'f,
    F: Function<Args, Output = Array> + 'f,
    N: Argnums<Args> + 'f,
{
    Transformed::new(Grad(ValueAndGrad { function, argnums }))
}

/// Returns the function that gives the output of `function` and its gradient with respect to the first argument.
///
/// `function` gives a floating scalar, or a tuple of one and anything else, which has no part in the gradient.
///
/// ```
/// use mlx::{Array, array, value_and_grad};
///
/// # fn main() -> mlx::Result<()> {
/// let loss = |w: &Array, x: &Array| {
///     let error = w - x;
///     (error.square().sum(()), error)
/// };
/// let ((loss, error), gradient) = value_and_grad(loss)(&array!([1.0, 2.0]), &array!([0.0, 4.0]))?;
/// assert_eq!(loss.item::<f32>()?, 5.0);
/// assert_eq!(error.to_vec::<f32>()?, [1.0, -2.0]);
/// assert_eq!(gradient.to_vec::<f32>()?, [2.0, -4.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn value_and_grad<'f, Args, F>(
    function: F,
) -> Transformed<'f, Args, (F::Output, <Args as Nth<0>>::Arg)>
where
    Args: Nth<0> + 'f,
    F: Function<Args> + 'f,
    F::Output: Loss,
{
    value_and_grad_of(function, Arg::<0>)
}

/// Returns the function that gives the output of `function` and its gradient with respect to the arguments `argnums`.
///
/// ```
/// use mlx::{Array, array, transforms::Arg, value_and_grad_of};
///
/// # fn main() -> mlx::Result<()> {
/// let f = value_and_grad_of(|a: &Array, b: &Array| a * b, Arg::<1>);
/// let (value, by_b) = f(&array!(2.0), &array!(3.0))?;
/// assert_eq!((value.item::<f32>()?, by_b.item::<f32>()?), (6.0, 2.0));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn value_and_grad_of<'f, Args, F, N>(
    function: F,
    argnums: N,
) -> Transformed<'f, Args, (F::Output, N::Grads)>
where
    Args: Arguments + 'f,
    F: Function<Args> + 'f,
    F::Output: Loss,
    N: Argnums<Args> + 'f,
{
    Transformed::new(ValueAndGrad { function, argnums })
}

struct ValueAndGrad<F, N> {
    function: F,
    argnums: N,
}

impl<Args, F, N> Apply<Args, (F::Output, N::Grads)> for ValueAndGrad<F, N>
where
    Args: Arguments,
    F: Function<Args>,
    N: Argnums<Args>,
{
    fn apply_at(
        &self,
        args: Args::Refs<'_>,
        at: &'static Location<'static>,
    ) -> Result<(F::Output, N::Grads)> {
        let numbers = self.argnums.numbers()?;
        let (output, mut by_number) = value_and_arrays(&self.function, &numbers, args, at)?;
        let grads = grads(&self.argnums, args, &mut by_number)?;
        Ok((output, grads))
    }

    fn apply_by(
        &self,
        args: Args::Refs<'_>,
        argnums: &[usize],
        at: &'static Location<'static>,
    ) -> Result<((F::Output, N::Grads), GradsByNumber)> {
        let (output, by_number) = value_and_arrays(&self.function, argnums, args, at)?;
        // In the place of gradients that nobody asked for: the arguments.
        let mut inputs: Vec<&Array> = Vec::new();
        Args::visit_refs(args, &mut |array| inputs.push(array));
        let mut inputs = inputs.into_iter().cloned();
        let counts = Args::counts(args).into_iter().enumerate();
        let mut unused: GradsByNumber = counts
            .map(|(number, count)| (number, inputs.by_ref().take(count).collect()))
            .collect();
        let grads = grads(&self.argnums, args, &mut unused)?;
        Ok(((output, grads), by_number))
    }
}

/// The gradients alone.
struct Grad<F, N>(ValueAndGrad<F, N>);

impl<Args, F, N> Apply<Args, N::Grads> for Grad<F, N>
where
    Args: Arguments,
    F: Function<Args>,
    N: Argnums<Args>,
{
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<N::Grads> {
        self.0.apply_at(args, at).map(|(_, grads)| grads)
    }

    fn apply_by(
        &self,
        args: Args::Refs<'_>,
        argnums: &[usize],
        at: &'static Location<'static>,
    ) -> Result<(N::Grads, GradsByNumber)> {
        let ((_, grads), by_number) = self.0.apply_by(args, argnums, at)?;
        Ok((grads, by_number))
    }
}

/// Returns what a function gives, and the gradients of these arguments.
fn value_and_arrays<Args: Arguments, F: Function<Args>>(
    function: &F,
    numbers: &[usize],
    args: Args::Refs<'_>,
    at: &'static Location<'static>,
) -> Result<(F::Output, GradsByNumber)> {
    let trainable = Args::trainable(args);
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    if let Some(number) = numbers.iter().find(|&&number| number >= trainable.len()) {
        let message = format!(
            "wanted one of {} arguments, got number {number}",
            trainable.len()
        );
        return Err(Error::op("value_and_grad", message).at(at));
    }
    let transform = Transform::ValueAndGrad {
        argnums: places(&trainable, &numbers),
    };
    let (output, results) = transformed(&transform, function, args, &[], at)?;
    let mut results = results.into_iter();
    let output = split(&output, &mut results)?;
    let mut inputs: Vec<&Array> = Vec::new();
    Args::visit_refs(args, &mut |array| inputs.push(array));
    let mut by_number = GradsByNumber::new();
    let mut start = 0;
    for (number, flags) in trainable.iter().enumerate() {
        let arrays = inputs.iter().skip(start).zip(flags);
        start += flags.len();
        if numbers.contains(&number) {
            // What is not trained has the gradient 0.
            let gradient = |(array, &trainable): (&&Array, &bool)| match trainable {
                true => results.next(),
                false => Some(crate::zeros_like(array)),
            };
            by_number.push((number, arrays.filter_map(gradient).collect()));
        }
    }
    Ok((output, by_number))
}

/// Returns the places, among all arrays, of those that gradients by these arguments are taken of.
fn places(trainable: &[Vec<bool>], numbers: &[usize]) -> Vec<usize> {
    let starts = |number: usize| trainable[..number].iter().map(Vec::len).sum::<usize>();
    let of_argument = |&number: &usize| {
        let flags = trainable[number].iter().enumerate();
        let start = starts(number);
        flags.filter_map(move |(place, &flag)| flag.then_some(start + place))
    };
    numbers.iter().flat_map(of_argument).collect()
}
