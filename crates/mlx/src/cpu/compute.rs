//! Operations on arrays in memory of this process, by the kernels alone: MLX is neither needed nor loaded.

use super::{data, prepare, run, supports, update};
use crate::ffi::cpu::Prepared;
use crate::ffi::host::Layout;
use crate::ffi::host_array::{HostArray, MemoryPool, run_kernel};
use crate::op::Op;
use crate::program::{Update, View, broadcast_view, view_of};
use crate::shape::row_major_strides;
use crate::{ArrayType, Dtype};

/// Computes an operation of arrays; `None` if no kernel does.
///
/// Views cost nothing. Inputs of elementwise operations are broadcast to the output's shape and, as those of products,
/// have one dtype; those of fused operations are cast as MLX does.
///
/// # Errors
/// The text of what the kernel refuses, without the operation's name.
pub fn compute(
    op: &Op,
    inputs: &[HostArray],
    output: &ArrayType,
    pool: &MemoryPool,
) -> Option<Result<HostArray, String>> {
    if output.nbytes()? == 0 {
        return Some(pool.array(output));
    }
    if op.is_view() {
        return view(op, inputs.first()?, output, pool);
    }
    if op.is_elementwise() {
        let inputs: Option<Vec<HostArray>> = inputs
            .iter()
            .map(|input| broadcast(input, &output.shape))
            .collect();
        return kernel(op, &inputs?, output, pool);
    }
    let layouts: Vec<Layout<'_>> = inputs.iter().map(HostArray::layout).collect();
    match prepare(op, &layouts) {
        Some(prepared) => {
            let inputs = match cast_as(&prepared, inputs, pool)? {
                Ok(inputs) => inputs,
                Err(text) => return Some(Err(text)),
            };
            kernel(op, &inputs, output, pool)
        }
        None => kernel(op, inputs, output, pool),
    }
}

/// Returns whether [`compute`] has a kernel for inputs of these types in row-major order.
pub fn is_computed(op: &Op, inputs: &[ArrayType], output: &ArrayType) -> bool {
    let strides: Vec<Vec<i64>> = inputs.iter().map(|x| row_major_strides(&x.shape)).collect();
    let layouts = inputs.iter().zip(&strides);
    let layouts: Vec<Layout<'_>> = layouts
        .map(|(x, strides)| Layout::new(x.dtype, &x.shape, strides))
        .collect();
    if let Some(prepared) = prepare(op, &layouts) {
        return prepared.output_dtype == output.dtype;
    }
    let strides = row_major_strides(&output.shape);
    let layout = Layout::new(output.dtype, &output.shape, &strides);
    op.is_view() || supports::computes(op, &layouts, layout)
}

/// Calls a kernel with what it takes.
fn kernel(
    op: &Op,
    inputs: &[HostArray],
    output: &ArrayType,
    pool: &MemoryPool,
) -> Option<Result<HostArray, String>> {
    let inputs = match op {
        Op::Addmm { .. } => {
            let (c, rest) = inputs.split_first()?;
            let mut inputs = vec![broadcast(c, &output.shape)?];
            inputs.extend_from_slice(rest);
            inputs
        }
        _ => inputs.to_vec(),
    };
    // A kernel may copy what is not in row-major order: axes that are repeated can be many elements of little memory.
    let mut spread = inputs.iter().filter(|input| !input.is_row_contiguous());
    if let Some(error) = spread.find_map(|input| pool.check(input.array_type()).err()) {
        return Some(Err(error));
    }
    let layouts: Vec<Layout<'_>> = inputs.iter().map(HostArray::layout).collect();
    let strides = row_major_strides(&output.shape);
    let layout = Layout::new(output.dtype, &output.shape, &strides);
    supports::computes(op, &layouts, layout).then_some(())?;
    let mut result = match pool.array(output) {
        Ok(result) => result,
        Err(text) => return Some(Err(text)),
    };
    let outputs = std::slice::from_mut(&mut result);
    let ran = run_kernel(&inputs, outputs, |inputs, outputs| {
        run::run(op, inputs, outputs)
    });
    Some(ran.map(|()| result))
}

/// The inputs of a fused operation as its kernel takes them.
fn cast_as(
    prepared: &Prepared,
    inputs: &[HostArray],
    pool: &MemoryPool,
) -> Option<Result<Vec<HostArray>, String>> {
    let mut taken = Vec::with_capacity(inputs.len());
    for (index, (input, dtype)) in inputs.iter().zip(prepared.dtypes).enumerate() {
        let input = match cast(input, dtype, pool)? {
            Ok(input) => input,
            Err(text) => return Some(Err(text)),
        };
        taken.push(match &prepared.broadcast {
            Some((at, shape)) if *at == index => broadcast(&input, shape)?,
            _ => input,
        });
    }
    Some(Ok(taken))
}

