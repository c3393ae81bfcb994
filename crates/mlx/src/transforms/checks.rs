//! What a transform takes and its function may give: counts, shapes, axes, and dtypes that have gradients.

use std::ffi::c_int;
use std::panic::Location;
use std::sync::Arc;

use crate::array::Transform;
use crate::array::trace::type_of;
use crate::shape::axis_index;
use crate::{Array, ArrayType, Error, OpError, Result};

type At = &'static Location<'static>;

/// Returns the error of a transform on inputs of these types.
pub(super) fn wrong(transform: &Transform, message: String, inputs: &[ArrayType], at: At) -> Error {
    Error::Op(Arc::new(OpError {
        op: transform.name().to_owned(),
        message,
        inputs: inputs.to_vec(),
        at,
    }))
}

/// Checks the number of functions.
pub(super) fn functions(transform: &Transform, got: usize, at: At) -> Result<()> {
    let wanted = transform.n_functions();
    if got == wanted {
        return Ok(());
    }
    let message = format!("wanted {wanted} functions, got {got}");
    Err(wrong(transform, message, &[], at))
}

/// Checks the inputs and returns their types.
///
/// These are no sizes that the function read: a transform in a graph is checked again for those that it is run with.
pub(super) fn inputs(transform: &Transform, inputs: &[&Array], at: At) -> Result<Vec<ArrayType>> {
    let types: Result<Vec<ArrayType>> = inputs.iter().map(|input| type_of(input)).collect();
    let types = types?;
    let fault = match transform {
        Transform::ValueAndGrad { argnums } => value_and_grad(argnums, &types),
        Transform::Vjp { n_primals } => vjp(*n_primals, &types),
        Transform::Jvp => jvp(&types),
        Transform::Vmap { in_axes, .. } => in_axes_of(in_axes, &types).map(drop),
        Transform::Checkpoint | Transform::CustomFunction { .. } => Ok(()),
    };
    match fault {
        Ok(()) => Ok(types),
        Err(message) => Err(wrong(transform, message, &types, at)),
    }
}

/// Checks what the function gave for inputs of these types, and returns the types of it.
pub(super) fn outputs(
    transform: &Transform,
    inputs: &[ArrayType],
    outputs: &[Array],
    at: At,
) -> Result<Vec<ArrayType>> {
    let types: Result<Vec<ArrayType>> = outputs.iter().map(type_of).collect();
    let types = types?;
    let fault = match transform {
        Transform::ValueAndGrad { .. } => loss(&types),
        Transform::Vjp { n_primals } => cotangents(inputs.get(*n_primals..), &types),
        Transform::Jvp => Ok(()),
        Transform::Vmap { out_axes, .. } => out_axes_of(out_axes, &types).map(drop),
        Transform::Checkpoint | Transform::CustomFunction { .. } if types.is_empty() => {
            Err("the function must give at least one array, got none".to_owned())
        }
        Transform::Checkpoint | Transform::CustomFunction { .. } => Ok(()),
    };
    match fault {
        Ok(()) => Ok(types),
        Err(message) => Err(wrong(transform, message, inputs, at)),
    }
}

/// Checks what a rule of a function's own gave, and returns it in the dtypes wanted.
///
/// `what` are the results, `of` what there is one for: "gradient" and "input", "tangent" and "output".
pub(super) fn rule(
    transform: &Transform,
    [what, of]: [&str; 2],
    wanted: &[ArrayType],
    results: Vec<Array>,
    at: At,
) -> Result<Vec<Array>> {
    let wrong = |message| wrong(transform, message, wanted, at);
    if results.len() != wanted.len() {
        let (wanted, got) = (wanted.len(), results.len());
        return Err(wrong(format!("wanted {wanted} {what}s, got {got}")));
    }
    let numbered = results.into_iter().zip(wanted).enumerate();
    numbered
        .map(|(index, (result, like))| {
            // Not noted as read: the rule is checked again wherever it is applied to other sizes.
            let got = type_of(&result)?;
            if got.shape != like.shape {
                result.note_size_kept("an operation that fails", at);
                let wanted = &like.shape;
                let message = format!(
                    "{what} {index} must be {wanted:?} as the {of} is, got {:?}",
                    got.shape
                );
                return Err(wrong(message));
            }
            if got.dtype != like.dtype && like.dtype.is_inexact() {
                return result.astype(like.dtype).checked();
            }
            Ok(result)
        })
        .collect()
}

/// Checks what a rule for vmap gave along an axis of this size, and returns the axis of each output, counted from the
/// start; -1 for none.
pub(super) fn vectorized(
    transform: &Transform,
    size: i32,
    outputs: &[Array],
    axes: &[Option<i32>],
    at: At,
) -> Result<Vec<c_int>> {
    let wrong = |message| wrong(transform, message, &[], at);
    if axes.len() != outputs.len() && axes.len() != 1 {
        let (wanted, got) = (outputs.len(), axes.len());
        let message =
            format!("the rule for vmap must give an axis for each of {wanted} outputs, got {got}");
        return Err(wrong(message));
    }
    let numbered = outputs.iter().zip(axes.iter().cycle()).enumerate();
    numbered
        .map(|(index, (output, axis))| {
            let Some(axis) = *axis else {
                return Ok(-1);
            };
            let shape = output.shape()?;
            match axis_index(axis, shape.len()) {
                Some(at) if shape.get(at) == Some(&size) => {
                    Ok(c_int::try_from(at).unwrap_or(c_int::MAX))
                }
                _ => Err(wrong(format!(
                    "output {index} of the rule for vmap must have {size} elements along axis {axis}, got {shape:?}"
                ))),
            }
        })
        .collect()
}

