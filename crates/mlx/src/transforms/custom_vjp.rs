//! Functions with a gradient of their own.

use std::panic::Location;
use std::rc::Rc;

use super::call::{Form, form, leaves, split, taken};
use super::checkpoint::flat;
use super::transformed::Apply;
use super::{FlatFunction, Transform, Transformed, apply_at};
use crate::tree::{Arguments, BoxedError, Function, Outcome};
use crate::{Array, Error, Result, tree};

/// Returns the same function, whose gradient is `rule`.
///
/// `rule` gets the arguments (one as it is, several as a tuple), the cotangents and the outputs, and returns what the
/// cotangents give for each argument, in the form of the arguments. Arrays that the function captures are constants to
/// it. Vectorized by [`vmap`](crate::vmap), the function has its ordinary gradient again.
///
/// ```
/// use mlx::{Array, array, custom_vjp, grad};
///
/// # fn main() -> mlx::Result<()> {
/// let straight_through = custom_vjp(
///     |x: &Array| x.round(0),
///     |_: &Array, cotangent: &Array, _: &Array| cotangent.clone(),
/// );
/// let loss = move |x: &Array| straight_through(x).map(|y| (y * 3.0).sum(()));
/// assert_eq!(grad(loss)(&array!([0.2, 1.7]))?.to_vec::<f32>()?, [3.0, 3.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn custom_vjp<Args, F, R, O>(function: F, rule: R) -> Transformed<'static, Args, F::Output>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
    R: Fn(&Args::Values, &F::Output, &F::Output) -> O + 'static,
    O: Outcome<Tree = Args::Values>,
{
    Transformed::new(CustomVjp {
        function: Rc::new(function),
        rule: Rc::new(move |args, cotangents, outputs| rule(args, cotangents, outputs).outcome()),
    })
}

/// The gradient of a function: arguments, cotangents and outputs to one result for each argument.
type Rule<Values, Output> =
    dyn Fn(&Values, &Output, &Output) -> std::result::Result<Values, BoxedError>;

struct CustomVjp<F: Function<Args>, Args: Arguments> {
    function: Rc<F>,
    rule: Rc<Rule<Args::Values, F::Output>>,
}

impl<Args, F> Apply<Args, F::Output> for CustomVjp<F, Args>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<F::Output> {
        let output = Rc::new(Form::default());
        let flat = flat(Rc::clone(&self.function), args, Rc::clone(&output));
        let rule = self.flat_rule(args, Rc::clone(&output));
        let results = apply_at(
            &Transform::CustomVjp,
            &[flat, rule],
            &leaves::<Args>(args),
            at,
        )?;
        let form = output.borrow().as_ref().map(form);
        split(&taken(&Form::new(form))?, &mut results.into_iter())
    }
}

impl<Args, F> CustomVjp<F, Args>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    /// Returns the rule over flat arrays: arguments, cotangents, outputs.
    fn flat_rule(&self, args: Args::Refs<'_>, output: Rc<Form<F::Output>>) -> Rc<FlatFunction> {
        let like = form(&Args::map_refs(args, &mut Array::clone)).values();
        let rule = Rc::clone(&self.rule);
        Rc::new(move |arrays: &[Array]| {
            // The function has run before its gradient does.
            let form = taken(&Form::new(output.borrow().as_ref().map(form)))?;
            let mut arrays = arrays.iter().cloned();
            let args = split(&like, &mut arrays)?;
            let cotangents = split(&form, &mut arrays)?;
            let outputs = split(&form, &mut arrays)?;
            let products = rule(&args, &cotangents, &outputs).map_err(Error::from_boxed)?;
            Ok(tree::arrays(&products).into_iter().cloned().collect())
        })
    }
}
