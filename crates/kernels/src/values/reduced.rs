//! Reductions, places of extremes, and scans.

use half::{bf16, f16};
use pulp::bytemuck::{Pod, Zeroable};

use super::by_type::{by_integer, by_number, elements, elements_mut, unknown};
use crate::element::Element;
use crate::element_type::ElementType;
use crate::error::{Error, Result};
use crate::rowwise::{
    Compare, Factor, Fold, FoldAll, FoldAllFloat, FoldAny, FoldAnyFloat, FoldComplexSum,
    FoldFloatMax, FoldFloatMin, FoldFloatSum, FoldIntegerProduct, FoldMax, FoldMin, FoldProduct,
    FoldSum, ReduceShape, Reduction, Scan, ScanIntegerMax, ScanIntegerMin, ScanIntegerProduct,
    ScanIntegerSum, ScanLogAddExp, ScanMax, ScanMin, ScanOrder, ScanProduct, ScanSum, Whole,
    arg_reduce, fold, reduce, scan,
};

/// A reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FoldKind {
    /// The sum; of integers in 32 bits at least.
    Sum,
    /// The product; of integers in 32 bits at least.
    Product,
    /// The maximum; NaN if one element is.
    Max,
    /// The minimum; NaN if one element is.
    Min,
    /// Whether one element is not zero, as a byte.
    Any,
    /// Whether no element is zero, as a byte.
    All,
}

/// A scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScanKind {
    /// Sums; of integers in their own type.
    Sum,
    /// Products; of integers in their own type.
    Product,
    /// Maxima; NaN from the first one on.
    Max,
    /// Minima; NaN from the first one on.
    Min,
    /// Logarithms of sums of exponentials, of floating numbers.
    LogAddExp,
}

/// Writes a reduction over the middle axis of the first shape, of that over the middle axis of the second, and so on: see
/// [`reduce`] and [`fold`]. Sums of floating numbers are `f32` between two of them.
///
/// # Errors
/// When lengths do not match the shapes, or the type is not taken: products of floating numbers are of one shape.
pub fn fold_values(
    kind: FoldKind,
    of: ElementType,
    shapes: &[ReduceShape],
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let reduction = match kind {
        FoldKind::Sum => Some(Reduction::Sum),
        FoldKind::Max => Some(Reduction::Max),
        FoldKind::Min => Some(Reduction::Min),
        _ => None,
    };
    match (of, reduction) {
        _ if matches!(kind, FoldKind::Any | FoldKind::All) => logical(kind, of, shapes, x, out),
        (ElementType::F32, Some(reduction)) => floats::<f32>(reduction, shapes, x, out),
        (ElementType::F16, Some(reduction)) => floats::<f16>(reduction, shapes, x, out),
        (ElementType::Bf16, Some(reduction)) => floats::<bf16>(reduction, shapes, x, out),
        (ElementType::F64, _) => doubles(kind, shapes, x, out),
        (ElementType::C64, _) => complex(kind, shapes, x, out),
        (ElementType::F32, None) => product::<f32>(shapes, x, out),
        (ElementType::F16, None) => product::<f16>(shapes, x, out),
        (ElementType::Bf16, None) => product::<bf16>(shapes, x, out),
        _ if matches!(kind, FoldKind::Sum | FoldKind::Product) => added(kind, of, shapes, x, out),
        _ => by_integer!("reduce", of, whole(kind, shapes, x, out)),
    }
}

/// The first shape, and those of what is left.
fn split(shapes: &[ReduceShape]) -> Result<(ReduceShape, &[ReduceShape])> {
    let (first, rest) = shapes.split_first().ok_or(Error::Parameter {
        op: "reduce",
        what: "the number of shapes",
        wanted: "at least 1",
        got: 0,
    })?;
    Ok((*first, rest))
}

fn floats<T: Element + Pod>(
    reduction: Reduction,
    shapes: &[ReduceShape],
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let (x, out) = (elements::<T>(x)?, elements_mut::<T>(out)?);
    let (first, rest) = split(shapes)?;
    let Some((last, middle)) = rest.split_last() else {
        return reduce(reduction, first, x, out);
    };
    let mut partial = vec![0.0_f32; first.outer * first.inner];
    reduce(reduction, first, x, &mut partial)?;
    for shape in middle {
        let mut next = vec![0.0_f32; shape.outer * shape.inner];
        reduce(reduction, *shape, &partial, &mut next)?;
        partial = next;
    }
    reduce(reduction, *last, &partial, out)
}

