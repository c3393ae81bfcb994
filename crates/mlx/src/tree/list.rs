//! Lists of arrays as arguments: what `eval`, `concatenate` and `einsum` take.

use std::collections::{BTreeMap, btree_map, hash_map};
use std::iter::{
    Chain, Cloned, Copied, Empty, Filter, FilterMap, FlatMap, Flatten, Map, Once, Rev, Skip,
    StepBy, Take,
};

use super::{Tree, arrays};
use crate::Array;

/// Several arrays as one argument, in their order.
///
/// `[&a, &b]`, `&[a, b]`, `&vec`, `(&a, &b)`, `&x` and a reference to any [`Tree`], such as a model, all are; so are
/// arrays themselves in place of references, lists of lists, and the usual iterators of arrays.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (a, b) = (mlx::array!([1.0, 2.0]), mlx::array!([3.0]));
/// mlx::eval((&a, &b))?;
/// mlx::eval([&a, &b])?;
/// mlx::eval(&vec![a.clone(), b.clone()])?;
/// mlx::eval(&a)?;
/// assert_eq!(mlx::einsum("i,j->", &[&a, &b]).item::<f32>()?, 9.0);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of arrays",
    label = "wanted arrays: `&x`, `[&a, &b]`, `(&a, &b)`, `&vec`, `&model`",
    note = "a struct of arrays is one by reference when it derives `mlx::Tree` or `mlx_nn::Module`",
    note = "collect other iterators first: `iter.collect::<Vec<_>>()`"
)]
pub trait ArrayList {
    /// Returns the arrays; they share what they hold.
    fn into_arrays(self) -> Vec<Array>;
}

impl ArrayList for Array {
    fn into_arrays(self) -> Vec<Array> {
        vec![self]
    }
}

impl<T: Tree + ?Sized> ArrayList for &T {
    fn into_arrays(self) -> Vec<Array> {
        arrays(self).into_iter().cloned().collect()
    }
}

impl<T: Tree + ?Sized> ArrayList for &mut T {
    fn into_arrays(self) -> Vec<Array> {
        (&*self).into_arrays()
    }
}

impl<L: ArrayList, const N: usize> ArrayList for [L; N] {
    fn into_arrays(self) -> Vec<Array> {
        self.into_iter().flat_map(L::into_arrays).collect()
    }
}

impl<L: ArrayList> ArrayList for Vec<L> {
    fn into_arrays(self) -> Vec<Array> {
        self.into_iter().flat_map(L::into_arrays).collect()
    }
}

/// The parameters of a module, for example.
impl<K, L: ArrayList> ArrayList for BTreeMap<K, L> {
    fn into_arrays(self) -> Vec<Array> {
        self.into_values().flat_map(L::into_arrays).collect()
    }
}

impl<L: ArrayList> ArrayList for Option<L> {
    fn into_arrays(self) -> Vec<Array> {
        self.into_iter().flat_map(L::into_arrays).collect()
    }
}

/// Lists of references behind a reference.
macro_rules! borrowed_lists {
    ($([$($bound:tt)*] $list:ty;)*) => {$(
        impl<$($bound)*> ArrayList for $list {
            fn into_arrays(self) -> Vec<Array> {
                self.iter().map(|array| (*array).clone()).collect()
            }
        }
    )*};
}
borrowed_lists! {
    [const N: usize] &[&Array; N];
    [] &[&Array];
    [] &Vec<&Array>;
}

macro_rules! tuples {
    ($(($($t:ident $index:tt),*);)*) => {$(
        impl<$($t: ArrayList),*> ArrayList for ($($t,)*) {
            fn into_arrays(self) -> Vec<Array> {
                let mut arrays = Vec::new();
                $(arrays.extend(self.$index.into_arrays());)*
                arrays
            }
        }
    )*};
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}

/// Iterators by name: one implementation for all of them would exclude references to trees.
macro_rules! iterators {
    ($([$($param:tt)*] $iterator:ty;)*) => {$(
        impl<$($param)*> ArrayList for $iterator
        where
            $iterator: Iterator,
            <$iterator as Iterator>::Item: ArrayList,
        {
            fn into_arrays(self) -> Vec<Array> {
                self.flat_map(ArrayList::into_arrays).collect()
            }
        }
    )*};
}
iterators! {
    ['a, T] std::slice::Iter<'a, T>;
    [T] std::vec::IntoIter<T>;
    [T, const N: usize] std::array::IntoIter<T, N>;
    ['a, T] std::option::Iter<'a, T>;
    ['a, K, V] btree_map::Values<'a, K, V>;
    [K, V] btree_map::IntoValues<K, V>;
    ['a, K, V] hash_map::Values<'a, K, V>;
    [K, V] hash_map::IntoValues<K, V>;
    [I, F] Map<I, F>;
    [I, F] Filter<I, F>;
    [I, F] FilterMap<I, F>;
    [I, U: IntoIterator, F] FlatMap<I, U, F>;
    [I: Iterator<Item: IntoIterator>] Flatten<I>;
    [A, B] Chain<A, B>;
    [I] Cloned<I>;
    [I] Copied<I>;
    [I] Rev<I>;
    [I] Skip<I>;
    [I] Take<I>;
    [I] StepBy<I>;
    [T] Once<T>;
    [T] Empty<T>;
    ['a, T] Box<dyn Iterator<Item = T> + 'a>;
    [] crate::RowIter;
}
