//! Upsampling: nearest neighbours, linear and cubic interpolation over one, two or three axes of space.
//!
//! An interpolation over several axes is one along each axis in turn, so that a result costs a few products for each
//! axis, and not for each combination of them.

use std::sync::Arc;

use mlx::{Array, Error, Result};

use crate::kernels::{Terms, resample};
use crate::layer_error::in_layer;
use crate::training::wide;
use crate::{Forward, Module};

const NAME: &str = "Upsample";

/// The most places of an axis that is interpolated: up to here `f32` tells neighbours apart.
const MAX_PLACES: i32 = 1 << 24;

/// How values between those of the input are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpsampleMode {
    /// The nearest value.
    #[default]
    Nearest,
    /// Between the two values around a place, in proportion to their distance; bilinear or trilinear over several axes.
    Linear,
    /// By the cubic polynomial of the four values around a place, with Keys' coefficient -0.75.
    Cubic,
    /// None of these: what a text gives that names none.
    #[doc(hidden)]
    Unknown,
}

/// `"nearest"`, `"linear"` or `"cubic"`, as in Python; another text gives a layer whose results carry an error.
impl From<&str> for UpsampleMode {
    fn from(mode: &str) -> Self {
        match mode {
            "nearest" => Self::Nearest,
            "linear" => Self::Linear,
            "cubic" => Self::Cubic,
            _ => Self::Unknown,
        }
    }
}

/// The factor of the size of each axis of space: one for all, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub enum ScaleFactor {
    /// The same factor for all axes.
    One(f64),
    /// A factor for each axis.
    Each(Vec<f64>),
}

macro_rules! factors {
    ($($number:ty)*) => {$(
        impl From<$number> for ScaleFactor {
            fn from(factor: $number) -> Self {
                Self::One(f64::from(factor))
            }
        }
        impl<const N: usize> From<[$number; N]> for ScaleFactor {
            fn from(factors: [$number; N]) -> Self {
                Self::Each(factors.map(f64::from).to_vec())
            }
        }
        impl From<&[$number]> for ScaleFactor {
            fn from(factors: &[$number]) -> Self {
                Self::Each(factors.iter().copied().map(f64::from).collect())
            }
        }
        impl From<Vec<$number>> for ScaleFactor {
            fn from(factors: Vec<$number>) -> Self {
                factors.as_slice().into()
            }
        }
    )*};
}

factors! { f64 f32 i32 }

impl From<(f64, f64)> for ScaleFactor {
    fn from((height, width): (f64, f64)) -> Self {
        [height, width].into()
    }
}

impl From<(f64, f64, f64)> for ScaleFactor {
    fn from((depth, height, width): (f64, f64, f64)) -> Self {
        [depth, height, width].into()
    }
}

/// Upsampling of the axes between the first and the last, `mlx.nn.Upsample`: `[batch, space.., channels]` to
/// `[batch, floor(space * scale_factor).., channels]`.
///
/// ```
/// use mlx_nn::{Upsample, UpsampleMode};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([1.0, 2.0]).reshape([1, 2, 1]);
/// assert_eq!(Upsample::new(2).forward(&x).to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
/// let linear = Upsample::new(2.0).mode(UpsampleMode::Linear);
/// assert_eq!(linear.forward(&x).to_vec::<f32>()?, [1.0, 1.25, 1.75, 2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Module)]
pub struct Upsample {
    /// The factor of the sizes.
    #[module(static)]
    pub scale_factor: ScaleFactor,
    /// How values are computed.
    #[module(static)]
    pub mode: UpsampleMode,
    /// Whether the first and last elements of input and output have the same places, in linear and cubic mode; else
    /// their outer edges have.
    pub align_corners: bool,
    /// Whether an axis that gets shorter is filtered before, in linear and cubic mode: the kernel is as much wider, so
    /// that all values count. The cubic kernel has the coefficient -0.5 then.
    pub antialias: bool,
}

impl Upsample {
    /// Returns upsampling by one factor, `2` or `1.5`, or one for each axis of space, to nearest neighbours.
    pub fn new(scale_factor: impl Into<ScaleFactor>) -> Self {
        Self {
            scale_factor: scale_factor.into(),
            mode: UpsampleMode::default(),
            align_corners: false,
            antialias: false,
        }
    }