fn doubles(kind: FoldKind, shapes: &[ReduceShape], x: &[u8], out: &mut [u8]) -> Result<()> {
    match kind {
        FoldKind::Sum => folded::<FoldFloatSum<f64>, FoldFloatSum<f64>>(shapes, x, out),
        FoldKind::Product => folded::<FoldProduct<f64>, FoldProduct<f64>>(shapes, x, out),
        FoldKind::Max => folded::<FoldFloatMax<f64>, FoldFloatMax<f64>>(shapes, x, out),
        _ => folded::<FoldFloatMin<f64>, FoldFloatMin<f64>>(shapes, x, out),
    }
}

/// Sums, rounded to `f32` between two shapes.
fn complex(kind: FoldKind, shapes: &[ReduceShape], x: &[u8], out: &mut [u8]) -> Result<()> {
    match kind {
        FoldKind::Sum => folded::<FoldComplexSum, FoldComplexSum>(shapes, x, out),
        _ => Err(unknown("reduce", ElementType::C64)),
    }
}

fn product<T: Factor + Pod>(shapes: &[ReduceShape], x: &[u8], out: &mut [u8]) -> Result<()> {
    match shapes {
        [shape] => fold::<FoldProduct<T>>(*shape, elements(x)?, elements_mut(out)?),
        _ => Err(Error::Parameter {
            op: "prod",
            what: "the number of shapes",
            wanted: "1",
            got: shapes.len(),
        }),
    }
}

/// Sums and products of integers, which wrap around: of those that are not widened only the bits matter.
fn added(
    kind: FoldKind,
    of: ElementType,
    shapes: &[ReduceShape],
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    fn typed<T: Whole<Sum: Whole<Sum = T::Sum> + Pod> + Pod>(
        kind: FoldKind,
        shapes: &[ReduceShape],
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        if kind == FoldKind::Sum {
            folded::<FoldSum<T>, FoldSum<T::Sum>>(shapes, x, out)
        } else {
            folded::<FoldIntegerProduct<T>, FoldIntegerProduct<T::Sum>>(shapes, x, out)
        }
    }
    match of {
        ElementType::I8 => typed::<i8>(kind, shapes, x, out),
        ElementType::I16 => typed::<i16>(kind, shapes, x, out),
        ElementType::Bool | ElementType::U8 => typed::<u8>(kind, shapes, x, out),
        ElementType::U16 => typed::<u16>(kind, shapes, x, out),
        ElementType::I32 | ElementType::U32 => typed::<u32>(kind, shapes, x, out),
        ElementType::I64 | ElementType::U64 => typed::<u64>(kind, shapes, x, out),
        _ => Err(unknown("reduce", of)),
    }
}

/// Extremes of integers.
fn whole<T: Whole + Pod>(
    kind: FoldKind,
    shapes: &[ReduceShape],
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    match kind {
        FoldKind::Max => folded::<FoldMax<T>, FoldMax<T>>(shapes, x, out),
        _ => folded::<FoldMin<T>, FoldMin<T>>(shapes, x, out),
    }
}

/// Of bits: those of floating numbers without their sign, which is the highest one.
fn logical(
    kind: FoldKind,
    of: ElementType,
    shapes: &[ReduceShape],
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    fn whole<T: Whole + Pod>(
        kind: FoldKind,
        shapes: &[ReduceShape],
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        if kind == FoldKind::Any {
            folded::<FoldAny<T>, FoldAny<u8>>(shapes, x, out)
        } else {
            folded::<FoldAll<T>, FoldAll<u8>>(shapes, x, out)
        }
    }
    fn float<T: Whole + Pod>(
        kind: FoldKind,
        shapes: &[ReduceShape],
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        if kind == FoldKind::Any {
            folded::<FoldAnyFloat<T>, FoldAny<u8>>(shapes, x, out)
        } else {
            folded::<FoldAllFloat<T>, FoldAll<u8>>(shapes, x, out)
        }
    }
    match of {
        ElementType::F32 => float::<i32>(kind, shapes, x, out),
        ElementType::F64 => float::<i64>(kind, shapes, x, out),
        ElementType::F16 | ElementType::Bf16 => float::<i16>(kind, shapes, x, out),
        ElementType::Bool | ElementType::I8 | ElementType::U8 => whole::<u8>(kind, shapes, x, out),
        ElementType::I16 | ElementType::U16 => whole::<u16>(kind, shapes, x, out),
        ElementType::I32 | ElementType::U32 => whole::<u32>(kind, shapes, x, out),
        ElementType::I64 | ElementType::U64 => whole::<u64>(kind, shapes, x, out),
        ElementType::C64 => Err(unknown("any", of)),
    }
}

