//! A formula, and how its eager and its compiled form run.

use std::time::Duration;

use anyhow::{bail, ensure};
use mlx::tree::{Arguments, Function, Tree};
use mlx::{Array, Dtype, random};
use mlx_compiler::jit;

use crate::clock::once;

/// One row: a function and how its inputs are made.
pub struct Formula {
    /// `formula/dtype/shape`.
    pub name: &'static str,
    /// Makes the inputs and both forms.
    pub(super) make: fn() -> anyhow::Result<Pair>,
}

type Form = Box<dyn Fn() -> mlx::Result<Vec<Array>>>;

/// A function on evaluated inputs, uncompiled and compiled.
pub(super) struct Pair {
    eager: Form,
    compiled: Form,
}

/// Pairs a function with its compiled form; the inputs are computed here.
pub(super) fn pair<Args, F>(args: Args, function: F) -> anyhow::Result<Pair>
where
    Args: Arguments + 'static,
    F: Function<Args> + Clone + 'static,
{
    let mut inputs = Vec::new();
    args.visit(&mut |array| inputs.push(array.clone()));
    mlx::eval(&inputs)?;
    mlx::synchronize()?;
    let args = std::rc::Rc::new(args);
    let compiled = jit(function.clone());
    let same = std::rc::Rc::clone(&args);
    Ok(Pair {
        eager: Box::new(move || {
            let output = function.apply(&args).map_err(mlx::Error::from_boxed)?;
            Ok(arrays(&output))
        }),
        compiled: Box::new(move || Ok(arrays(&compiled.call(same.refs())?))),
    })
}

fn arrays(tree: &impl Tree) -> Vec<Array> {
    let mut arrays = Vec::new();
    tree.visit(&mut |array| arrays.push(array.clone()));
    arrays
}

impl Pair {
    pub(super) fn eager(&self) -> mlx::Result<Vec<Array>> {
        (self.eager)()
    }

    pub(super) fn compiled(&self) -> mlx::Result<Vec<Array>> {
        (self.compiled)()
    }

    /// Computes both forms once: a fast wrong answer is no answer.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let (eager, compiled) = (self.eager()?, self.compiled()?);
        ensure!(!eager.is_empty() && eager.len() == compiled.len());
        for (eager, compiled) in eager.iter().zip(&compiled) {
            ensure!(eager.array_type()? == compiled.array_type()?);
            let tolerance = match eager.dtype()? {
                Dtype::Float16 => 2e-2,
                Dtype::Bfloat16 => 1e-1,
                _ => 1e-3,
            };
            let single = |array: &Array| array.astype(Dtype::Float32);
            let (eager, compiled) = (single(eager), single(compiled));
            if !eager
                .allclose_with(
                    &compiled,
                    mlx::CloseOptions {
                        rtol: tolerance,
                        atol: tolerance,
                        equal_nan: true,
                    },
                )
                .item::<bool>()?
            {
                bail!("the compiled form gives other numbers than the eager one");
            }
        }
        Ok(())
    }

    /// How many calls of the slower form take about this long.
    pub(super) fn calls_in(&self, time: Duration) -> mlx::Result<usize> {
        let mut longest = Duration::from_micros(1);
        for form in [&self.eager, &self.compiled] {
            once(form)?;
            longest = longest.max(once(form)?);
        }
        let calls = time.as_secs_f64() / longest.as_secs_f64();
        Ok((calls as usize).clamp(3, 300))
    }
}

/// Normal random numbers of a dtype, the same in each run.
pub(super) fn normal(shape: &[i32], dtype: Dtype) -> Array {
    random::normal_with(shape, &random::key(7)).astype(dtype)
}

/// As [`normal`] in `float32`, of another seed.
pub(super) fn single(seed: u64, shape: &[i32]) -> Array {
    random::normal_with(shape, &random::key(seed))
}

/// Integers from 0 up to but not including `high`.
pub(super) fn whole(seed: u64, shape: &[i32], high: i32) -> Array {
    random::randint_with(0, high, shape, &random::key(seed))
}
