//! Steps of optimizers: a parameter and its running means are updated in place, in one pass.
//!
//! Formula: that of each rule, in the order in which it is written there, so that results are those of the operations one
//! by one.
//! Blocking: a register of each array at a time; a task has 16,384 elements.
//! Limit: memory. Each array is read once, and all but the gradient are written once. Error: `2^-23` of each term.

mod rule;

use pulp::{Simd, WithSimd};

use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

use rule::Rule;
pub use rule::{AdamStep, LionStep, MomentumStep, OptimizerStep, RmsPropStep, SgdStep};

const OP: &str = "optimizer_step";
/// Elements of a task.
const TASK: usize = 16 << 10;
/// Nanoseconds for an element of an array on one thread.
const NANOSECONDS: f64 = 0.3;

/// Updates a parameter and its running means, `arrays`, by the gradient. Which arrays these are is said by the step.
///
/// ```
/// use mlx_kernels::{OptimizerStep, SgdStep, optimizer_step};
///
/// let step = OptimizerStep::Sgd(SgdStep { rate: 0.5, weight_decay: 0.0 });
/// let mut parameter = [1.0, 2.0];
/// optimizer_step(step, &[2.0, 4.0], &mut [&mut parameter])?;
/// assert_eq!(parameter, [0.0, 0.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When there are more or fewer arrays than the step has, or one is not as long as the gradient.
pub fn optimizer_step(
    step: OptimizerStep,
    gradient: &[f32],
    arrays: &mut [&mut [f32]],
) -> Result<()> {
    for array in arrays.iter() {
        length(OP, "an array", gradient.len(), array.len())?;
    }
    match step {
        OptimizerStep::Sgd(rule) => update(rule, gradient, arrays),
        OptimizerStep::Momentum(rule) => update(rule, gradient, arrays),
        OptimizerStep::Lion(rule) => update(rule, gradient, arrays),
        OptimizerStep::RmsProp(rule) => update(rule, gradient, arrays),
        OptimizerStep::Adam(rule) => update(rule, gradient, arrays),
    }
}

fn update<R: Rule<N>, const N: usize>(
    rule: R,
    gradient: &[f32],
    arrays: &mut [&mut [f32]],
) -> Result<()> {
    let got = arrays.len();
    let Ok(arrays) = <&mut [&mut [f32]; N]>::try_from(arrays) else {
        return Err(Error::Parameter {
            op: OP,
            what: "the number of arrays",
            wanted: "that of the step",
            got,
        });
    };
    let mut rest = arrays.each_mut().map(|array| &mut **array);
    let mut tasks = Vec::with_capacity(gradient.len().div_ceil(TASK));
    for gradient in gradient.chunks(TASK) {
        let count = gradient.len();
        let parts = rest.each_mut().map(|rest| {
            let (part, after) = std::mem::take(rest).split_at_mut(count);
            *rest = after;
            part
        });
        tasks.push((gradient, parts));
    }
    parallel_for(
        tasks.into_iter(),
        NANOSECONDS * (gradient.len() * (N + 1)) as f64,
        || (),
        |(), (gradient, arrays)| {
            simd::dispatch(Update {
                rule,
                gradient,
                arrays,
            });
        },
    );
    Ok(())
}

/// Elements that are updated, all arrays being as long as the gradient.
struct Update<'a, R, const N: usize> {
    rule: R,
    gradient: &'a [f32],
    arrays: [&'a mut [f32]; N],
}

impl<R: Rule<N>, const N: usize> WithSimd for Update<'_, R, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gradient, last_gradient) = S::as_simd_f32s(self.gradient);
        let mut arrays = self.arrays.map(|array| {
            let (registers, last) = S::as_mut_simd_f32s(array);
            (&mut registers[..gradient.len()], last)
        });
        for (number, gradient) in gradient.iter().enumerate() {
            let mut values = [Lanes::splat(simd, 0.0); N];
            for (value, (array, _)) in values.iter_mut().zip(&arrays) {
                *value = Lanes::new(simd, array[number]);
            }
            let values = self.rule.step(Lanes::new(simd, *gradient), values);
            for (value, (array, _)) in values.iter().zip(&mut arrays) {
                array[number] = value.value;
            }
        }
        if last_gradient.is_empty() {
            return;
        }
        let mut values = [Lanes::splat(simd, 0.0); N];
        for (value, (_, array)) in values.iter_mut().zip(&arrays) {
            *value = Lanes::new(simd, simd.partial_load_f32s(array));
        }
        let gradient = Lanes::new(simd, simd.partial_load_f32s(last_gradient));
        let values = self.rule.step(gradient, values);
        for (value, (_, array)) in values.iter().zip(&mut arrays) {
            simd.partial_store_f32s(array, value.value);
        }
    }
}