/// A first fold, and another one of its results for each further shape.
fn folded<First, Next>(shapes: &[ReduceShape], x: &[u8], out: &mut [u8]) -> Result<()>
where
    First: Fold<In: Pod, Out: Pod>,
    Next: Fold<In = First::Out, Out = First::Out>,
{
    let (x, out) = (elements::<First::In>(x)?, elements_mut::<First::Out>(out)?);
    let (first, rest) = split(shapes)?;
    let Some((last, middle)) = rest.split_last() else {
        return fold::<First>(first, x, out);
    };
    let mut partial = vec![First::Out::zeroed(); first.outer * first.inner];
    fold::<First>(first, x, &mut partial)?;
    for shape in middle {
        let mut next = vec![First::Out::zeroed(); shape.outer * shape.inner];
        fold::<Next>(*shape, &partial, &mut next)?;
        partial = next;
    }
    fold::<Next>(*last, &partial, out)
}

/// Writes where the maximum over the middle axis is, or the minimum, as `u32`: see [`arg_reduce`].
///
/// # Errors
/// When a length does not match the shape, or there is nothing to find.
pub fn arg_reduce_values(
    is_max: bool,
    of: ElementType,
    shape: ReduceShape,
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    fn typed<T: Compare + Pod>(
        is_max: bool,
        shape: ReduceShape,
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        arg_reduce(is_max, shape, elements::<T>(x)?, elements_mut(out)?)
    }
    by_number!("argmax", of, typed | typed(is_max, shape, x, out))
}

/// Writes a scan along the middle axis: see [`scan`].
///
/// # Errors
/// When a length does not match the shape, or the type is not taken.
pub fn scan_values(
    kind: ScanKind,
    of: ElementType,
    order: ScanOrder,
    shape: ReduceShape,
    x: &[u8],
    out: &mut [u8],
) -> Result<()> {
    fn run<K: Scan>(order: ScanOrder, shape: ReduceShape, x: &[u8], out: &mut [u8]) -> Result<()> {
        scan::<K>(order, shape, elements(x)?, elements_mut(out)?)
    }
    fn floats<T: Factor + Pod>(
        kind: ScanKind,
        order: ScanOrder,
        shape: ReduceShape,
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        match kind {
            ScanKind::Sum => run::<ScanSum<T>>(order, shape, x, out),
            ScanKind::Product => run::<ScanProduct<T>>(order, shape, x, out),
            ScanKind::Max => run::<ScanMax<T>>(order, shape, x, out),
            ScanKind::Min => run::<ScanMin<T>>(order, shape, x, out),
            ScanKind::LogAddExp => run::<ScanLogAddExp<T>>(order, shape, x, out),
        }
    }
    fn integers<T: Whole>(
        kind: ScanKind,
        order: ScanOrder,
        shape: ReduceShape,
        x: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        match kind {
            ScanKind::Sum => run::<ScanIntegerSum<T>>(order, shape, x, out),
            ScanKind::Product => run::<ScanIntegerProduct<T>>(order, shape, x, out),
            ScanKind::Max => run::<ScanIntegerMax<T>>(order, shape, x, out),
            ScanKind::Min => run::<ScanIntegerMin<T>>(order, shape, x, out),
            ScanKind::LogAddExp => Err(Error::Parameter {
                op: "scan",
                what: "the type of elements",
                wanted: "floating numbers",
                got: size_of::<T>(),
            }),
        }
    }
    by_number!("scan", of, floats | integers(kind, order, shape, x, out))
}