    /// Returns the layer with another way to compute values.
    #[must_use]
    pub fn mode(mut self, mode: impl Into<UpsampleMode>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Returns the layer with the corners of input and output at the same places, or not.
    #[must_use]
    pub fn align_corners(mut self, align_corners: bool) -> Self {
        self.align_corners = align_corners;
        self
    }

    /// Returns the layer with a filter for axes that get shorter, or without.
    #[must_use]
    pub fn antialias(mut self, antialias: bool) -> Self {
        self.antialias = antialias;
        self
    }

    /// Upsamples `[batch, space.., channels]`.
    ///
    /// Linear and cubic mode give `float32` for integers and half precision, as Python does. An input without an axis of
    /// space, another number of factors, a factor that is not positive or leaves nothing, and `antialias` with
    /// `align_corners` or nearest neighbours give an array that carries the error.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = Array::from_result(self.upsampled(x));
        in_layer(NAME, y, [x], || None)
    }

    #[track_caller]
    fn upsampled(&self, x: &Array) -> Result<Array> {
        let wrong = |message: &str| Err(Error::op(NAME, message));
        if self.mode == UpsampleMode::Unknown {
            return wrong("mode must be nearest, linear or cubic, got another text");
        }
        if self.antialias && self.mode == UpsampleMode::Nearest {
            return wrong("antialias must be false for nearest neighbours");
        }
        if self.antialias && self.align_corners {
            return wrong("antialias must be false with align_corners");
        }
        let shape = x.shape()?;
        if shape.len() < 3 {
            return wrong(&format!("x must have at least 3 axes, got {shape:?}"));
        }
        let factors = self.factors(shape.len() - 2)?;
        let space = &shape[1..shape.len() - 1];
        let mut axes = Vec::new();
        for (&size, &factor) in space.iter().zip(&factors) {
            axes.push(Axis::new(size, factor)?);
        }
        #[allow(clippy::float_cmp)]
        let is_whole = factors.iter().all(|factor| factor.trunc() == *factor);
        if self.mode == UpsampleMode::Nearest && is_whole {
            return Ok(repeated(x, &shape, &axes));
        }
        if let Some(axis) = axes.iter().find(|axis| axis.new_size > MAX_PLACES) {
            let size = axis.new_size;
            return wrong(&format!(
                "an axis must get at most {MAX_PLACES} places, got {size}"
            ));
        }
        if self.mode == UpsampleMode::Nearest {
            let along = |y: Array, (index, axis): (usize, &Axis)| {
                let place = i32::try_from(index + 1).unwrap_or(i32::MAX);
                y.take(Array::from(axis.nearest()), place)
            };
            return Ok(axes.iter().enumerate().fold(x.clone(), along));
        }
        let samples: Vec<Vec<Sample>> = axes.iter().map(|axis| self.samples(axis)).collect();
        let terms = axes.iter().zip(&samples);
        let terms = terms.map(|(axis, samples)| axis.terms(samples)).collect();
        let samples: Arc<[Vec<Sample>]> = samples.into();
        let composed = Arc::clone(&samples);
        let by_kernel = resample(terms, x, move |x| sums(x, &composed));
        Ok(by_kernel.unwrap_or_else(|| sums(x, &samples)))
    }

    #[track_caller]
    fn factors(&self, n_axes: usize) -> Result<Vec<f64>> {
        let factors = match &self.scale_factor {
            ScaleFactor::One(factor) => vec![*factor; n_axes],
            ScaleFactor::Each(factors) if factors.len() == n_axes => factors.clone(),
            ScaleFactor::Each(factors) => {
                let message =
                    format!("scale_factor must be one number or {n_axes}, got {factors:?}");
                return Err(Error::op(NAME, message));
            }
        };
        match factors
            .iter()
            .find(|factor| !(factor.is_finite() && **factor > 0.0))
        {
            Some(factor) => {
                let message = format!("scale_factor must be positive, got {factor}");
                Err(Error::op(NAME, message))
            }
            None => Ok(factors),
        }
    }

