//! A row that is ready to run.

use std::path::Path;

use anyhow::{Result, bail};
use mlx::Array;

/// Which of our forms this process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What a user is advised to write: fused functions, compiled models.
    Usual,
    /// Formulas in plain operations.
    Composed,
    /// Formulas in plain operations, compiled.
    Compiled,
    /// As `Usual`, but nothing is compiled.
    Eager,
}

impl Form {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "fast" | "one-thread" => Form::Usual,
            "composed" => Form::Composed,
            "compiled" => Form::Compiled,
            "eager" => Form::Eager,
            other => {
                bail!("form: wanted fast, composed, compiled, eager or one-thread, got {other:?}")
            }
        })
    }
}

/// A row that is ready to run.
pub trait Work {
    /// Runs once and leaves the result: in the file, or as the text that is returned.
    fn first(&mut self, output: &Path) -> Result<Option<String>>;

    /// Runs once more and returns the milliseconds.
    fn run(&mut self) -> Result<f64>;
}

/// One array, computed by a function.
pub struct Computed(pub Box<dyn FnMut() -> Result<Array>>);

impl Work for Computed {
    fn first(&mut self, output: &Path) -> Result<Option<String>> {
        let array = (self.0)()?;
        mlx::io::save_npy(output, &array)?;
        Ok(None)
    }

    fn run(&mut self) -> Result<f64> {
        let start = std::time::Instant::now();
        let array = (self.0)()?;
        mlx::eval([&array])?;
        mlx::synchronize()?;
        drop(array);
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
