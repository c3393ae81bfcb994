//! What products with Jacobians are taken at: references to the arguments, or lists of arrays as in Python.

use crate::tree::{Arguments, arrays};
use crate::{Array, Tree};

/// The arguments of a function of `Args`: `&x`, `(&x, &y)`; or a list of its arrays, `&[&x, &y]`, which gives lists.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no arguments of a function of `{Args}`",
    label = "wanted `&x` for one argument, `(&x, &y)` for two, or `&[&x, &y]` where all are arrays"
)]
pub trait Primals<'a, Args: Arguments + 'a> {
    /// What the function gives: its output, or a list of the arrays in it.
    type Outputs<O: Tree>;

    /// What the products are in: the arguments as one tree, or a list of arrays.
    type Products;

    /// Returns references to the arguments.
    fn refs(self) -> Args::Refs<'a>;

    /// Returns an output of the function in this form.
    fn outputs<O: Tree>(output: O) -> Self::Outputs<O>;

    /// Returns products for the arguments in this form.
    fn products(products: Args) -> Self::Products;
}

/// What an output is multiplied with: a tree of its form, or a list of its arrays.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no cotangents of an output `{Output}`",
    label = "wanted a reference to a tree of the output's form, or a list of arrays"
)]
pub trait Cotangents<Output> {
    /// Returns the arrays.
    fn arrays(self) -> Vec<Array>;
}

impl<Output: Tree> Cotangents<Output> for &Output {
    fn arrays(self) -> Vec<Array> {
        arrays(self).into_iter().cloned().collect()
    }
}

impl<const N: usize> Cotangents<Array> for &[&Array; N] {
    fn arrays(self) -> Vec<Array> {
        self.iter().map(|&array| array.clone()).collect()
    }
}

impl<const N: usize> Cotangents<Array> for [&Array; N] {
    fn arrays(self) -> Vec<Array> {
        self.iter().map(|&array| array.clone()).collect()
    }
}

impl<const N: usize> Cotangents<Array> for &[Array; N] {
    fn arrays(self) -> Vec<Array> {
        self.to_vec()
    }
}

/// References to arguments.
macro_rules! references {
    ($(($($t:ident),*) $refs:ty;)*) => {$(
        impl<'a, $($t: Tree),*> Primals<'a, ($($t,)*)> for $refs
        where
            ($($t,)*): Arguments<Refs<'a> = $refs> + 'a,
        {
            type Outputs<O: Tree> = O;
            type Products = <($($t,)*) as Arguments>::Values;

            fn refs(self) -> $refs {
                self
            }

            fn outputs<O: Tree>(output: O) -> O {
                output
            }

            fn products(products: ($($t,)*)) -> Self::Products {
                products.values()
            }
        }
    )*};
}
references! {
    (A) &'a A;
    (A, B) (&'a A, &'a B);
    (A, B, C) (&'a A, &'a B, &'a C);
    (A, B, C, D) (&'a A, &'a B, &'a C, &'a D);
    (A, B, C, D, E) (&'a A, &'a B, &'a C, &'a D, &'a E);
    (A, B, C, D, E, F) (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F);
    (A, B, C, D, E, F, G) (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G);
    (A, B, C, D, E, F, G, H) (&'a A, &'a B, &'a C, &'a D, &'a E, &'a F, &'a G, &'a H);
}

/// A reference to a reference, as a borrowed argument of a function gives it.
impl<'a> Primals<'a, (Array,)> for &'a &Array {
    type Outputs<O: Tree> = O;
    type Products = Array;

    fn refs(self) -> &'a Array {
        self
    }

    fn outputs<O: Tree>(output: O) -> O {
        output
    }

    fn products((product,): (Array,)) -> Array {
        product
    }
}

/// Lists of arrays, for functions whose arguments all are arrays.
macro_rules! lists {
    ($($len:literal $args:ty: $list:ident => $refs:expr;)*) => {$(
        lists!(@one $len $args, &'a [Array; $len], $list => $refs);
        lists!(@one $len $args, &[&'a Array; $len], $list => $refs);
        lists!(@one $len $args, [&'a Array; $len], $list => $refs);
    )*};
    (@one $len:literal $args:ty, $given:ty, $list:ident => $refs:expr) => {
        #[allow(clippy::needless_borrow, clippy::borrow_deref_ref)]
        impl<'a> Primals<'a, $args> for $given {
            type Outputs<O: Tree> = Vec<Array>;
            type Products = Vec<Array>;

            fn refs(self) -> <$args as Arguments>::Refs<'a> {
                let $list = self;
                $refs
            }

            fn outputs<O: Tree>(output: O) -> Vec<Array> {
                arrays(&output).into_iter().cloned().collect()
            }

            fn products(products: $args) -> Vec<Array> {
                arrays(&products).into_iter().cloned().collect()
            }
        }
    };
}
lists! {
    1 (Array,): list => &list[0];
    2 (Array, Array): list => (&list[0], &list[1]);
    3 (Array, Array, Array): list => (&list[0], &list[1], &list[2]);
    4 (Array, Array, Array, Array): list => (&list[0], &list[1], &list[2], &list[3]);
}
