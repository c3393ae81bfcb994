//! [`Graph::run`]: a graph that was read from a text, run on MLX.

use mlx::Array;

use super::executor::{Executor, check_types};
use crate::graph::Graph;
use crate::{Error, Result};

impl Graph {
    /// Runs the graph on MLX, node by node, as it is: recognized formulas by their bodies.
    ///
    /// For a graph that was read from a text. A function is called faster by [`jit`](crate::jit()).
    ///
    /// # Errors
    /// When the graph is not valid, the number or types of inputs differ, a constant is missing, an operation fails, or
    /// an output has another type than in the graph.
    ///
    /// ```
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let graph: mlx_compiler::Graph = "\
    /// graph twice(x0: float32[2]) {
    ///   %0: float32[2] = multiply x0, 2.0
    ///   return %0
    /// }".parse()?;
    /// assert_eq!(graph.run(&[&mlx::array!([1.0, 2.0])])?[0].to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.verify()
            .map_err(|error| Error::Unsupported(format!("run: {error}")))?;
        let executor = Executor::new(self.clone())?;
        check_types(self.name(), "input", inputs, &self.input_types())?;
        let outputs = mlx::trace::without_recording(|| executor.run(inputs))?;
        let arrays: Vec<&Array> = outputs.iter().collect();
        check_types(self.name(), "output", &arrays, &self.output_types())?;
        Ok(outputs)
    }
}
