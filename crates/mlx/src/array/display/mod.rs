//! How an array prints: as NumPy prints it, with dtype and shape, and abbreviated when it is large.

mod layout;
mod notebook;
mod words;

use std::fmt;

use super::{Array, State};
use crate::{ArrayType, Dtype, Result};
use layout::Layout;

/// Arrays with more elements are abbreviated.
const THRESHOLD: usize = 1000;
/// How many elements stay at each end of an abbreviated axis.
const EDGE: usize = 3;
/// The maximum number of characters in a line.
const WIDTH: usize = 75;
/// Digits after the point at most, unless the format says another number.
const PRECISION: usize = 8;

/// What of an array is printed: the ends of each axis, as text.
struct Formatted {
    array_type: ArrayType,
    layout: Layout,
}

/// Prints as NumPy does, with dtype and shape at the end. Computes the array; `{:.3}` limits digits after the point.
///
/// Arrays of more than 1000 elements are abbreviated to three at each end of an axis, and only those are copied.
/// An array that carries an error or cannot be computed prints the error, a traced one its type.
///
/// ```
/// let x = mlx::array!([[1.0, 2.5], [-3.0, 4.0]]);
/// assert_eq!(x.to_string(), "array([[ 1. ,  2.5],\n       [-3. ,  4. ]], float32[2, 2])");
/// ```
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match formatted(self, f.precision().unwrap_or(PRECISION)) {
            Ok(shown) => f.write_str(&shown.to_text()),
            Err(text) => f.write_str(&text),
        }
    }
}

/// Prints what `Display` prints.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns what is to be printed, or a line that says why there is nothing.
fn formatted(array: &Array, precision: usize) -> std::result::Result<Formatted, String> {
    let array_type = match &array.state {
        State::Failed(error) => return Err(format!("Array(failed {error})")),
        State::Traced(traced) => {
            return Err(format!("Array(traced {})", ArrayType::of(&traced.shadow)));
        }
        State::Ready(handle) => ArrayType::of(handle),
    };
    match layout(array, &array_type, precision) {
        Ok(layout) => Ok(Formatted { array_type, layout }),
        Err(error) => Err(format!("Array({array_type} failed {error})")),
    }
}

fn layout(array: &Array, array_type: &ArrayType, precision: usize) -> Result<Layout> {
    let mut shape: Vec<usize> = array_type
        .shape
        .iter()
        .map(|&n| usize::try_from(n).unwrap_or(0))
        .collect();
    let is_long = shape.iter().product::<usize>() > THRESHOLD;
    let skips: Vec<bool> = shape.iter().map(|&n| is_long && n > 2 * EDGE).collect();
    // The longest axes first: what is left to copy shrinks the most.
    let mut order: Vec<usize> = (0..shape.len()).filter(|&axis| skips[axis]).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(shape[axis]));
    let mut part = array.clone();
    for axis in order {
        let ends = [0, 1, 2, -3, -2, -1];
        part = part.take(Array::new(ends), i32::try_from(axis).unwrap_or(i32::MAX));
        shape[axis] = 2 * EDGE;
    }
    Ok(Layout {
        shape,
        skips,
        words: words_of(&part, array_type.dtype, precision)?,
    })
}

fn words_of(part: &Array, dtype: Dtype, precision: usize) -> Result<Vec<String>> {
    use half::{bf16, f16};
    Ok(match dtype {
        Dtype::Bool => words::truths(&part.to_vec::<bool>()?, part.ndim()?),
        Dtype::Uint8 => words::whole(&part.to_vec::<u8>()?),
        Dtype::Uint16 => words::whole(&part.to_vec::<u16>()?),
        Dtype::Uint32 => words::whole(&part.to_vec::<u32>()?),
        Dtype::Uint64 => words::whole(&part.to_vec::<u64>()?),
        Dtype::Int8 => words::whole(&part.to_vec::<i8>()?),
        Dtype::Int16 => words::whole(&part.to_vec::<i16>()?),
        Dtype::Int32 => words::whole(&part.to_vec::<i32>()?),
        Dtype::Int64 => words::whole(&part.to_vec::<i64>()?),
        Dtype::Float16 => words::real(&part.to_vec::<f16>()?, precision),
        Dtype::Bfloat16 => words::real(&part.to_vec::<bf16>()?, precision),
        Dtype::Float32 => words::real(&part.to_vec::<f32>()?, precision),
        Dtype::Float64 => words::real(&part.to_vec::<f64>()?, precision),
        Dtype::Complex64 => words::complex(&part.to_vec::<crate::Complex64>()?, precision),
    })
}

impl Formatted {
    fn to_text(&self) -> String {
        const OPEN: &str = "array(";
        let body = self.layout.to_text(OPEN.len(), WIDTH - 1);
        let last_line = body.rsplit('\n').next().unwrap_or("").len();
        // The first line begins after `array(`, the others with as many spaces.
        let before = if body.contains('\n') { 0 } else { OPEN.len() };
        let tail = format!("{})", self.array_type);
        let gap = if before + last_line + 2 + tail.len() > WIDTH {
            format!(",\n{}", " ".repeat(OPEN.len()))
        } else {
            ", ".to_owned()
        };
        format!("{OPEN}{body}{gap}{tail}")
    }
}
