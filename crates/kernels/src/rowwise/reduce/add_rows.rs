//! Adding rows to a row of results, four at once: the results are read and written once for these.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::{Reduction, max_or_nan, min_or_nan};
use crate::element::Element;
use crate::simd;
use crate::simd::f16_to_f32::f16_to_f32_by_shifts;
use crate::simd::half_lanes::HalfLanes;
use crate::simd::lanes::Lanes;

/// Combines `to.len()` columns, from `column` on, of rows of `inner` elements with what is in `to`.
pub(super) fn add_rows<T: Element>(
    reduction: Reduction,
    rows: &[T],
    inner: usize,
    column: usize,
    to: &mut [f32],
    scratch: &mut [f32],
) {
    if let Some(rows) = T::as_bf16(rows) {
        return combine_rows(reduction, rows, inner, column, to);
    }
    if let Some(rows) = T::as_f16(rows)
        && has_f16_registers(reduction)
    {
        return combine_rows(reduction, rows, inner, column, to);
    }
    if T::IS_F32 {
        let rows = T::read(rows, &mut []);
        return combine_rows(reduction, rows, inner, column, to);
    }
    for row in rows.chunks_exact(inner) {
        let x = T::read(&row[column..column + to.len()], scratch);
        simd::dispatch(Combine { reduction, x, to });
    }
}

/// Whether half precision of 5 bits of exponent is loaded by an instruction, and not bit by bit.
fn has_f16_registers(reduction: Reduction) -> bool {
    simd::f32_lanes() == 16 && matches!(reduction, Reduction::Sum | Reduction::Mean)
}

/// Four rows at once.
fn combine_rows<T: Wide>(
    reduction: Reduction,
    rows: &[T],
    inner: usize,
    column: usize,
    to: &mut [f32],
) {
    let width = to.len();
    let part = |row: usize| row * inner + column..row * inner + column + width;
    let n_rows = rows.len() / inner;
    for row in (0..n_rows).step_by(4) {
        let rows = std::array::from_fn(|k| (row + k < n_rows).then(|| &rows[part(row + k)]));
        simd::dispatch(CombineFour {
            reduction,
            rows,
            to,
        });
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

/// Numbers that are added as `f32`.
trait Wide: Copy {
    fn wide(self) -> f32;
    /// As many numbers as a register has lanes.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S>;
}

impl Wide for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        Lanes::new(simd, S::as_simd_f32s(from).0[0])
    }
}

impl Wide for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        HalfLanes::load(simd, from)
    }
}

impl Wide for f16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f16_to_f32_by_shifts(self)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        HalfLanes::load(simd, from)
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
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            reduction,
            rows,
            to,
        } = self;
        match reduction {
            Reduction::Sum | Reduction::Mean => add(simd, rows, to),
            Reduction::Max => combine(rows, to, max_or_nan),
            Reduction::Min => combine(rows, to, min_or_nan),
        }
    }
}

/// Sums, a register of columns at a time.
#[inline(always)]
fn add<S: Simd, T: Wide>(simd: S, rows: [Option<&[T]>; 4], to: &mut [f32]) {
    let n = S::F32_LANES;
    if let [Some(a), Some(b), Some(c), Some(d)] = rows {
        let whole = to.len() / n * n;
        let (body, _) = S::as_mut_simd_f32s(&mut to[..whole]);
        let pairs = a.chunks_exact(n).zip(b.chunks_exact(n));
        let pairs = pairs.zip(c.chunks_exact(n).zip(d.chunks_exact(n)));
        for (to, ((a, b), (c, d))) in body.iter_mut().zip(pairs) {
            let ab = T::load(simd, a) + T::load(simd, b);
            let cd = T::load(simd, c) + T::load(simd, d);
            *to = (Lanes::new(simd, *to) + (ab + cd)).value;
        }
        for (k, to) in to.iter_mut().enumerate().skip(whole) {
            let (ab, cd) = (a[k].wide() + b[k].wide(), c[k].wide() + d[k].wide());
            *to += ab + cd;
        }
        return;
    }
    for row in rows.into_iter().flatten() {
        let (body, tail) = S::as_mut_simd_f32s(to);
        let (row, rest) = row.split_at(body.len() * n);
        for (to, x) in body.iter_mut().zip(row.chunks_exact(n)) {
            *to = (Lanes::new(simd, *to) + T::load(simd, x)).value;
        }
        for (to, x) in tail.iter_mut().zip(rest) {
            *to += x.wide();
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
