//! Test inputs: reproducible numbers, rounded to a dtype, as arrays and as `f64`.

use half::{bf16, f16};
use mlx::{Array, Dtype};

/// Numbers of one shape, exactly as an array of `dtype` holds them.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub values: Vec<f64>,
    pub shape: Vec<i32>,
    pub dtype: Dtype,
}

impl Tensor {
    pub fn new(values: impl IntoIterator<Item = f64>, shape: &[i32], dtype: Dtype) -> Self {
        let values: Vec<f64> = values.into_iter().map(|x| round(x, dtype)).collect();
        assert_eq!(values.len(), count(shape), "values for {shape:?}");
        Self {
            values,
            shape: shape.to_vec(),
            dtype,
        }
    }

    pub fn filled(value: f64, shape: &[i32], dtype: Dtype) -> Self {
        Self::new(vec![value; count(shape)], shape, dtype)
    }

    /// The same numbers as an array.
    pub fn array(&self) -> Array {
        let shape = self.shape.as_slice();
        match self.dtype {
            Dtype::Float64 => Array::from_slice(&self.values, shape),
            Dtype::Float16 => {
                let values: Vec<f16> = self.values.iter().map(|&x| f16::from_f64(x)).collect();
                Array::from_slice(&values, shape)
            }
            Dtype::Bfloat16 => {
                let values: Vec<bf16> = self.values.iter().map(|&x| bf16::from_f64(x)).collect();
                Array::from_slice(&values, shape)
            }
            _ => {
                let values: Vec<f32> = self.values.iter().map(|&x| x as f32).collect();
                Array::from_slice(&values, shape)
            }
        }
        .unwrap()
    }

    /// Size of an axis.
    pub fn dim(&self, axis: usize) -> usize {
        usize::try_from(self.shape[axis]).unwrap()
    }
}

/// Reads an array of any floating dtype as `f64`.
pub fn read(array: &Array) -> Vec<f64> {
    match array.dtype().unwrap() {
        Dtype::Float64 => array.to_vec::<f64>().unwrap(),
        Dtype::Float32 => array
            .to_vec::<f32>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect(),
        Dtype::Float16 => array
            .to_vec::<f16>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect(),
        Dtype::Bfloat16 => array
            .to_vec::<bf16>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect(),
        other => panic!("not a floating dtype: {other}"),
    }
}

pub fn count(shape: &[i32]) -> usize {
    shape.iter().map(|&n| usize::try_from(n).unwrap()).product()
}

fn round(x: f64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float64 => x,
        Dtype::Float16 => f16::from_f64(x).to_f64(),
        Dtype::Bfloat16 => bf16::from_f64(x).to_f64(),
        _ => f64::from(x as f32),
    }
}

/// A small generator of reproducible numbers (xorshift64*).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % n
    }

    /// A number from -1 to 1.
    pub fn signed(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 29) - 1.0
    }

    /// Numbers from `-size` to `size`.
    pub fn tensor(&mut self, size: f64, shape: &[i32], dtype: Dtype) -> Tensor {
        let values: Vec<f64> = (0..count(shape)).map(|_| size * self.signed()).collect();
        Tensor::new(values, shape, dtype)
    }

    /// True or false, true in `percent` of the cases.
    pub fn bools(&mut self, percent: u64, shape: &[i32]) -> Vec<bool> {
        (0..count(shape))
            .map(|_| self.below(100) < percent)
            .collect()
    }
}
