//! One call of an operation: its inputs, the types of its results, and how those are made.

use mlx::{ArrayType, Dtype};
use mlx_compiler::{Error, Result};

use crate::number::{Number, Rounding, promote};
use crate::tensor::{Tensor, broadcast_shape, sizes};

/// What an operation is given.
pub(crate) struct Call<'a> {
    pub(crate) name: &'a str,
    pub(crate) inputs: &'a [&'a Tensor],
    pub(crate) types: &'a [ArrayType],
    pub(crate) rounding: Rounding,
}

impl<'a> Call<'a> {
    /// Returns the input of this number.
    pub(crate) fn input(&self, k: usize) -> Result<&'a Tensor> {
        self.inputs
            .get(k)
            .copied()
            .ok_or_else(|| self.error(format!("wanted an input {k}, got {}", self.inputs.len())))
    }

    /// Returns the dtype of the first result.
    pub(crate) fn dtype(&self) -> Result<Dtype> {
        Ok(self.type_of(0)?.dtype)
    }

    /// Returns the shape of the first result.
    pub(crate) fn shape(&self) -> Result<Vec<usize>> {
        sizes(&self.type_of(0)?.shape)
    }

    fn type_of(&self, k: usize) -> Result<&'a ArrayType> {
        self.types
            .get(k)
            .ok_or_else(|| self.error(format!("wanted a result {k}, got {}", self.types.len())))
    }

    /// Returns an error of this operation.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::Unsupported(format!("{}: {message}", self.name))
    }

    /// Returns the error for an operation that has no formula here.
    pub(crate) fn refuse(&self) -> Error {
        crate::unknown(self.name)
    }

    /// Makes the only result of elements in row-major order.
    pub(crate) fn one(&self, numbers: Vec<Number>) -> Result<Vec<Tensor>> {
        Ok(vec![self.result(0, numbers)?])
    }

    /// Makes the result of this number of elements in row-major order.
    pub(crate) fn result(&self, k: usize, numbers: Vec<Number>) -> Result<Tensor> {
        let wanted = self.type_of(k)?;
        Tensor::rounded(&sizes(&wanted.shape)?, wanted.dtype, numbers, self.rounding)
    }

    /// Makes the only result of a tensor, converted to the wanted dtype.
    pub(crate) fn tensor(&self, tensor: &Tensor) -> Result<Vec<Tensor>> {
        Ok(vec![tensor.astype(self.dtype()?, self.rounding)])
    }

    /// Returns the inputs in a common dtype and shape.
    pub(crate) fn common(&self, inputs: &[&Tensor]) -> Result<(Dtype, Vec<Tensor>)> {
        let dtype = inputs
            .iter()
            .map(|input| input.dtype())
            .reduce(promote)
            .ok_or_else(|| self.error("wanted an input, got none"))?;
        let shape = broadcast_shape(inputs.iter().map(|input| input.shape()))?;
        let inputs = inputs
            .iter()
            .map(|input| input.astype(dtype, self.rounding).broadcast_to(&shape))
            .collect::<Result<_>>()?;
        Ok((dtype, inputs))
    }
}