fn value_and_grad(argnums: &[usize], types: &[ArrayType]) -> std::result::Result<(), String> {
    if argnums.is_empty() {
        return Err("wanted at least one array to differentiate by, got none".to_owned());
    }
    if !argnums.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "inputs must be given once and in ascending order, got {argnums:?}"
        ));
    }
    argnums
        .iter()
        .try_for_each(|&argnum| differentiable(argnum, types))
}

fn differentiable(index: usize, types: &[ArrayType]) -> std::result::Result<(), String> {
    match types.get(index) {
        Some(primal) if primal.dtype.is_inexact() => Ok(()),
        Some(primal) => Err(format!(
            "input {index} must be floating or complex to have a gradient, got {}",
            primal.dtype
        )),
        None => Err(format!("there is no input {index}, got {}", types.len())),
    }
}

fn vjp(n_primals: usize, types: &[ArrayType]) -> std::result::Result<(), String> {
    if n_primals > types.len() {
        return Err(format!("wanted {n_primals} primals, got {}", types.len()));
    }
    (0..n_primals).try_for_each(|index| differentiable(index, types))
}

fn jvp(types: &[ArrayType]) -> std::result::Result<(), String> {
    let (primals, tangents) = types.split_at(types.len() / 2);
    if primals.len() != tangents.len() {
        return Err(format!(
            "wanted as many tangents as primals, got {} arrays in all",
            types.len()
        ));
    }
    for (index, (primal, tangent)) in primals.iter().zip(tangents).enumerate() {
        differentiable(index, types)?;
        if primal.shape != tangent.shape {
            return Err(format!(
                "tangent {index} must be {:?} as the primal is, got {:?}",
                primal.shape, tangent.shape
            ));
        }
    }
    Ok(())
}

fn loss(outputs: &[ArrayType]) -> std::result::Result<(), String> {
    match outputs.first() {
        Some(loss) if loss.shape.is_empty() && loss.dtype.is_inexact() => Ok(()),
        Some(loss) => Err(format!(
            "the function must give a floating scalar, got {loss}"
        )),
        None => Err("the function must give a floating scalar, got nothing".to_owned()),
    }
}

fn cotangents(
    cotangents: Option<&[ArrayType]>,
    outputs: &[ArrayType],
) -> std::result::Result<(), String> {
    let cotangents = cotangents.unwrap_or_default();
    if cotangents.len() != outputs.len() {
        return Err(format!(
            "wanted one cotangent for each of {} outputs, got {}",
            outputs.len(),
            cotangents.len()
        ));
    }
    for (index, (cotangent, output)) in cotangents.iter().zip(outputs).enumerate() {
        if cotangent.shape != output.shape {
            return Err(format!(
                "cotangent {index} must be {:?} as the output is, got {:?}",
                output.shape, cotangent.shape
            ));
        }
    }
    Ok(())
}

/// Returns the axis of each input, counted from the start, -1 for none.
pub(super) fn in_axes_of(
    axes: &[Option<i32>],
    types: &[ArrayType],
) -> std::result::Result<Vec<c_int>, String> {
    if axes.len() != types.len() {
        return Err(format!(
            "wanted an axis for each of {} inputs, got {}",
            types.len(),
            axes.len()
        ));
    }
    let mut size = None;
    let mut resolved = Vec::with_capacity(axes.len());
    for (index, (axis, input)) in axes.iter().zip(types).enumerate() {
        let Some(axis) = *axis else {
            resolved.push(-1);
            continue;
        };
        let ndim = input.shape.len();
        let found = axis_index(axis, ndim).and_then(|at| Some((at, *input.shape.get(at)?)));
        let Some((at, len)) = found else {
            return Err(format!(
                "input {index} has {ndim} dimensions, got axis {axis}"
            ));
        };
        let first = *size.get_or_insert(len);
        if first != len {
            return Err(format!(
                "axes must be of one size, got {first} and {len} (input {index})"
            ));
        }
        resolved.push(c_int::try_from(at).unwrap_or(c_int::MAX));
    }
    match size {
        Some(_) => Ok(resolved),
        None => Err("wanted an axis of at least one input, got none".to_owned()),
    }
}

/// Returns where the axis goes in each output, counted from the start; `types` are those for one element.
pub(super) fn out_axes_of(
    axes: &[i32],
    types: &[ArrayType],
) -> std::result::Result<Vec<c_int>, String> {
    if axes.len() != types.len() && axes.len() != 1 {
        return Err(format!(
            "wanted an axis for each of {} outputs, got {}",
            types.len(),
            axes.len()
        ));
    }
    let numbered = types.iter().zip(axes.iter().cycle()).enumerate();
    numbered
        .map(|(index, (output, &axis))| {
            let ndim = output.shape.len() + 1;
            match axis_index(axis, ndim) {
                Some(at) => Ok(c_int::try_from(at).unwrap_or(c_int::MAX)),
                None => Err(format!(
                    "output {index} has {ndim} dimensions, got axis {axis}"
                )),
            }
        })
        .collect()
}
