//! Means, variances and softmax, as operations that have kernels.

use mlx::cpu::{HostArray, MemoryPool, cast, compute};
use mlx::{ArrayType, Dtype, Op};

use super::apply::{Attempt, elementwise, reshape, transpose};
use crate::tensor::axes;

/// Reduces an array over axes.
pub(super) fn reduce(op: &Op, x: &HostArray, output: &ArrayType, pool: &MemoryPool) -> Attempt {
    if let Op::Softmax {
        axes: list,
        precise,
    } = op
    {
        return softmax(x, list, *precise, output, pool);
    }
    let (Op::Mean { axes: list, .. } | Op::Var { axes: list, .. } | Op::Std { axes: list, .. }) =
        op
    else {
        return Ok(None);
    };
    // Sums of half precision are `float32`, and rounded once.
    let dtype = match output.dtype {
        Dtype::Float16 | Dtype::Bfloat16 => Dtype::Float32,
        dtype => dtype,
    };
    if !matches!(dtype, Dtype::Float32 | Dtype::Float64) {
        return Ok(None);
    }
    let Some(x) = cast(x, dtype, pool).transpose()? else {
        return Ok(None);
    };
    let sums = Sums { axes: list, pool };
    let result = match op {
        Op::Mean { .. } => sums.mean(&x, 0)?,
        Op::Var { ddof, .. } => sums.variance(&x, *ddof)?,
        Op::Std { ddof, .. } => match sums.variance(&x, *ddof)? {
            Some(variance) => {
                let like = variance.array_type().clone();
                elementwise(&Op::Sqrt, &[variance], &like, pool)?
            }
            None => None,
        },
        _ => None,
    };
    let Some(result) = result else {
        return Ok(None);
    };
    let result = cast(&result, output.dtype, pool).transpose()?;
    result
        .map(|result| reshape(&result, &output.shape, pool))
        .transpose()
}

/// Sums over these axes, which stay with one element.
struct Sums<'a> {
    axes: &'a [i32],
    pool: &'a MemoryPool,
}

impl Sums<'_> {
    /// The sum, divided by the number of elements less `ddof`.
    fn mean(&self, x: &HostArray, ddof: i32) -> Attempt {
        let along = axes(self.axes, x.shape().len()).map_err(|error| error.to_string())?;
        let mut shape = x.shape().to_vec();
        let mut n = 1.0;
        for &axis in &along {
            n *= f64::from(shape[axis]);
            shape[axis] = 1;
        }
        let output = ArrayType::new(shape, x.dtype());
        let op = Op::Sum {
            axes: self.axes.to_vec(),
            keepdims: true,
        };
        let sum = compute(&op, std::slice::from_ref(x), &output, self.pool).transpose()?;
        let n = HostArray::new((), &[(n - f64::from(ddof)).max(0.0)])
            .map_err(|error| error.to_string())?;
        match sum {
            Some(sum) => elementwise(&Op::Divide, &[sum, n], &output, self.pool),
            None => Ok(None),
        }
    }

    fn variance(&self, x: &HostArray, ddof: i32) -> Attempt {
        let Some(mean) = self.mean(x, 0)? else {
            return Ok(None);
        };
        let like = x.array_type();
        let Some(rest) = elementwise(&Op::Subtract, &[x.clone(), mean], like, self.pool)? else {
            return Ok(None);
        };
        match elementwise(&Op::Square, &[rest], like, self.pool)? {
            Some(squares) => self.mean(&squares, ddof),
            None => Ok(None),
        }
    }
}

/// Softmax along one axis, which is made the last one.
fn softmax(
    x: &HostArray,
    list: &[i32],
    precise: bool,
    output: &ArrayType,
    pool: &MemoryPool,
) -> Attempt {
    let ndim = x.shape().len();
    let along = axes(list, ndim).map_err(|error| error.to_string())?;
    let ([along], Some(x)) = (along.as_slice(), cast(x, output.dtype, pool).transpose()?) else {
        return Ok(None);
    };
    let mut order: Vec<usize> = (0..ndim).collect();
    order.swap(*along, ndim - 1);
    let Some(turned) = transpose(&x, &order, pool)? else {
        return Ok(None);
    };
    let op = Op::Softmax {
        axes: vec![-1],
        precise,
    };
    let like = turned.array_type().clone();
    match compute(&op, &[turned], &like, pool).transpose()? {
        Some(made) => transpose(&made, &order, pool),
        None => Ok(None),
    }
}
