//! Tables of sines and cosines that depend on no input: which angles they hold, proven by their values.

use mlx::Dtype;

use super::angles::{MAX_TABLE_ELEMENTS, PairLayout, RopeAngles, axis_of_one, unproven};
use crate::fusions::matcher::Matcher;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::Value;

/// The values of cosine and sine tables.
pub(super) struct TableValues {
    cos: Vec<f64>,
    sin: Vec<f64>,
    dtype: Dtype,
    /// The number of positions, and of pairs.
    length: usize,
    half: usize,
    pair_layout: PairLayout,
    axis: usize,
    /// Whether one position is broadcast over several elements.
    is_broadcast: bool,
}

impl TableValues {
    /// Reads tables for elements of `shape`; `None` when they do not hold sines and cosines of anything.
    pub(super) fn read(
        matcher: &Matcher<'_>,
        [cos, sin]: [Value; 2],
        shape: &[i32],
        pair_layout: PairLayout,
        axis: usize,
    ) -> Option<Self> {
        if matcher.shape(cos) != matcher.shape(sin) {
            return None;
        }
        let half = usize::try_from(*shape.last()?)
            .ok()
            .filter(|half| *half > 0)?;
        let dtype = matcher.dtype(cos);
        let (cos, sin) = (
            matcher.constant_values(cos, MAX_TABLE_ELEMENTS)?,
            matcher.constant_values(sin, MAX_TABLE_ELEMENTS)?,
        );
        let width = if pair_layout == PairLayout::One {
            half
        } else {
            2 * half
        };
        let length = cos.len() / width;
        let axis = if length == 1 {
            axis_of_one(shape).unwrap_or(axis)
        } else {
            axis
        };
        let wanted = usize::try_from(*shape.get(shape.len().checked_sub(1 + axis)?)?).ok()?;
        let known = Self {
            cos,
            sin,
            dtype,
            length,
            half,
            pair_layout,
            axis,
            is_broadcast: length == 1 && wanted != 1,
        };
        let fits = length > 0 && (length == wanted || length == 1);
        (fits && known.is_on_circle() && known.copies_agree()).then_some(known)
    }

    /// The places of the angle of a pair.
    fn places(&self, t: usize, i: usize) -> [usize; 2] {
        let half = self.half;
        match self.pair_layout {
            PairLayout::One => [t * half + i; 2],
            PairLayout::Halves => [t * 2 * half + i, t * 2 * half + half + i],
            PairLayout::Neighbours => [t * 2 * half + 2 * i, t * 2 * half + 2 * i + 1],
        }
    }

    fn all(&self, holds: impl Fn(usize, usize) -> bool) -> bool {
        (0..self.length).all(|t| (0..self.half).all(|i| holds(t, i)))
    }

    fn is_on_circle(&self) -> bool {
        let tolerance = if self.dtype.size() < 4 { 2e-2 } else { 1e-3 };
        self.all(|t, i| {
            let (c, s) = self.point(t, i);
            (c * c + s * s - 1.0).abs() < tolerance
        })
    }

    fn copies_agree(&self) -> bool {
        self.all(|t, i| {
            let [a, b] = self.places(t, i);
            self.cos[a] == self.cos[b] && self.sin[a] == self.sin[b]
        })
    }

    fn point(&self, t: usize, i: usize) -> (f64, f64) {
        let [place, _] = self.places(t, i);
        (self.cos[place], self.sin[place])
    }

    fn angle(&self, t: usize, i: usize) -> f64 {
        let (c, s) = self.point(t, i);
        s.atan2(c)
    }

    /// Proves that the tables are sines and cosines of `(t + start) * inv_freq`.
    pub(super) fn angles(&self) -> Option<Result<RopeAngles, Refusal>> {
        if self.dtype.size() < Dtype::Float32.size() {
            let reason = format!(
                "the tables are {}, too coarse to prove angles by",
                self.dtype
            );
            return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
        }
        if self.is_broadcast {
            return Some(Err(unproven("one position is used for all elements")));
        }
        let (inv_freq, start) = if self.length == 1 {
            ((0..self.half).map(|i| self.angle(0, i)).collect(), 1)
        } else {
            self.inv_freq()?
        };
        let fits = self.all(|t, i| {
            #[allow(clippy::cast_precision_loss)]
            let wanted = (t as f64 + f64::from(start)) * inv_freq[i];
            // float32 rounds the angle itself before the sine is taken.
            let tolerance = 4e-6 + 4e-7 * wanted.abs();
            let (c, s) = self.point(t, i);
            (c - wanted.cos()).abs() <= tolerance && (s - wanted.sin()).abs() <= tolerance
        });
        Some(if fits {
            Ok(RopeAngles {
                inv_freq,
                start,
                offset: None,
                axis: self.axis,
            })
        } else {
            Err(unproven("the angles do not grow evenly with the position"))
        })
    }

    /// Inverse frequencies and the first position, estimated from the values; they are not yet checked against all.
    fn inv_freq(&self) -> Option<(Vec<f64>, i32)> {
        use std::f64::consts::TAU;
        let mut inv_freq: Vec<f64> = (0..self.half)
            .map(|i| frequency(self.length, |t| self.angle(t, i)))
            .collect();
        let start = start(&inv_freq, |i| self.angle(0, i))?;
        // The position furthest from 0 determines a frequency best.
        let last = self.length - 1;
        #[allow(clippy::cast_precision_loss)]
        let (t, position) = [
            (0, f64::from(start)),
            (last, last as f64 + f64::from(start)),
        ]
        .into_iter()
        .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        for (i, frequency) in inv_freq.iter_mut().enumerate() {
            let turns = ((*frequency * position - self.angle(t, i)) / TAU).round();
            *frequency = (self.angle(t, i) + turns * TAU) / position;
        }
        Some((inv_freq, start))
    }
}

/// The angle between neighbouring positions, refined from positions further and further apart.
#[allow(clippy::cast_precision_loss)]
fn frequency(length: usize, angle: impl Fn(usize) -> f64) -> f64 {
    use std::f64::consts::TAU;
    let mut frequency = 0.0;
    let mut distance = 1;
    while distance < length {
        let measured = angle(distance) - angle(0);
        let guess = frequency * distance as f64;
        let turns = ((guess - measured) / TAU).round();
        frequency = (measured + turns * TAU) / distance as f64;
        distance *= 2;
    }
    frequency
}

/// The first position, from the pair whose angle is the clearest.
fn start(inv_freq: &[f64], first: impl Fn(usize) -> f64) -> Option<i32> {
    use std::f64::consts::TAU;
    // The slowest pair that has rotated measurably has rotated less than once, if any has; others then agree.
    let candidates = (0..inv_freq.len())
        .rev()
        .filter(|i| inv_freq[*i].abs() > 1e-7);
    let mut start: Option<f64> = None;
    for i in candidates {
        let angle = first(i);
        start = Some(match start {
            None => angle / inv_freq[i],
            Some(known) => {
                let turns = ((known * inv_freq[i] - angle) / TAU).round();
                (angle + turns * TAU) / inv_freq[i]
            }
        });
    }
    let start = start?.round();
    #[allow(clippy::cast_possible_truncation)]
    let whole = start as i32;
    (f64::from(whole) == start).then_some(whole)
}
