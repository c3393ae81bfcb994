//! Where the elements of an array are in its buffer, as far as that decides whether memory is shared.

use mlx::{ArrayType, Op};

use crate::graph::element_count;

/// A view of a buffer.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) buffer: usize,
    shape: Vec<i32>,
    strides: Vec<i64>,
    /// How many elements of the buffer the array has.
    pub(super) data_size: usize,
    /// Whether these have no gaps.
    is_contiguous: bool,
}

fn row_strides(shape: &[i32]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = i64::saturating_mul(strides[axis], i64::from(shape[axis]));
    }
    strides
}

impl Layout {
    /// Elements in row-major order.
    pub(super) fn rows(buffer: usize, array_type: &ArrayType) -> Self {
        Self {
            buffer,
            shape: array_type.shape.to_vec(),
            strides: row_strides(&array_type.shape),
            data_size: element_count(&array_type.shape),
            is_contiguous: true,
        }
    }

    /// Whether the elements are in row-major order without gaps.
    pub(super) fn is_in_rows(&self) -> bool {
        let mut expected = 1_i64;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *size != 1 {
                if *stride != expected {
                    return false;
                }
                expected = expected.saturating_mul(i64::from(*size));
            }
        }
        true
    }

    /// Whether the memory has no gaps, and is not in row-major order: transposed, or broadcast. Results that are computed element
    /// by element keep that, and have as few elements in memory.
    pub(super) fn keeps_order(&self) -> bool {
        self.is_contiguous && !self.is_in_rows()
    }

    /// Whether an array has this shape and order.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.is_contiguous
            && self.shape == other.shape
            && self.strides == other.strides
            && self.data_size == other.data_size
    }

    /// The same layout in another buffer.
    pub(super) fn in_buffer(&self, buffer: usize) -> Self {
        Self {
            buffer,
            ..self.clone()
        }
    }

    /// Whether the array has all elements of its memory, so that another may be written over it.
    pub(super) fn is_whole(&self) -> bool {
        self.is_in_rows() && self.data_size == element_count(&self.shape)
    }

    /// The layout of an array that a primitive of this name makes a view of this one, if it does.
    pub(super) fn view(&self, name: &str, op: Option<&Op>, to: &ArrayType) -> Option<Self> {
        let strides = match name {
            "StopGradient" | "Copy" | "Depends" | "CustomTransforms" => self.strides.clone(),
            "Broadcast" | "BroadcastAxes" => self.broadcast(&to.shape),
            "Transpose" => self.transposed(op, &to.shape),
            "Slice" | "Split" => self.sliced(op, to.shape.len()),
            "Squeeze" | "ExpandDims" => self.with_other_ones(&to.shape),
            "Reshape" | "Flatten" | "Unflatten" => self.reshaped(&to.shape)?,
            "Contiguous" if self.is_in_rows() => row_strides(&to.shape),
            _ => return None,
        };
        let is_part = matches!(name, "Slice" | "Split");
        let mut view = Self {
            buffer: self.buffer,
            shape: to.shape.to_vec(),
            strides,
            data_size: match is_part {
                true => element_count(&to.shape),
                false => self.data_size,
            },
            is_contiguous: self.is_contiguous,
        };
        if is_part {
            view.is_contiguous = view.is_in_rows();
        }
        Some(view)
    }

    fn broadcast(&self, shape: &[i32]) -> Vec<i64> {
        let missing = shape.len().saturating_sub(self.shape.len());
        let mut strides = vec![0; missing];
        for ((own, stride), size) in self.shape.iter().zip(&self.strides).zip(&shape[missing..]) {
            strides.push(if own == size { *stride } else { 0 });
        }
        strides
    }

    /// A transposition of axes that the graph does not tell is taken for the first that gives the shape, from the last axis on.
    fn transposed(&self, op: Option<&Op>, shape: &[i32]) -> Vec<i64> {
        let ndim = self.shape.len();
        let place = |axis: i32| usize::try_from(if axis < 0 { axis + ndim as i32 } else { axis });
        let axes: Option<Vec<usize>> = match op {
            Some(Op::Transpose { axes }) if axes.len() == ndim => {
                axes.iter().map(|axis| place(*axis).ok()).collect()
            }
            _ => None,
        };
        let axes = axes.unwrap_or_else(|| {
            let mut free: Vec<usize> = (0..ndim).collect();
            let mut take = |size: &i32| {
                let at = free.iter().rposition(|axis| self.shape[*axis] == *size);
                free.remove(at.unwrap_or(0))
            };
            shape.iter().map(&mut take).collect()
        });
        axes.iter()
            .map(|axis| self.strides.get(*axis).copied().unwrap_or(1))
            .collect()
    }

    fn sliced(&self, op: Option<&Op>, ndim: usize) -> Vec<i64> {
        match op {
            Some(Op::Slice { strides, .. }) if strides.len() == ndim => {
                let steps = strides.iter().map(|step| i64::from(*step));
                self.strides.iter().zip(steps).map(|(a, b)| a * b).collect()
            }
            _ => self.strides.clone(),
        }
    }

    /// Axes of one element come and go; the others keep their order.
    fn with_other_ones(&self, shape: &[i32]) -> Vec<i64> {
        let sizes = self.shape.iter().zip(&self.strides);
        let mut long = sizes
            .filter(|(size, _)| **size != 1)
            .map(|(_, stride)| *stride);
        shape
            .iter()
            .map(|size| {
                if *size == 1 {
                    1
                } else {
                    long.next().unwrap_or(1)
                }
            })
            .collect()
    }

    /// The strides of another shape, if its elements are at equal distances: each of its axes must be part of one run.
    fn reshaped(&self, shape: &[i32]) -> Option<Vec<i64>> {
        if self.is_in_rows() || element_count(shape) == 0 {
            return Some(row_strides(shape));
        }
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            let size = i64::from(*size);
            match runs.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.1 == stride * size => *last = (last.0 * size, *stride),
                _ => runs.push((size, *stride)),
            }
        }
        let mut runs = runs.into_iter();
        let (mut left, mut stride) = runs.next().unwrap_or((1, 1));
        let mut strides = Vec::with_capacity(shape.len());
        for size in shape.iter().map(|size| i64::from(*size)) {
            if size == 1 {
                strides.push(1);
                continue;
            }
            if left == 1 {
                (left, stride) = runs.next()?;
            }
            if left % size != 0 {
                return None;
            }
            left /= size;
            strides.push(stride * left);
        }
        Some(strides)
    }
}
