//! Loops over blocks for functions of elements of any type: the compiler makes vector instructions of them.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::strided_blocks::Block;
use crate::simd;

/// A function of one element. A type and not a closure, which would be compiled without the vector instructions.
pub(super) trait One<A, O> {
    fn of(a: A) -> O;
}

/// A function of two elements.
pub(super) trait Two<A, B, O> {
    fn of(a: A, b: B) -> O;
}

/// Writes `F::of(a)`.
pub(super) fn map<F: One<A, O>, A: Copy, O: Copy>(a: Block<'_, A>, out: &mut [O]) {
    match a {
        Block::Slice(a) => simd::dispatch(Map {
            a,
            out,
            function: PhantomData::<F>,
        }),
        Block::Scalar(a) => out.fill(F::of(a)),
    }
}

/// Writes `F::of(a, b)`.
pub(super) fn zip<F, A, B, O>(a: Block<'_, A>, b: Block<'_, B>, out: &mut [O])
where
    F: Two<A, B, O>,
    A: Copy,
    B: Copy,
    O: Copy,
{
    simd::dispatch(Zip {
        a,
        b,
        out,
        function: PhantomData::<F>,
    });
}

struct Map<'a, F, A, O> {
    a: &'a [A],
    out: &'a mut [O],
    function: PhantomData<F>,
}

impl<F: One<A, O>, A: Copy, O> WithSimd for Map<'_, F, A, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, a) in self.out.iter_mut().zip(self.a) {
            *out = F::of(*a);
        }
    }
}

struct Zip<'a, F, A, B, O> {
    a: Block<'a, A>,
    b: Block<'a, B>,
    out: &'a mut [O],
    function: PhantomData<F>,
}

impl<F: Two<A, B, O>, A: Copy, B: Copy, O: Copy> WithSimd for Zip<'_, F, A, B, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let out = self.out;
        match (self.a, self.b) {
            (Block::Slice(a), Block::Slice(b)) => {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = F::of(*a, *b);
                }
            }
            (Block::Slice(a), Block::Scalar(b)) => {
                for (out, a) in out.iter_mut().zip(a) {
                    *out = F::of(*a, b);
                }
            }
            (Block::Scalar(a), Block::Slice(b)) => {
                for (out, b) in out.iter_mut().zip(b) {
                    *out = F::of(a, *b);
                }
            }
            (Block::Scalar(a), Block::Scalar(b)) => out.fill(F::of(a, b)),
        }
    }
}
