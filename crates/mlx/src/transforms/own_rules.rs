//! How MLX applies a function with rules of its own: what C calls for each rule, and for those that follow from them.

use std::cell::RefCell;
use std::ffi::c_int;
use std::panic::Location;
use std::rc::Rc;

use super::body::run;
use super::execute::{each_paired, list};
use super::{FlatFunction, Transform, VmapRule, apply_at, checks};
use crate::ffi::custom_function::{self as native, JvpRule, Rules, VjpRule};
use crate::ffi::vector::Vector;
use crate::ffi::{Handle, NativeError, transform};
use crate::{Array, Error, Op, Result, bind};

type At = &'static Location<'static>;
type Native<T> = std::result::Result<T, NativeError>;

/// A function and its rules.
struct Custom {
    transform: Transform,
    function: Rc<FlatFunction>,
    vjp: Option<Rc<FlatFunction>>,
    jvp: Option<Rc<FlatFunction>>,
    vmap: Option<VmapRule>,
    at: At,
}

/// Applies a function with rules of its own to arrays.
pub(super) fn apply(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    handles: &[&Handle],
    at: At,
) -> Native<Vector> {
    let (Transform::CustomFunction { vjp, jvp, vmap }, [function, rules @ ..]) =
        (transform, functions)
    else {
        return Err(NativeError::from("wanted a function with rules, got none"));
    };
    let mut rules = rules.iter().cloned();
    let mut next = |is_there: &bool| if *is_there { rules.next() } else { None };
    let custom = Custom {
        transform: transform.clone(),
        function: Rc::clone(function),
        vjp: next(vjp),
        jvp: next(jvp),
        vmap: vmap.clone(),
        at,
    };
    let name = transform.name();
    let body = each_paired(name, &custom.forward());
    let rules = Rules {
        vjp: Some(custom.vjp_rule()),
        jvp: custom.jvp_rule(),
        vmap: Some(Box::new(move |inputs, axes| custom.vectorize(inputs, axes))),
    };
    native::custom_function(body, rules, &list(handles)?)
}

impl Custom {
    /// Returns the function as it is run forwards.
    ///
    /// MLX takes the tangents of all that depends on the inputs, also where a rule gives what comes out, and fails
    /// where an operation has none: with a rule, what the function computes on the way depends on no input.
    fn forward(&self) -> Rc<FlatFunction> {
        if self.jvp.is_none() {
            return Rc::clone(&self.function);
        }
        let function = Rc::clone(&self.function);
        Rc::new(move |inputs: &[Array]| {
            let inputs: Vec<Array> = inputs
                .iter()
                .map(|input| bind(Op::StopGradient, &[input]))
                .collect();
            function(&inputs)
        })
    }

    /// Returns what C calls for the gradient: the rule, or MLX's gradient of the function.
    fn vjp_rule(&self) -> Box<VjpRule> {
        let name = self.transform.name();
        match &self.vjp {
            Some(rule) => {
                let rule = Rc::clone(rule);
                Box::new(move |lists| run(name, lists.into_iter().flatten().collect(), &*rule))
            }
            None => {
                let function = Rc::clone(&self.function);
                Box::new(move |[inputs, cotangents, _]| {
                    let inputs = Vector::of_handles(&inputs)?;
                    let cotangents = Vector::of_handles(&cotangents)?;
                    let body = each_paired(name, &function);
                    Ok(transform::vjp(body, &inputs, &cotangents)?.1)
                })
            }
        }
    }

    /// Returns what C calls for the tangents, if there is a rule; inputs without a tangent get zeros.
    fn jvp_rule(&self) -> Option<Box<JvpRule>> {
        let (name, rule) = (self.transform.name(), Rc::clone(self.jvp.as_ref()?));
        Some(Box::new(move |[inputs, tangents], argnums| {
            let mut given: Vec<Option<Array>> = inputs.iter().map(|_| None).collect();
            for (tangent, &argnum) in tangents.into_iter().zip(argnums) {
                if let Some(slot) = usize::try_from(argnum).ok().and_then(|n| given.get_mut(n)) {
                    *slot = Some(Array::from_handle(tangent));
                }
            }
            let with_tangents = |arrays: &[Array]| {
                let tangents = given
                    .iter()
                    .zip(arrays)
                    .map(|(tangent, input)| match tangent {
                        Some(tangent) => tangent.clone(),
                        None => bind(Op::ZerosLike, &[input]),
                    });
                let all: Vec<Array> = arrays.iter().cloned().chain(tangents).collect();
                rule(&all)
            };
            run(name, inputs, &with_tangents)
        }))
    }

