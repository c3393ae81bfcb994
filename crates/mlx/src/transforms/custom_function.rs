//! Functions with rules of their own: gradients, tangents, and how they go along an axis.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use super::call::{Form, form, leaves, split, taken};
use super::checkpoint::flat;
use super::transformed::Apply;
use super::{FlatFunction, FlatVmapRule, Transform, Transformed, VmapRule, apply_at};
use crate::tree::{Arguments, BoxedError, Function, Outcome};
use crate::{Array, Error, Result, Tree, tree};

/// Returns the same function, whose rules can be set: its gradient, its tangents, and how it goes along an axis.
///
/// A rule that is not set is MLX's; along an axis, the function keeps its own gradient and tangents. Arrays that the
/// function captures are constants to it.
///
/// ```
/// use mlx::{Array, array, custom_function, grad, vmap};
///
/// # fn main() -> mlx::Result<()> {
/// // log(1 + exp(x)), whose gradient does not overflow.
/// let softplus = custom_function(|x: &Array| x.logaddexp(0.0))
///     .vjp(|x: &Array, cotangent: &Array, _: &Array| cotangent * x.sigmoid())
///     .jvp(|x: &Array, tangent: &Array| tangent * x.sigmoid())
///     .vmap(|x: &Array, axes: &[Option<i32>]| (x.logaddexp(0.0), [axes[0]]));
/// let y = vmap(softplus.clone())(&array!([0.0, 100.0]))?;
/// assert_eq!(y.to_vec::<f32>()?, [2_f32.ln(), 100.0]);
/// assert_eq!(grad(softplus)(&array!(0.0))?.item::<f32>()?, 0.5);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn custom_function<Args, F>(function: F) -> CustomFunction<Args, F::Output>
where
    Args: Arguments + 'static,
    F: Function<Args> + 'static,
{
    CustomFunction::of(
        Ruled {
            function: Rc::new(function),
            vjp: None,
            jvp: None,
            vmap: None,
        },
        Location::caller(),
    )
}

/// Returns the same function, whose gradient is `rule`: [`custom_function`] with [`vjp`](CustomFunction::vjp) alone.
///
/// ```
/// use mlx::{Array, array, custom_vjp, grad};
///
/// # fn main() -> mlx::Result<()> {
/// let straight_through = custom_vjp(
///     |x: &Array| x.round(),
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
    (*custom_function(function).vjp(rule)).clone()
}

/// What [`custom_function`] gives: a [`Transformed`] function whose rules can be set.
pub struct CustomFunction<Args: Arguments + 'static, Output: 'static> {
    ruled: Ruled<Args, Output>,
    made_at: &'static Location<'static>,
    /// The function with these rules, made when it is called for the first time.
    transformed: OnceCell<Transformed<'static, Args, Output>>,
}

/// Arguments, cotangents and outputs to one product for each argument.
type VjpRule<Values, Output> =
    dyn Fn(&Values, &Output, &Output) -> std::result::Result<Values, BoxedError>;

/// Arguments and tangents to tangents of the outputs.
type JvpRule<Values, Output> = dyn Fn(&Values, &Values) -> std::result::Result<Output, BoxedError>;

/// Arguments and the axis of each array in them, to outputs and the axis of each array in them.
type TreeVmapRule<Values, Output> =
    dyn Fn(&Values, &[Option<i32>]) -> std::result::Result<(Output, Vec<Option<i32>>), BoxedError>;

/// A function and the rules that are set.
struct Ruled<Args: Arguments, Output> {
    function: Rc<dyn Function<Args, Output = Output>>,
    vjp: Option<Rc<VjpRule<Args::Values, Output>>>,
    jvp: Option<Rc<JvpRule<Args::Values, Output>>>,
    vmap: Option<Rc<TreeVmapRule<Args::Values, Output>>>,
}

impl<Args: Arguments + 'static, Output: Tree + 'static> CustomFunction<Args, Output> {
    fn of(ruled: Ruled<Args, Output>, made_at: &'static Location<'static>) -> Self {
        Self {
            ruled,
            made_at,
            transformed: OnceCell::new(),
        }
    }

    /// Sets the gradient.
    ///
    /// `rule` gets the arguments (one as it is, several as a tuple), the cotangents and the outputs, and returns what
    /// the cotangents give for each argument, in the form of the arguments.
    #[must_use]
    pub fn vjp<R, O>(self, rule: R) -> Self
    where
        R: Fn(&Args::Values, &Output, &Output) -> O + 'static,
        O: Outcome<Tree = Args::Values>,
    {
        let rule: Rc<VjpRule<Args::Values, Output>> =
            Rc::new(move |args, cotangents, outputs| rule(args, cotangents, outputs).outcome());
        let vjp = Some(rule);
        Self::of(Ruled { vjp, ..self.ruled }, self.made_at)
    }

    /// Sets the product of the Jacobian with tangents.
    ///
    /// `rule` gets the arguments and tangents of the same form, with zeros for arguments that have none, and returns
    /// tangents in the form of the output.
    #[must_use]
    pub fn jvp<R, O>(self, rule: R) -> Self
    where
        R: Fn(&Args::Values, &Args::Values) -> O + 'static,
        O: Outcome<Tree = Output>,
    {
        let rule: Rc<JvpRule<Args::Values, Output>> =
            Rc::new(move |args, tangents| rule(args, tangents).outcome());
        let jvp = Some(rule);
        Self::of(Ruled { jvp, ..self.ruled }, self.made_at)
    }

