//! An array of the interpreter: shape, dtype, elements in row-major order; and index arithmetic.

use mlx::cpu::HostArray;
use mlx::{ArrayType, Dtype, DtypeKind, axis_index};
use mlx_compiler::{Error, Result};

use crate::number::{Number, Rounding};

/// The maximum number of elements of a tensor: 800 MB of them, because some operations need several times as much.
const MAX_ELEMENTS: usize = 1 << 25;

/// An array in plain memory, independent of MLX.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    numbers: Vec<Number>,
}

impl Tensor {
    /// Returns a tensor of these elements in row-major order, converted to `dtype`.
    ///
    /// # Errors
    /// When there are more or fewer of them than the shape has.
    pub fn new(shape: &[usize], dtype: Dtype, numbers: Vec<Number>) -> Result<Self> {
        Self::rounded(shape, dtype, numbers, Rounding::PerOp)
    }

    /// Returns a tensor of a floating dtype; the numbers are rounded to it.
    ///
    /// # Errors
    /// When there are more or fewer of them than the shape has.
    pub fn from_f64(shape: &[usize], dtype: Dtype, values: &[f64]) -> Result<Self> {
        Self::new(
            shape,
            dtype,
            values.iter().copied().map(Number::Float).collect(),
        )
    }

    /// Returns a tensor of these elements, converted with this rounding.
    pub(crate) fn rounded(
        shape: &[usize],
        dtype: Dtype,
        mut numbers: Vec<Number>,
        rounding: Rounding,
    ) -> Result<Self> {
        let wanted = count(shape)?;
        if numbers.len() != wanted {
            return Err(Error::Unsupported(format!(
                "tensor: wanted {wanted} elements for {shape:?}, got {}",
                numbers.len()
            )));
        }
        for number in &mut numbers {
            *number = number.cast(dtype, rounding);
        }
        let shape = shape.to_vec();
        Ok(Self {
            shape,
            dtype,
            numbers,
        })
    }

    /// Returns the elements of an array in plain memory.
    ///
    /// # Errors
    /// When they are more than a tensor holds.
    pub fn of_host_array(array: &HostArray) -> Result<Self> {
        crate::host::tensor_of(array)
    }

    /// Returns an array in plain memory of the elements, rounded to the dtype.
    ///
    /// # Errors
    /// When the bytes are too many to count.
    pub fn to_host_array(&self) -> Result<HostArray> {
        crate::host::array_of(self)
    }

    /// Returns the sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the elements in row-major order.
    pub fn numbers(&self) -> &[Number] {
        &self.numbers
    }

    /// Returns the elements as `f64`; of complex ones the real parts.
    pub fn to_f64(&self) -> Vec<f64> {
        self.numbers.iter().map(|number| number.to_f64()).collect()
    }

    /// Returns shape and dtype as a graph has them.
    pub fn array_type(&self) -> ArrayType {
        let size = |&n: &usize| i32::try_from(n).unwrap_or(i32::MAX);
        ArrayType::new(
            self.shape.iter().map(size).collect::<Vec<i32>>(),
            self.dtype,
        )
    }

    /// Returns the number of elements.
    pub(crate) fn size(&self) -> usize {
        self.numbers.len()
    }

    pub(crate) fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Returns the element at a flat index, in row-major order; zero beyond the end.
    pub(crate) fn at(&self, flat_index: usize) -> Number {
        self.numbers
            .get(flat_index)
            .copied()
            .unwrap_or_else(|| Number::zero(self.dtype))
    }

    /// Returns the same elements in another dtype.
    pub(crate) fn astype(&self, dtype: Dtype, rounding: Rounding) -> Self {
        let cast = |number: &Number| number.cast(dtype, rounding);
        Self {
            shape: self.shape.clone(),
            dtype,
            numbers: self.numbers.iter().map(cast).collect(),
        }
    }

    /// Returns the elements with the noise that a rounding asks for.
    pub(crate) fn with_rounding(mut self, rounding: Rounding, absolute: bool) -> Self {
        for number in &mut self.numbers {
            if let Number::Float(value) = number {
                *value = rounding.with_rounding(*value, self.dtype, absolute);
            }
        }
        self
    }

    /// Returns the same elements in another shape with as many of them.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Result<Self> {
        if count(shape)? != self.size() {
            return Err(Error::Unsupported(format!(
                "reshape: wanted {} elements, got {shape:?}",
                self.size()
            )));
        }
        Ok(Self {
            shape: shape.to_vec(),
            ..self.clone()
        })
    }

    /// Returns a tensor of elements of this one, by their flat indices.
    pub(crate) fn pick(&self, shape: &[usize], flat_indices: &[usize]) -> Result<Self> {
        let numbers = flat_indices
            .iter()
            .map(|&flat_index| self.at(flat_index))
            .collect();
        Self::rounded(shape, self.dtype, numbers, Rounding::Exact)
    }

    /// Returns the tensor repeated to a shape that it broadcasts to.
    pub(crate) fn broadcast_to(&self, shape: &[usize]) -> Result<Self> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        self.pick(shape, &broadcast_indices(&self.shape, shape)?)
    }

    /// Returns the tensor with its axes in this order.
    pub(crate) fn transposed(&self, axes: &[usize]) -> Result<Self> {
        let from = strides(&self.shape);
        let pairs = axes.iter().map(|&axis| {
            let size = self.shape.get(axis).copied().unwrap_or(1);
            (size, from.get(axis).copied().unwrap_or(0))
        });
        let (shape, steps): (Vec<usize>, Vec<usize>) = pairs.unzip();
        self.pick(&shape, &strided_indices(&shape, &steps, 0))
    }
}

