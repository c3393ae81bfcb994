//! Small random numbers, shapes and arrays: the same for the same seed, on every machine.

use half::{bf16, f16};
use mlx::{Array, Complex64, Dtype};

/// A generator of random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Returns the generator of one case of one seed.
    pub fn new(seed: u64, case: u64) -> Self {
        let mut random = Self(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        let span = (i64::from(high) - i64::from(low) + 1).max(1) as u64;
        (i64::from(low) + (self.next() % span) as i64) as i32
    }

    /// Returns true `percent` times of 100.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// Returns the size of an axis: small, sometimes none.
    pub fn size(&mut self) -> i32 {
        self.pick(&[0, 1, 1, 2, 2, 3, 3, 4, 5, 8])
    }

    /// Returns a shape of up to four small axes.
    pub fn shape(&mut self) -> Vec<i32> {
        let ndim = self.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4]);
        (0..ndim).map(|_| self.size()).collect()
    }

    /// Returns a shape that broadcasts with `shape`, mostly.
    pub fn beside(&mut self, shape: &[i32]) -> Vec<i32> {
        if self.chance(10) {
            return self.shape();
        }
        let skip = if self.chance(30) {
            self.below(shape.len() + 1)
        } else {
            0
        };
        let one = |size: &i32, random: &mut Self| if random.chance(15) { 1 } else { *size };
        shape[skip..].iter().map(|size| one(size, self)).collect()
    }

    /// Returns any whole number that an attribute may be given, mostly small.
    pub fn whole(&mut self) -> i32 {
        match self.below(20) {
            0 => self.pick(&[
                i32::MIN,
                i32::MIN + 1,
                i32::MAX,
                i32::MAX - 1,
                1 << 30,
                -(1 << 30),
                1 << 16,
            ]),
            1 | 2 => self.pick(&[16, 32, 64, 128, 7, -8]),
            _ => self.between(-3, 5),
        }
    }

    pub fn float(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => self.pick(&[1e30, -1e30, 1e-30, 1e300, 2147483648.0, -2147483649.0]),
            4 => -0.0,
            5 => 0.0,
            _ => f64::from(self.between(-16, 16)) / 4.0,
        }
    }

    /// Returns a number that is no NaN and not huge.
    fn plain(&mut self) -> f64 {
        f64::from(self.between(-16, 16)) / 4.0
    }

    /// Returns an array of this type. Its elements lie in memory in all the ways that views can make.
    pub fn array(&mut self, shape: &[i32], dtype: Dtype) -> Array {
        if !shape.is_empty() && self.chance(8) {
            // One element seen many times.
            let base: Vec<i32> = shape
                .iter()
                .map(|&n| if self.chance(50) { n.min(1) } else { n })
                .collect();
            return self.contiguous(&base, dtype).broadcast_to(shape);
        }
        if shape.len() >= 2 && self.chance(15) {
            let mut turned = shape.to_vec();
            turned.swap(0, shape.len() - 1);
            return self.contiguous(&turned, dtype).swapaxes(0, -1);
        }
        if !shape.is_empty() && self.chance(12) {
            // Every second element of the last axis, or all of them backwards.
            let mut wide = shape.to_vec();
            let last = wide.len() - 1;
            if self.chance(50) {
                wide[last] *= 2;
                let (start, step) = (vec![0; wide.len()], self.steps(wide.len(), 2));
                return slice(&self.contiguous(&wide, dtype), start, wide, step);
            }
            return self.contiguous(shape, dtype).flip(-1);
        }
        self.contiguous(shape, dtype)
    }

    fn steps(&mut self, ndim: usize, last: i32) -> Vec<i32> {
        let mut steps = vec![1; ndim];
        steps[ndim - 1] = last;
        steps
    }

    fn contiguous(&mut self, shape: &[i32], dtype: Dtype) -> Array {
        let n: usize = shape.iter().map(|&size| size.max(0) as usize).product();
        // A third of the floating arrays hold NaN and the like.
        let wild = self.chance(33);
        let wide = self.chance(20);
        let real = |random: &mut Self| if wild { random.float() } else { random.plain() };
        let whole = |random: &mut Self| -> i64 {
            if wide {
                random.next() as i64
            } else {
                i64::from(random.between(-3, 6))
            }
        };
        macro_rules! make {
            ($t:ty, $value:expr) => {{
                let values: Vec<$t> = (0..n).map(|_| $value).collect();
                Array::from_result(Array::from_slice(&values, shape))
            }};
        }
        match dtype {
            Dtype::Bool => make!(bool, self.chance(50)),
            Dtype::Uint8 => make!(u8, whole(self) as u8),
            Dtype::Uint16 => make!(u16, whole(self) as u16),
            Dtype::Uint32 => make!(u32, whole(self) as u32),
            Dtype::Uint64 => make!(u64, whole(self) as u64),
            Dtype::Int8 => make!(i8, whole(self) as i8),
            Dtype::Int16 => make!(i16, whole(self) as i16),
            Dtype::Int32 => make!(i32, whole(self) as i32),
            Dtype::Int64 => make!(i64, whole(self)),
            Dtype::Float16 => make!(f16, f16::from_f64(real(self))),
            Dtype::Float32 => make!(f32, real(self) as f32),
            Dtype::Float64 => make!(f64, real(self)),
            Dtype::Bfloat16 => make!(bf16, bf16::from_f64(real(self))),
            Dtype::Complex64 => make!(
                Complex64,
                Complex64::new(real(self) as f32, real(self) as f32)
            ),
        }
    }
}

fn slice(a: &Array, start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32>) -> Array {
    mlx::bind(
        mlx::Op::Slice {
            start,
            stop,
            strides,
        },
        &[a],
    )
}