    /// Sets how the function goes along an axis.
    ///
    /// `rule` gets the arguments, and for each array in them the axis, or none where it is the same for all elements.
    /// It returns the output and, for each array in that, where the axis is, or none where it is the same for all; one
    /// for all of them when there is one. What it returns is differentiated as it is computed. It must not capture
    /// arrays of a function that is being traced.
    #[must_use]
    pub fn vmap<R, O, A>(self, rule: R) -> Self
    where
        R: Fn(&Args::Values, &[Option<i32>]) -> (O, A) + 'static,
        O: Outcome<Tree = Output>,
        A: Into<Vec<Option<i32>>>,
    {
        let rule: Rc<TreeVmapRule<Args::Values, Output>> = Rc::new(move |args, axes| {
            let (output, axes) = rule(args, axes);
            Ok((output.outcome()?, axes.into()))
        });
        let vmap = Some(rule);
        Self::of(Ruled { vmap, ..self.ruled }, self.made_at)
    }
}

impl<Args: Arguments + 'static, Output: Tree + 'static> Apply<Args, Output>
    for Ruled<Args, Output>
{
    fn apply_at(&self, args: Args::Refs<'_>, at: &'static Location<'static>) -> Result<Output> {
        let output = Rc::new(Form::default());
        let function = flat(Rc::clone(&self.function), args, Rc::clone(&output));
        let like = Rc::new(form(&Args::map_refs(args, &mut Array::clone)).values());
        let mut functions = vec![function];
        functions.extend(self.vjp.as_ref().map(|rule| flat_vjp(rule, &like, &output)));
        functions.extend(self.jvp.as_ref().map(|rule| flat_jvp(rule, &like)));
        let transform = Transform::CustomFunction {
            vjp: self.vjp.is_some(),
            jvp: self.jvp.is_some(),
            vmap: self
                .vmap
                .as_ref()
                .map(|rule| VmapRule(flat_vmap(rule, &like))),
        };
        let results = apply_at(&transform, &functions, &leaves::<Args>(args), at)?;
        let form = output.borrow().as_ref().map(form);
        split(&taken(&Form::new(form))?, &mut results.into_iter())
    }
}

/// Returns the rule over flat arrays: arguments, cotangents, outputs.
fn flat_vjp<Values: Tree + 'static, Output: Tree + 'static>(
    rule: &Rc<VjpRule<Values, Output>>,
    like: &Rc<Values>,
    output: &Rc<Form<Output>>,
) -> Rc<FlatFunction> {
    let (rule, like, output) = (Rc::clone(rule), Rc::clone(like), Rc::clone(output));
    Rc::new(move |arrays: &[Array]| {
        // The function has run before its gradient does.
        let form = taken(&Form::new(output.borrow().as_ref().map(form)))?;
        let mut arrays = arrays.iter().cloned();
        let args = split(&*like, &mut arrays)?;
        let cotangents = split(&form, &mut arrays)?;
        let outputs = split(&form, &mut arrays)?;
        let products = rule(&args, &cotangents, &outputs).map_err(Error::from_boxed)?;
        Ok(owned(&products))
    })
}

/// Returns the rule over flat arrays: arguments, tangents.
fn flat_jvp<Values: Tree + 'static, Output: Tree + 'static>(
    rule: &Rc<JvpRule<Values, Output>>,
    like: &Rc<Values>,
) -> Rc<FlatFunction> {
    let (rule, like) = (Rc::clone(rule), Rc::clone(like));
    Rc::new(move |arrays: &[Array]| {
        let mut arrays = arrays.iter().cloned();
        let args = split(&*like, &mut arrays)?;
        let tangents = split(&*like, &mut arrays)?;
        Ok(owned(&rule(&args, &tangents).map_err(Error::from_boxed)?))
    })
}

/// Returns the rule over flat arrays: arguments and their axes.
fn flat_vmap<Values: Tree + 'static, Output: Tree + 'static>(
    rule: &Rc<TreeVmapRule<Values, Output>>,
    like: &Rc<Values>,
) -> Rc<FlatVmapRule> {
    let (rule, like) = (Rc::clone(rule), Rc::clone(like));
    Rc::new(move |arrays: &[Array], axes: &[Option<i32>]| {
        let args = split(&*like, &mut arrays.iter().cloned())?;
        let (output, axes) = rule(&args, axes).map_err(Error::from_boxed)?;
        Ok((owned(&output), axes))
    })
}

fn owned(tree: &impl Tree) -> Vec<Array> {
    tree::arrays(tree).into_iter().cloned().collect()
}

impl<Args: Arguments + 'static, Output: Tree + 'static> Deref for CustomFunction<Args, Output> {
    type Target = Transformed<'static, Args, Output>;

    fn deref(&self) -> &Self::Target {
        let made = || Transformed::made_at(self.ruled.clone(), self.made_at);
        self.transformed.get_or_init(made)
    }
}

impl<Args: Arguments + 'static, Output: Tree + 'static> Function<Args>
    for CustomFunction<Args, Output>
{
    type Output = Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Output, BoxedError> {
        (**self).apply_refs(args)
    }
}

impl<Args: Arguments, Output> Clone for Ruled<Args, Output> {
    fn clone(&self) -> Self {
        Self {
            function: Rc::clone(&self.function),
            vjp: self.vjp.clone(),
            jvp: self.jvp.clone(),
            vmap: self.vmap.clone(),
        }
    }
}

impl<Args: Arguments + 'static, Output: Tree + 'static> Clone for CustomFunction<Args, Output> {
    fn clone(&self) -> Self {
        Self::of(self.ruled.clone(), self.made_at)
    }
}

impl<Args: Arguments + 'static, Output: Tree + 'static> fmt::Debug
    for CustomFunction<Args, Output>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "custom function of {:?}", **self)
    }
}
