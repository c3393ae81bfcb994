//! Which arguments a gradient is taken of, known to the compiler, so that it has their types.

use crate::tree::Arguments;
use crate::{Array, Error, Result, Tree, tree};

const NAME: &str = "grad";

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

/// The arguments that a gradient is taken of: [`Arg`], or a tuple of up to four; or their numbers, as in Python: `1`,
/// `[0, 2]`.
///
/// Numbers are for arguments that are one array each; trees want [`Arg`], which has their types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which arguments a gradient is taken of",
    label = "wanted `1`, `[0, 2]`, `Arg::<1>` or `(Arg::<0>, Arg::<2>)`"
)]
pub trait Argnums<Args: Arguments> {
    /// Gradients: of the argument's type, or a tuple of such.
    type Grads: Tree;

    /// Returns the numbers of the arguments.
    ///
    /// # Errors
    /// When one is negative.
    fn numbers(&self) -> Result<Vec<usize>>;

    /// Returns gradients in the form of the arguments; `arrays_of` gives those of an argument by its number.
    ///
    /// # Errors
    /// When there are more or fewer of them than the argument has.
    fn grads(
        &self,
        args: Args::Refs<'_>,
        arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
    ) -> Result<Self::Grads>;
}

impl<const N: usize, Args: Nth<N>> Argnums<Args> for Arg<N> {
    type Grads = Args::Arg;

    fn numbers(&self) -> Result<Vec<usize>> {
        Ok(vec![N])
    }

    fn grads(
        &self,
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

            fn numbers(&self) -> Result<Vec<usize>> {
                Ok(vec![$($n),*])
            }

            fn grads(
                &self,
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

/// Numbers behind a reference: `argnums(&[0, 2])`.
impl<Args: Arguments, N: Argnums<Args> + ?Sized> Argnums<Args> for &N {
    type Grads = N::Grads;

    fn numbers(&self) -> Result<Vec<usize>> {
        N::numbers(self)
    }

    fn grads(
        &self,
        args: Args::Refs<'_>,
        arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
    ) -> Result<Self::Grads> {
        N::grads(self, args, arrays_of)
    }
}

impl<Args: Arguments> Argnums<Args> for i32 {
    type Grads = Array;

    fn numbers(&self) -> Result<Vec<usize>> {
        Ok(vec![number(*self)?])
    }

    fn grads(
        &self,
        _: Args::Refs<'_>,
        arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
    ) -> Result<Self::Grads> {
        single(*self, arrays_of)
    }
}

macro_rules! numbered {
    ($($len:literal $grads:ty: $($index:literal)*;)*) => {$(
        impl<Args: Arguments> Argnums<Args> for [i32; $len] {
            type Grads = $grads;

            fn numbers(&self) -> Result<Vec<usize>> {
                self.iter().map(|&one| number(one)).collect()
            }

            fn grads(
                &self,
                _: Args::Refs<'_>,
                arrays_of: &mut dyn FnMut(usize) -> Vec<Array>,
            ) -> Result<Self::Grads> {
                Ok(($(single(self[$index], arrays_of)?,)*))
            }
        }
    )*};
}

numbered! {
    1 (Array,): 0;
    2 (Array, Array): 0 1;
    3 (Array, Array, Array): 0 1 2;
    4 (Array, Array, Array, Array): 0 1 2 3;
}

/// Returns the number of an argument.
fn number(argnum: i32) -> Result<usize> {
    usize::try_from(argnum).map_err(|_| {
        Error::op(
            NAME,
            format!("wanted the number of an argument, got {argnum}"),
        )
    })
}

/// Returns the gradient of an argument that is one array.
fn single(argnum: i32, arrays_of: &mut dyn FnMut(usize) -> Vec<Array>) -> Result<Array> {
    let arrays = arrays_of(number(argnum)?);
    match arrays.as_slice() {
        [array] => Ok(array.clone()),
        _ => Err(Error::op(
            NAME,
            format!(
                "wanted argument {argnum} to be an array, got a tree of {}; Arg::<{argnum}> takes trees",
                arrays.len()
            ),
        )),
    }
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
    (A, B, C, D, E, F, G) (a, b, c, d, e, f, g): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g;
    (A, B, C, D, E, F, G, H) (a, b, c, d, e, f, g, h): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h;
    (A, B, C, D, E, F, G, H, I) (a, b, c, d, e, f, g, h, i): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i;
    (A, B, C, D, E, F, G, H, I, J) (a, b, c, d, e, f, g, h, i, j): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j;
    (A, B, C, D, E, F, G, H, I, J, K) (a, b, c, d, e, f, g, h, i, j, k): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j, 10 K k;
    (A, B, C, D, E, F, G, H, I, J, K, L) (a, b, c, d, e, f, g, h, i, j, k, l): 0 A a, 1 B b, 2 C c, 3 D d, 4 E e, 5 F f, 6 G g, 7 H h, 8 I i, 9 J j, 10 K k, 11 L l;
}