    /// Applies the function along axes of its inputs, -1 for none: by the rule, or as one that keeps the other rules.
    fn vectorize(&self, inputs: Vec<Handle>, axes: &[c_int]) -> Native<(Vector, Vec<c_int>)> {
        let axes: Vec<Option<i32>> = axes
            .iter()
            .map(|&axis| (axis >= 0).then_some(axis))
            .collect();
        let output_axes = RefCell::new(Vec::new());
        let by_rule = |arrays: &[Array]| -> Result<Vec<Array>> {
            let (outputs, given) = match &self.vmap {
                Some(VmapRule(rule)) => rule(arrays, &axes)?,
                None => (self.along(arrays, &axes)?, vec![Some(0)]),
            };
            let size = size_along(arrays, &axes)?;
            *output_axes.borrow_mut() =
                checks::vectorized(&self.transform, size, &outputs, &given, self.at)?;
            Ok(outputs)
        };
        let outputs = run(self.transform.name(), inputs, &by_rule)?;
        Ok((outputs, output_axes.into_inner()))
    }

    /// Returns the outputs along axes of the inputs, each with its axis in front, of a function whose gradient and
    /// tangents are the rules along those axes.
    fn along(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<Vec<Array>> {
        let at = self.at;
        let function = vmapped(&self.function, axes.to_vec(), vec![0], at);
        let mut functions = vec![function];
        if let Some(rule) = &self.vjp {
            functions.push(vectorized_vjp(rule, axes, at));
        }
        if let Some(rule) = &self.jvp {
            functions.push(vmapped(rule, [axes, axes].concat(), vec![0], at));
        }
        let inputs: Vec<&Array> = inputs.iter().collect();
        let transform = Transform::CustomFunction {
            vjp: self.vjp.is_some(),
            jvp: self.jvp.is_some(),
            vmap: None,
        };
        apply_at(&transform, &functions, &inputs, at)
    }
}

/// Returns a function along these axes.
fn vmapped(
    function: &Rc<FlatFunction>,
    in_axes: Vec<Option<i32>>,
    out_axes: Vec<i32>,
    at: At,
) -> Rc<FlatFunction> {
    let function = Rc::clone(function);
    let transform = Transform::Vmap { in_axes, out_axes };
    Rc::new(move |arrays: &[Array]| {
        let inputs: Vec<&Array> = arrays.iter().collect();
        apply_at(&transform, &[Rc::clone(&function)], &inputs, at)
    })
}

/// Returns a rule for gradients along axes of the inputs; cotangents and outputs have theirs in front.
///
/// An input that is the same for all elements gets the sum of what they give for it.
fn vectorized_vjp(rule: &Rc<FlatFunction>, axes: &[Option<i32>], at: At) -> Rc<FlatFunction> {
    let (rule, axes) = (Rc::clone(rule), axes.to_vec());
    Rc::new(move |arrays: &[Array]| {
        let n_others = arrays.len().saturating_sub(axes.len());
        let mut in_axes = axes.clone();
        in_axes.extend(std::iter::repeat_n(Some(0), n_others));
        let out_axes = axes.iter().map(|axis| axis.unwrap_or(0)).collect();
        let products = vmapped(&rule, in_axes, out_axes, at)(arrays)?;
        let summed = products
            .into_iter()
            .zip(&axes)
            .map(|(product, axis)| match axis {
                Some(_) => product,
                None => product.sum(0),
            });
        Ok(summed.collect())
    })
}

/// Returns the size of the axis that inputs have in common.
fn size_along(inputs: &[Array], axes: &[Option<i32>]) -> Result<i32> {
    let found = inputs
        .iter()
        .zip(axes)
        .find_map(|(input, axis)| Some((input, (*axis)?)));
    match found {
        Some((input, axis)) => input.dim(axis),
        None => Err(Error::op(
            "vmap",
            "wanted an axis of at least one input, got none",
        )),
    }
}
