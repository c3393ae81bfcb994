//! Numbers and texts from the bytes of a file, each checked against what is left.

use mlx::{ArrayType, Dtype};

/// Bytes that are read from front to back.
pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

/// Why bytes could not be read.
pub(super) type Fault = String;

/// The most axes that an array may have.
const MOST_AXES: usize = 32;

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.all[self.at..];
        let taken = rest.get(..n).ok_or_else(|| {
            format!(
                "wanted {n} bytes at {}, got the end {} later",
                self.at,
                rest.len()
            )
        })?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.all.len()
    }

    pub(super) fn bool(&mut self) -> Result<bool, Fault> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("wanted 0 or 1 at {}, got {other}", self.at - 1)),
        }
    }

    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32, Fault> {
        self.array().map(f32::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A list, of which each item has `least` bytes at least.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let (n, left) = (self.u64()?, self.all.len() - self.at);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        if n > left / least.max(1) {
            return Err(format!(
                "wanted at most {left} bytes, got a list of {n} at {}",
                self.at - 8
            ));
        }
        (0..n).map(|_| item(self)).collect()
    }

    pub(super) fn text(&mut self) -> Result<String, Fault> {
        let bytes = self.list(1, |bytes| Ok(bytes.array::<1>()?[0]))?;
        String::from_utf8(bytes).map_err(|_| format!("wanted a text before {}, got bytes", self.at))
    }

    pub(super) fn i32s(&mut self) -> Result<Vec<i32>, Fault> {
        self.list(4, Self::i32)
    }

    pub(super) fn numbers(&mut self) -> Result<Vec<u64>, Fault> {
        self.list(8, Self::u64)
    }

    pub(super) fn dtype(&mut self) -> Result<Dtype, Fault> {
        let (number, [size]) = (self.i32()?, self.array()?);
        let dtype = usize::try_from(number)
            .ok()
            .and_then(|at| Dtype::ALL.get(at).copied());
        match dtype {
            Some(dtype) if dtype.size() == usize::from(size) => Ok(dtype),
            _ => Err(format!(
                "wanted a dtype before {}, got number {number} of {size} bytes",
                self.at
            )),
        }
    }

    pub(super) fn shape(&mut self) -> Result<Vec<i32>, Fault> {
        let shape = self.i32s()?;
        let mut elements: usize = 1;
        for size in &shape {
            let size = usize::try_from(*size).ok();
            let product = size.and_then(|size| elements.checked_mul(size));
            elements = product.unwrap_or(usize::MAX);
        }
        if shape.len() > MOST_AXES
            || shape.iter().any(|size| *size < 0)
            || elements > isize::MAX as usize / 8
        {
            return Err(format!("wanted a shape before {}, got {shape:?}", self.at));
        }
        Ok(shape)
    }

    pub(super) fn array_type(&mut self) -> Result<ArrayType, Fault> {
        Ok(ArrayType {
            shape: self.shape()?,
            dtype: self.dtype()?,
        })
    }
}
