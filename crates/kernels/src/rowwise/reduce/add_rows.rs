//! Adding rows to a row of results, four at once: the results are read and written once for these.

use half::bf16;
use pulp::{Simd, WithSimd};

use super::{Reduction, max_or_nan, min_or_nan};
use crate::element::Element;
use crate::simd;

/// Combines `to.len()` columns, from `column` on, of rows of `inner` elements with what is in `to`.
pub(super) fn add_rows<T: Element>(
    reduction: Reduction,
    rows: &[T],
    inner: usize,
    column: usize,
    to: &mut [f32],
    scratch: &mut [f32],
) {
    let width = to.len();
    let part = |row: usize| row * inner + column..row * inner + column + width;
    let n_rows = rows.len() / inner;
    if let Some(x) = T::as_bf16(rows) {
        for row in (0..n_rows).step_by(4) {
            let rows = std::array::from_fn(|k| (row + k < n_rows).then(|| &x[part(row + k)]));
            simd::dispatch(CombineFour::<bf16> {
                reduction,
                rows,
                to,
            });
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let (Some(x), pulp::Arch::V4(simd), Reduction::Sum | Reduction::Mean) =
        (T::as_f16(rows), simd::arch(), reduction)
    {
        for row in (0..n_rows).step_by(4) {
            let rows = std::array::from_fn(|k| (row + k < n_rows).then(|| &x[part(row + k)]));
            simd.vectorize(avx512::AddF16 { simd, rows, to });
        }
        return;
    }
    if T::IS_F32 {
        let x = T::read(rows, &mut []);
        for row in (0..n_rows).step_by(4) {
            let rows = std::array::from_fn(|k| (row + k < n_rows).then(|| &x[part(row + k)]));
            simd::dispatch(CombineFour::<f32> {
                reduction,
                rows,
                to,
            });
        }
        return;
    }
    for row in 0..n_rows {
        let x = T::read(&rows[part(row)], scratch);
        simd::dispatch(Combine { reduction, x, to });
    }
}

/// Combines numbers with others, element by element.
pub(super) struct Combine<'a> {
    pub(super) reduction: Reduction,
    pub(super) x: &'a [f32],
    pub(super) to: &'a mut [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { reduction, x, to } = self;
        CombineFour::<f32> {
            reduction,
            rows: [Some(x), None, None, None],
            to,
        }
        .with_simd(simd);
    }
}

/// Numbers that become `f32` by a shift at most.
trait Wide: Copy {
    fn wide(self) -> f32;
}

impl Wide for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

impl Wide for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// Combines up to four rows with a row of results; those that are not there come last.
struct CombineFour<'a, T> {
    reduction: Reduction,
    rows: [Option<&'a [T]>; 4],
    to: &'a mut [f32],
}

impl<T: Wide> WithSimd for CombineFour<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            reduction,
            rows,
            to,
        } = self;
        match reduction {
            Reduction::Sum | Reduction::Mean => combine(rows, to, |a, b| a + b),
            Reduction::Max => combine(rows, to, max_or_nan),
            Reduction::Min => combine(rows, to, min_or_nan),
        }
    }
}

/// Plain loops, which the compiler vectorizes.
#[inline(always)]
fn combine<T: Wide>(rows: [Option<&[T]>; 4], to: &mut [f32], of: impl Fn(f32, f32) -> f32) {
    if let [Some(a), Some(b), Some(c), Some(d)] = rows {
        let pairs = a.iter().zip(b).zip(c.iter().zip(d));
        for (to, ((a, b), (c, d))) in to.iter_mut().zip(pairs) {
            *to = of(*to, of(of(a.wide(), b.wide()), of(c.wide(), d.wide())));
        }
        return;
    }
    for row in rows.into_iter().flatten() {
        for (to, x) in to.iter_mut().zip(row) {
            *to = of(*to, x.wide());
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use half::f16;
    use pulp::NullaryFnOnce;
    use pulp::bytemuck::cast;
    use pulp::x86::V4;

    /// Adds up to four rows of half precision, which an instruction converts.
    pub(super) struct AddF16<'a> {
        pub(super) simd: V4,
        pub(super) rows: [Option<&'a [f16]>; 4],
        pub(super) to: &'a mut [f32],
    }

    impl NullaryFnOnce for AddF16<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { simd, rows, to } = self;
            let f = simd.avx512f;
            let wide = |x: &[f16; 16]| f._mm512_cvtph_ps(cast(x.map(f16::to_bits)));
            if let [Some(a), Some(b), Some(c), Some(d)] = rows {
                let (to, to_tail) = to.as_chunks_mut::<16>();
                let [a, b, c, d] = [a, b, c, d].map(|row| row.as_chunks::<16>());
                let pairs = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
                for (to, ((a, b), (c, d))) in to.iter_mut().zip(pairs) {
                    let (ab, cd) = (
                        f._mm512_add_ps(wide(a), wide(b)),
                        f._mm512_add_ps(wide(c), wide(d)),
                    );
                    *to = cast(f._mm512_add_ps(cast(*to), f._mm512_add_ps(ab, cd)));
                }
                for (k, to) in to_tail.iter_mut().enumerate() {
                    let [a, b, c, d] = [a.1[k], b.1[k], c.1[k], d.1[k]].map(f16::to_f32);
                    *to += (a + b) + (c + d);
                }
                return;
            }
            for row in rows.into_iter().flatten() {
                let (to, to_tail) = to.as_chunks_mut::<16>();
                let (row, tail) = row.as_chunks::<16>();
                for (to, x) in to.iter_mut().zip(row) {
                    *to = cast(f._mm512_add_ps(cast(*to), wide(x)));
                }
                for (to, x) in to_tail.iter_mut().zip(tail) {
                    *to += x.to_f32();
                }
            }
        }
    }
}