    /// Returns what each place of an axis is the sum of.
    fn samples(&self, axis: &Axis) -> Vec<Sample> {
        let places = axis.places(self.align_corners);
        match (self.mode, self.antialias) {
            (UpsampleMode::Cubic, true) => axis.filtered(&places, keys_cubic, 2.0),
            (_, true) => axis.filtered(&places, triangle, 1.0),
            (UpsampleMode::Cubic, false) => axis.cubic(&places),
            (_, false) => axis.linear(&places),
        }
    }
}

impl Forward for Upsample {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Repeats each element as many times as an axis gets longer.
#[track_caller]
fn repeated(x: &Array, shape: &[i32], axes: &[Axis]) -> Array {
    let (mut split, mut wide, mut joined) = (vec![shape[0]], vec![shape[0]], vec![shape[0]]);
    for axis in axes {
        split.extend([axis.size, 1]);
        wide.extend([axis.size, axis.new_size / axis.size.max(1)]);
        joined.push(axis.new_size);
    }
    let channels = shape[shape.len() - 1];
    for sizes in [&mut split, &mut wide, &mut joined] {
        sizes.push(channels);
    }
    x.reshape(split).broadcast_to(wide).reshape(joined)
}

/// One term of a weighted sum: an element for each place of the result, and its weight.
struct Sample {
    indices: Vec<u32>,
    weights: Vec<f32>,
}

/// Returns the sums of samples along one axis after the other.
#[track_caller]
fn sums(x: &Array, samples: &[Vec<Sample>]) -> Array {
    let ndim_behind = samples.len();
    let axes = samples.iter().enumerate();
    axes.fold(x.clone(), |y, (index, samples)| {
        let place = i32::try_from(index + 1).unwrap_or(i32::MAX);
        sum_of(&y, samples, place, ndim_behind - index)
    })
}

/// Returns the sum of the elements along `axis`, each times its weight.
#[track_caller]
fn sum_of(x: &Array, samples: &[Sample], axis: i32, ndim_behind: usize) -> Array {
    let mut shape = vec![-1];
    shape.resize(1 + ndim_behind, 1);
    let terms = samples.iter().map(|sample| {
        let weights = Array::from(sample.weights.clone()).reshape(shape.as_slice());
        // The sum is computed in the dtype of the weights, as Python's is.
        wide(&x.take(Array::from(sample.indices.clone()), axis)) * weights
    });
    terms
        .reduce(|sum, term| sum + term)
        .unwrap_or_else(|| x.clone())
}

/// An axis of space and its new size. Places are computed in `f32` in the same steps as in Python, so that they round to
/// the same neighbours.
struct Axis {
    size: i32,
    new_size: i32,
    factor: f64,
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
impl Axis {
    #[track_caller]
    fn new(size: i32, factor: f64) -> Result<Self> {
        let new_size = (factor * f64::from(size)).floor();
        if new_size < 1.0 || new_size > f64::from(i32::MAX) {
            let message =
                format!("scale_factor must leave 1 to 2^31 - 1 places of {size}, got {factor}");
            return Err(Error::op(NAME, message));
        }
        Ok(Self {
            size,
            new_size: new_size as i32,
            factor,
        })
    }

    /// Returns the terms of each place: its element of each sample.
    fn terms(&self, samples: &[Sample]) -> Terms {
        let places = self.new_size as usize;
        let each = || (0..places).flat_map(|place| samples.iter().map(move |one| (one, place)));
        Terms {
            input: self.size as usize,
            starts: (0..=places).map(|place| place * samples.len()).collect(),
            indices: each().map(|(one, place)| one.indices[place]).collect(),
            weights: each().map(|(one, place)| one.weights[place]).collect(),
        }
    }

    /// Returns the element nearest to each place.
    fn nearest(&self) -> Vec<u32> {
        let ratio = (f64::from(self.size) / f64::from(self.new_size)) as f32;
        let place = |index: i32| match self.new_size > self.size {
            true => ((index as f32 + 0.5) * ratio - 0.5).round_ties_even(),
            false => index as f32 * ratio,
        };
        (0..self.new_size)
            .map(|index| self.inside(place(index)))
            .collect()
    }