/// Returns the elements in another dtype; `None` if no kernel converts them.
///
/// # Errors
/// The text of what the kernel refuses.
pub fn cast(x: &HostArray, dtype: Dtype, pool: &MemoryPool) -> Option<Result<HostArray, String>> {
    if x.dtype() == dtype {
        return Some(Ok(x.clone()));
    }
    let output = ArrayType::new(x.shape().to_vec(), dtype);
    if output.nbytes()? == 0 {
        return Some(pool.array(&output));
    }
    kernel(
        &Op::Astype { dtype },
        std::slice::from_ref(x),
        &output,
        pool,
    )
}

/// Returns an array with axes of one element repeated; `None` if it does not fit the shape.
pub fn broadcast(x: &HostArray, shape: &[i32]) -> Option<HostArray> {
    if x.shape() == shape {
        return Some(x.clone());
    }
    let fits = x.shape().len() <= shape.len();
    let seen = fits.then(|| broadcast_view(&as_view(x), shape)).flatten()?;
    x.viewed(0, &seen.array_type, &seen.strides)
}

/// Returns the part of an array that begins at these indices and has the output's shape; `None` if it is not within it.
pub fn slice_at(x: &HostArray, start: &[usize], shape: &[i32]) -> Option<HostArray> {
    let fits = |((&start, &size), &length): ((&usize, &i32), &i32)| {
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| start.checked_add(size));
        end.is_some_and(|end| usize::try_from(length).is_ok_and(|length| end <= length))
    };
    let is_within = start.len() == shape.len()
        && x.shape().len() == shape.len()
        && start.iter().zip(shape).zip(x.shape()).all(fits);
    is_within.then_some(())?;
    let steps = start.iter().zip(x.strides());
    let offset = steps.map(|(&start, &stride)| start * usize::try_from(stride).unwrap_or(0));
    let part = ArrayType::new(shape.to_vec(), x.dtype());
    x.viewed(offset.sum(), &part, x.strides())
}

/// Returns an array whose elements are in row-major order.
///
/// # Errors
/// The text of what the kernel refuses.
pub fn contiguous(x: &HostArray, pool: &MemoryPool) -> Result<HostArray, String> {
    if x.is_row_contiguous() {
        return Ok(x.clone());
    }
    copied(x, pool)
}

fn copied(x: &HostArray, pool: &MemoryPool) -> Result<HostArray, String> {
    let mut copy = pool.array(x.array_type())?;
    let outputs = std::slice::from_mut(&mut copy);
    run_kernel(std::slice::from_ref(x), outputs, data::copy)?;
    Ok(copy)
}

/// Writes the second array into part of the first, in place if nothing else has that. Gives the arrays back for operations
/// other than updates of slices, and where types do not fit.
pub fn update_slice(
    op: &Op,
    mut inputs: Vec<HostArray>,
    pool: &MemoryPool,
) -> Result<Result<HostArray, String>, Vec<HostArray>> {
    let views: Vec<View> = inputs.iter().map(as_view).collect();
    let rest = Update::of(op, &views).and_then(|(update, reads)| {
        let rest = inputs.get(1..)?.iter().zip(reads);
        let rest = rest.map(|(input, read)| input.viewed(0, &read.array_type, &read.strides));
        Some((update, rest.collect::<Option<Vec<_>>>()?))
    });
    let Some((update, rest)) = rest else {
        return Err(inputs);
    };
    inputs.truncate(1);
    let Some(mut target) = inputs.pop() else {
        return Err(inputs);
    };
    if !target.is_alone() {
        target = match copied(&target, pool) {
            Ok(copy) => copy,
            Err(text) => return Ok(Err(text)),
        };
    }
    let outputs = std::slice::from_mut(&mut target);
    let ran = run_kernel(&rest, outputs, |inputs, outputs| {
        update::run(&update, inputs, outputs)
    });
    Ok(ran.map(|()| target))
}

fn view(
    op: &Op,
    x: &HostArray,
    output: &ArrayType,
    pool: &MemoryPool,
) -> Option<Result<HostArray, String>> {
    let count = |x: &ArrayType| x.nbytes().map(|bytes| bytes / x.dtype.size());
    let keeps = !matches!(op, Op::BroadcastTo { .. } | Op::Slice { .. });
    let fits = x.dtype() == output.dtype && !(keeps && count(x.array_type()) != count(output));
    fits.then_some(())?;
    let seen = |x: &HostArray| {
        let seen = view_of(op, &as_view(x), output)?;
        x.viewed(seen.offset, &seen.array_type, &seen.strides)
    };
    if let Some(seen) = seen(x) {
        return Some(Ok(seen));
    }
    match contiguous(x, pool) {
        Ok(copy) => seen(&copy).map(Ok),
        Err(text) => Some(Err(text)),
    }
}

fn as_view(x: &HostArray) -> View {
    View {
        buffer: 0,
        offset: 0,
        array_type: x.array_type().clone(),
        strides: x.strides().to_vec(),
    }
}
