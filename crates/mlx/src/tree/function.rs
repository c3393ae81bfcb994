//! Which Rust functions are functions of trees: those that take references to trees and return a tree.

use super::{BoxedError, Outcome, Structure, Tree};
use crate::Array;

/// The arguments of a function, as a tuple of trees: `(A,)`, `(A, B)`, up to twelve, or `()`.
pub trait Arguments: Tree + Sized {
    /// What a call is given: `&A` for one argument, `(&A, &B)` for two.
    type Refs<'a>: Copy
    where
        Self: 'a;

    /// The arguments as one tree: `A` for one argument, `(A, B)` for two.
    type Values: Tree;

    /// Returns these arguments as one tree.
    fn values(self) -> Self::Values;

    /// Returns references to these arguments.
    fn refs(&self) -> Self::Refs<'_>;

    /// Calls `visit` with each array behind the references, in the order of [`Tree::visit`].
    fn visit_refs<'a>(refs: Self::Refs<'a>, visit: &mut dyn FnMut(&'a Array))
    where
        Self: 'a;

    /// Returns owned arguments with each array replaced by what `map` gives for it, in the order of `visit`.
    fn map_refs(refs: Self::Refs<'_>, map: &mut dyn FnMut(&Array) -> Array) -> Self;

    /// Writes what [`Tree::structure`] writes for these arguments.
    fn structure_refs(refs: Self::Refs<'_>, structure: &mut Structure);

    /// Returns the number of arrays in each argument.
    fn counts(refs: Self::Refs<'_>) -> Vec<usize>;

    /// Returns for each argument whether gradients are taken of its arrays: see [`Tree::visit_trainable`].
    fn trainable(refs: Self::Refs<'_>) -> Vec<Vec<bool>>;

    /// A function of these arguments that Rust calls: `dyn Fn(&A, &B) -> Result`.
    type Callable<'f, Result: 'f>: ?Sized + 'f
    where
        Self: 'f;

    /// Returns such a function, which calls `callee`.
    fn callable<'f, Result: 'f>(
        callee: impl Callee<Self, Result> + 'f,
    ) -> Box<Self::Callable<'f, Result>>
    where
        Self: 'f;
}

/// What takes arguments as a tuple of references: what stands behind [`Arguments::Callable`].
pub trait Callee<Args: Arguments, Result> {
    /// Calls it.
    fn call_refs(&self, args: Args::Refs<'_>) -> Result;
}

/// A function or closure that takes references to trees and returns a tree, or a `Result` of one.
///
/// `Args` is the tuple of its arguments without the references; it is inferred. A closure must name the types of its
/// arguments.
///
/// ```
/// use mlx::{Array, tree::{BoxedError, Function}};
///
/// fn scale(x: &Array, weight: &Array) -> Array {
///     x * weight
/// }
/// fn call<Args: mlx::tree::Arguments, F: Function<Args>>(f: F, args: &Args) -> Result<F::Output, BoxedError> {
///     f.apply(args)
/// }
///
/// # fn main() -> Result<(), BoxedError> {
/// let (x, w) = (mlx::array!(3.0), mlx::array!(2.0));
/// assert_eq!(call(scale, &(x.clone(), w))?.item::<f32>()?, 6.0);
/// assert_eq!(call(|x: &Array| x + 1.0, &(x,))?.item::<f32>()?, 4.0);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function from references to trees to a tree",
    label = "wanted something like `|x: &Array, weight: &Array| x * weight`",
    note = "arguments are references to trees of arrays, up to twelve, and a closure must write their types",
    note = "a number is taken by reference too: `|x: &Array, scale: &f32|`, called as `f.call((&x, &0.5))`",
    note = "the result is a tree of arrays or a `Result` of one"
)]
pub trait Function<Args: Arguments> {
    /// The tree it gives.
    type Output: Tree;

    /// Calls the function with references.
    ///
    /// # Errors
    /// When the function returns one.
    fn apply_refs(&self, args: Args::Refs<'_>) -> Result<Self::Output, BoxedError>;

    /// Calls the function.
    ///
    /// # Errors
    /// When the function returns one.
    fn apply(&self, args: &Args) -> Result<Self::Output, BoxedError> {
        self.apply_refs(args.refs())
    }
}

macro_rules! functions {
    ($(($($t:ident $arg:ident),*) as $refs:ty, $pattern:tt;)*) => {$(
        impl<$($t: Tree),*> Arguments for ($($t,)*) {
            type Refs<'a> = $refs where Self: 'a;
            #[allow(unused_parens)]
            type Values = ($($t),*);

            #[allow(clippy::unused_unit)]
            fn values(self) -> Self::Values {
                let ($($arg,)*) = self;
                ($($arg),*)
            }
            #[allow(clippy::unused_unit)]
            fn refs(&self) -> Self::Refs<'_> {
                let ($($arg,)*) = self;
                ($($arg),*)
            }
            fn visit_refs<'a>($pattern: Self::Refs<'a>, _visit: &mut dyn FnMut(&'a Array))
            where
                Self: 'a,
            {
                $($arg.visit(_visit);)*
            }
            #[allow(clippy::unused_unit)]
            fn map_refs($pattern: Self::Refs<'_>, _map: &mut dyn FnMut(&Array) -> Array) -> Self {
                ($($arg.map(_map),)*)
            }
            fn structure_refs($pattern: Self::Refs<'_>, _structure: &mut Structure) {
                $($arg.structure(_structure);)*
            }
            fn counts($pattern: Self::Refs<'_>) -> Vec<usize> {
                vec![$(count($arg)),*]
            }
            fn trainable($pattern: Self::Refs<'_>) -> Vec<Vec<bool>> {
                vec![$(trainable($arg)),*]
            }

            type Callable<'f, R: 'f>
                = dyn Fn($(&$t),*) -> R + 'f
            where
                Self: 'f;

            fn callable<'f, R: 'f>(callee: impl Callee<Self, R> + 'f) -> Box<Self::Callable<'f, R>>
            where
                Self: 'f,
            {
                Box::new(move |$($arg: &$t),*| callee.call_refs($pattern))
            }
        }

        impl<Function_, Outcome_, $($t: Tree),*> Function<($($t,)*)> for Function_
        where
            Function_: Fn($(&$t),*) -> Outcome_,
            Outcome_: Outcome,
        {
            type Output = Outcome_::Tree;

            fn apply_refs(&self, $pattern: <($($t,)*) as Arguments>::Refs<'_>) -> Result<Self::Output, BoxedError> {
                self($($arg),*).outcome()
            }
        }
    )*};
}

functions! {
    () as (), ();
    (A a) as &'a A, a;
    (A a, B b) as (&'a A, &'a B), (a, b);
    (A a, B b, C c) as (&'a A, &'a B, &'a C), (a, b, c);
    (A a, B b, C c, D d) as (&'a A, &'a B, &'a C, &'a D), (a, b, c, d);
    (A a, B b, C c, D d, E e) as (&'a A, &'a B, &'a C, &'a D, &'a E), (a, b, c, d, e);
    (A a, B b, C c, D d, E e, F f) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F), (a, b, c, d, e, f);
    (A a, B b, C c, D d, E e, F f, G g) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G), (a, b, c, d, e, f, g);
    (A a, B b, C c, D d, E e, F f, G g, H h) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H), (a, b, c, d, e, f, g, h);
    (A a, B b, C c, D d, E e, F f, G g, H h, I i) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H, &'a I), (a, b, c, d, e, f, g, h, i);
    (A a, B b, C c, D d, E e, F f, G g, H h, I i, J j) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H, &'a I, &'a J), (a, b, c, d, e, f, g, h, i, j);
    (A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H, &'a I, &'a J, &'a K), (a, b, c, d, e, f, g, h, i, j, k);
    (A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l) as (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H, &'a I, &'a J, &'a K, &'a L), (a, b, c, d, e, f, g, h, i, j, k, l);
}

/// Returns the number of arrays in a tree.
fn count<T: Tree>(tree: &T) -> usize {
    let mut count = 0;
    tree.visit(&mut |_| count += 1);
    count
}

/// Returns for each array of a tree whether a gradient is taken of it.
fn trainable<T: Tree>(tree: &T) -> Vec<bool> {
    let mut flags = Vec::new();
    tree.visit_trainable(&mut |_, trainable| flags.push(trainable));
    flags
}