/// Returns the number of elements of a shape.
pub(crate) fn count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| {
            Error::Unsupported(format!(
                "interpret: wanted at most {MAX_ELEMENTS} elements, got {shape:?}"
            ))
        })
}

/// Returns the sizes of a type, none of which is negative.
pub(crate) fn sizes(shape: &[i32]) -> Result<Vec<usize>> {
    let sizes = shape.iter().map(|&size| usize::try_from(size).ok());
    sizes.collect::<Option<Vec<usize>>>().ok_or_else(|| {
        Error::Unsupported(format!(
            "interpret: wanted sizes of at least 0, got {shape:?}"
        ))
    })
}

/// Returns the row-major strides, in elements.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut step = 1_usize;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(size.max(1));
    }
    strides
}

/// Returns the flat indices of all elements of a view, in its row-major order.
pub(crate) fn strided_indices(shape: &[usize], steps: &[usize], offset: usize) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut flat_indices = vec![offset];
    for (&size, &step) in shape.iter().zip(steps) {
        flat_indices = flat_indices
            .iter()
            .flat_map(|&flat_index| (0..size).map(move |k| flat_index + k * step))
            .collect();
    }
    flat_indices
}

/// Returns the coordinates of a flat index.
pub(crate) fn coordinates(mut flat_index: usize, shape: &[usize]) -> Vec<usize> {
    let mut found = vec![0; shape.len()];
    for (slot, &size) in found.iter_mut().zip(shape).rev() {
        *slot = flat_index % size.max(1);
        flat_index /= size.max(1);
    }
    found
}

/// Returns the flat index of coordinates, in row-major order.
pub(crate) fn flat_index(coordinates: &[usize], shape: &[usize]) -> usize {
    coordinates
        .iter()
        .zip(shape)
        .fold(0, |flat_index, (&k, &size)| flat_index * size + k)
}

/// Returns the shape that all broadcast to.
pub(crate) fn broadcast_shape<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> Result<Vec<usize>> {
    let mut result: Vec<usize> = Vec::new();
    for shape in shapes {
        let ndim = result.len().max(shape.len());
        let size = |of: &[usize], k: usize| {
            (k + of.len())
                .checked_sub(ndim)
                .and_then(|k| of.get(k).copied())
                .unwrap_or(1)
        };
        result = (0..ndim)
            .map(|k| match (size(&result, k), size(shape, k)) {
                (a, b) if a == b || b == 1 => Ok(a),
                (1, b) => Ok(b),
                (a, b) => Err(Error::Unsupported(format!(
                    "broadcast: wanted sizes that are equal or 1, got {a} and {b}"
                ))),
            })
            .collect::<Result<_>>()?;
    }
    Ok(result)
}

/// Returns, for each flat index of `to`, that of the element of `from` that is broadcast there.
pub(crate) fn broadcast_indices(from: &[usize], to: &[usize]) -> Result<Vec<usize>> {
    let unfit = || {
        Error::Unsupported(format!(
            "broadcast: wanted a shape that fits {to:?}, got {from:?}"
        ))
    };
    let lead = to.len().checked_sub(from.len()).ok_or_else(unfit)?;
    count(to)?;
    let mut steps = vec![0; to.len()];
    for ((step, stride), (&size, &wanted)) in steps
        .iter_mut()
        .skip(lead)
        .zip(strides(from))
        .zip(from.iter().zip(to.iter().skip(lead)))
    {
        match size {
            _ if size == wanted => *step = stride,
            1 => {}
            _ => return Err(unfit()),
        }
    }
    Ok(strided_indices(to, &steps, 0))
}

/// Returns the index of an axis that may count from the end.
pub(crate) fn axis(axis: i32, ndim: usize) -> Result<usize> {
    axis_index(axis, ndim).ok_or_else(|| {
        Error::Unsupported(format!(
            "interpret: wanted an axis of {ndim} axes, got {axis}"
        ))
    })
}

/// Returns the indices of axes that may count from the end.
pub(crate) fn axes(list: &[i32], ndim: usize) -> Result<Vec<usize>> {
    list.iter().map(|&one| axis(one, ndim)).collect()
}

/// Returns the flat indices of each line along an axis; lines in row-major order of the other axes.
pub(crate) fn lines(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
    groups(shape, &[axis])
}

/// Returns, for each index of the axes that are not in `along`, the flat indices that share it, in row-major order of
/// `along`.
pub(crate) fn groups(shape: &[usize], along: &[usize]) -> Vec<Vec<usize>> {
    let steps = strides(shape);
    let part = |inside: bool| -> (Vec<usize>, Vec<usize>) {
        (0..shape.len())
            .filter(|axis| along.contains(axis) == inside)
            .map(|axis| (shape[axis], steps[axis]))
            .unzip()
    };
    let ((outer, outer_steps), (inner, inner_steps)) = (part(false), part(true));
    strided_indices(&outer, &outer_steps, 0)
        .into_iter()
        .map(|offset| strided_indices(&inner, &inner_steps, offset))
        .collect()
}

/// Whether elements are numbers with a sign or a fraction, for which a mean has a meaning.
pub(crate) fn is_complex(tensor: &Tensor) -> bool {
    tensor.dtype().kind() == DtypeKind::Complex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_without_elements_lists_none() {
        assert!(strided_indices(&[usize::MAX, usize::MAX, 0], &[1, 1, 1], 0).is_empty());
        assert_eq!(strided_indices(&[2, 2], &[1, 3], 4), [4, 7, 5, 8]);
    }
}
