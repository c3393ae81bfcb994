//! Which arguments a gradient is taken of, known to the compiler, so that it has their types.

use crate::tree::Arguments;
use crate::{Array, Result, Tree, tree};

/// The argument with this number, from 0: `Arg::<1>`. Several are a tuple: `(Arg::<0>, Arg::<2>)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arg<const N: usize>;

/// Arguments that have one with this number.
#[diagnostic::on_unimplemented(
    message = "there is no argument {N} in `{Self}`",
    label = "the function has fewer arguments"
)]
pub trait Nth<const N: usize>: Arguments {
    /// Its type.
    type Arg: Tree;

    /// Returns it.
    fn nth<'a>(refs: Self::Refs<'a>) -> &'a Self::Arg
    where
        Self: 'a;
}

/// The arguments that a gradient is taken of: [`Arg`], or a tuple of up to four.
pub trait Argnums<Args: Arguments> {
    /// Gradients: of the argument's type, or a tuple of such.
    type Grads: Tree;

    /// Returns the numbers of the arguments.
    fn numbers() -> Vec<usize>;

    /// Returns gradients in the form of the arguments; `arrays_of` gives those of an argument by its number.
    ///
    /// # Errors
    /// When there are more or fewer of them than the argument has.
    fn grads(
        args: Args::Refs<'_>,
        arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
    ) -> Result<Self::Grads>;
}

impl<const N: usize, Args: Nth<N>> Argnums<Args> for Arg<N> {
    type Grads = Args::Arg;

    fn numbers() -> Vec<usize> {
        vec![N]
    }

    fn grads(
        args: Args::Refs<'_>,
        arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
    ) -> Result<Self::Grads> {
        tree::rebuild(Args::nth(args), arrays_of(N))
    }
}

macro_rules! several {
    ($(($($n:ident),*);)*) => {$(
        impl<$(const $n: usize,)* Args: $(Nth<$n> +)*> Argnums<Args> for ($(Arg<$n>,)*) {
            type Grads = ($(<Args as Nth<$n>>::Arg,)*);

            fn numbers() -> Vec<usize> {
                vec![$($n),*]
            }

            fn grads(
                args: Args::Refs<'_>,
                arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
            ) -> Result<Self::Grads> {
                Ok(($(tree::rebuild(<Args as Nth<$n>>::nth(args), arrays_of($n))?,)*))
            }
        }
    )*};
}

several! {
    (I);
    (I, J);
    (I, J, K);
    (I, J, K, L);
}

macro_rules! nths {
    ($($types:tt $pattern:tt: $($index:literal $t:ident $arg:ident),*;)*) => {$(
        $(nths!(@one $types $pattern $index $t $arg);)*
    )*};
    (@one ($($t:ident),*) $pattern:tt $index:literal $arg_type:ident $arg:ident) => {
        impl<$($t: Tree),*> Nth<$index> for ($($t,)*) {
            type Arg = $arg_type;
            #[allow(unused_variables)]
            fn nth<'a>($pattern: Self::Refs<'a>) -> &'a Self::Arg
            where
                Self: 'a,
            {
                $arg
            }
        }
    };
}

nths! {
    (A) a: 0 A a;
    (A, B) (a, b): 0 A a, 1 B b;
    (A, B, C) (a, b, c): 0 A a, 1 B b, 2 C c;
    (A, B, C, D) (a, b, c, d): 0 A a, 1 B b, 2 C c, 3 D d;
    (A, B, C, D, E) (a, b, c, d, e): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e;
    (A, B, C, D, E, F) (a, b, c, d, e, f): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f;
}