    /// Returns where each place of the result is in the input.
    fn places(&self, align_corners: bool) -> Vec<f32> {
        let (size, new_size) = (f64::from(self.size), f64::from(self.new_size));
        let (step, start) = match align_corners {
            true => ((size - 1.0) / (new_size - 1.0).max(1.0), 0.0),
            false => {
                let step = 1.0 / self.factor;
                (step, ((new_size - 1.0) * step - size + 1.0) / 2.0)
            }
        };
        let place = |index: i32| index as f32 * step as f32 - start as f32;
        (0..self.new_size).map(place).collect()
    }

    /// Returns the element at a place, the first or last where it is outside.
    fn inside(&self, place: f32) -> u32 {
        place.clamp(0.0, (self.size - 1) as f32) as u32
    }

    /// Returns one sample: for each place the element and its weight.
    fn sample(&self, places: &[f32], of: impl Fn(f32) -> (f32, f32)) -> Sample {
        let (elements, weights): (Vec<f32>, Vec<f32>) =
            places.iter().map(|&place| of(place)).unzip();
        Sample {
            indices: elements
                .into_iter()
                .map(|element| self.inside(element))
                .collect(),
            weights,
        }
    }

    fn linear(&self, places: &[f32]) -> Vec<Sample> {
        let last = (self.size - 1) as f32;
        let share = |place: f32| {
            let place = place.clamp(0.0, last);
            (place, place - place.floor())
        };
        let left = self.sample(places, |place| {
            let (place, share) = share(place);
            (place.floor(), 1.0 - share)
        });
        let right = self.sample(places, |place| {
            let (place, share) = share(place);
            (place.ceil(), share)
        });
        vec![left, right]
    }

    fn cubic(&self, places: &[f32]) -> Vec<Sample> {
        [-1.0, 0.0, 1.0, 2.0]
            .map(|offset| {
                self.sample(places, |place| {
                    let element = place.floor() + offset;
                    (element, cubic((place - element).abs(), -0.75))
                })
            })
            .into()
    }

    /// Returns the samples of a kernel that is as much wider as the axis gets shorter; weights of elements outside are 0,
    /// and the others sum to 1.
    fn filtered(&self, places: &[f32], kernel: fn(f32) -> f32, radius: f64) -> Vec<Sample> {
        let widening = (1.0 / self.factor).max(1.0);
        // More elements than the axis has do not count.
        let reach = (radius * widening).ceil().min(f64::from(self.size)) as i32;
        let weight = |place: f32, element: f32| match (0.0..self.size as f32).contains(&element) {
            true => kernel((place - element).abs() / widening as f32),
            false => 0.0,
        };
        let offsets = || (-reach..=reach).map(|offset| offset as f32);
        let sums: Vec<f32> = places
            .iter()
            .map(|&place| {
                let sum: f32 = offsets()
                    .map(|offset| weight(place, place.floor() + offset))
                    .sum();
                if sum > 0.0 { sum } else { 1.0 }
            })
            .collect();
        let samples = offsets().map(|offset| {
            let mut sample = self.sample(places, |place| {
                let element = place.floor() + offset;
                (element, weight(place, element))
            });
            for (weight, sum) in sample.weights.iter_mut().zip(&sums) {
                *weight /= sum;
            }
            sample
        });
        let is_used = |sample: &Sample| sample.weights.iter().any(|&weight| weight != 0.0);
        samples.filter(is_used).collect()
    }
}

/// The kernel of linear interpolation, which is 0 from distance 1 on.
fn triangle(distance: f32) -> f32 {
    (1.0 - distance).max(0.0)
}

/// Keys' cubic kernel with coefficient -0.5, which is 0 from distance 2 on.
fn keys_cubic(distance: f32) -> f32 {
    if distance <= 2.0 {
        cubic(distance, -0.5)
    } else {
        0.0
    }
}

/// Keys' cubic convolution kernel with the coefficient `a`, at distances up to 2.
fn cubic(distance: f32, a: f32) -> f32 {
    let x = distance;
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    }
}
