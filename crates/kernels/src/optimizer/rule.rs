//! What each optimizer computes of a gradient `g`, a parameter `w` and its running means.

use pulp::Simd;

use crate::simd::lanes::Lanes;

/// A step of an optimizer, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimizerStep {
    /// Of the parameter alone.
    Sgd(SgdStep),
    /// Of the parameter and its velocity.
    Momentum(MomentumStep),
    /// Of the parameter and the mean of gradients.
    Lion(LionStep),
    /// Of the parameter and the mean of squares.
    RmsProp(RmsPropStep),
    /// Of the parameter, the mean of gradients and the mean of squares.
    Adam(AdamStep),
}

/// `w = w - rate * (g + weight_decay * w)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// The learning rate.
    pub rate: f32,
    /// 0 for none.
    pub weight_decay: f32,
}

/// With `d = g + weight_decay * w`: `v = momentum * v + weight * d` and `w = w - rate * v`, or
/// `w = w - rate * (d + momentum * v)` for Nesterov's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MomentumStep {
    /// The learning rate.
    pub rate: f32,
    /// 0 for none.
    pub weight_decay: f32,
    /// The momentum.
    pub momentum: f32,
    /// The weight of the gradient: 1 without dampening.
    pub weight: f32,
    /// Whether it is Nesterov's.
    pub nesterov: bool,
}

/// `d = sign(betas[0] * m + weights[0] * g)`, `m = betas[1] * m + weights[1] * g`, `w = shrink * w - rate * d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionStep {
    /// The learning rate.
    pub rate: f32,
    /// What weight decay leaves of the parameter: 1 without.
    pub shrink: f32,
    /// Decay rates, for the direction and for the mean.
    pub betas: [f32; 2],
    /// Weights of the gradient: what is left of `betas` to 1.
    pub weights: [f32; 2],
}

/// `v = alpha * v + weight * g^2`, `w = w - rate * g / (sqrt(v) + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropStep {
    /// The learning rate.
    pub rate: f32,
    /// The decay rate.
    pub alpha: f32,
    /// The weight of the square: what is left of `alpha` to 1.
    pub weight: f32,
    /// Added to the denominator.
    pub eps: f32,
}

/// `m = betas[0] * m + weights[0] * g`, `v = betas[1] * v + weights[1] * g^2`,
/// `w = shrink * w - rate * m / (sqrt(v) * root_scale + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate, corrected for the start of `m` at 0 where that is wanted.
    pub rate: f32,
    /// What weight decay leaves of the parameter: 1 without.
    pub shrink: f32,
    /// Decay rates.
    pub betas: [f32; 2],
    /// Weights of the gradient and of its square: what is left of `betas` to 1.
    pub weights: [f32; 2],
    /// The correction for the start of `v` at 0, or 1.
    pub root_scale: f32,
    /// Added to the denominator.
    pub eps: f32,
}

/// A rule over a parameter and `N - 1` arrays beside it.
pub(super) trait Rule<const N: usize>: Copy + Send + Sync {
    /// Returns what the arrays are after the step, the parameter first.
    fn step<S: Simd>(self, gradient: Lanes<S>, arrays: [Lanes<S>; N]) -> [Lanes<S>; N];
}

impl Rule<1> for SgdStep {
    #[inline(always)]
    fn step<S: Simd>(self, gradient: Lanes<S>, [w]: [Lanes<S>; 1]) -> [Lanes<S>; 1] {
        [w - w.constant(self.rate) * decayed(gradient, w, self.weight_decay)]
    }
}

impl Rule<2> for MomentumStep {
    #[inline(always)]
    fn step<S: Simd>(self, gradient: Lanes<S>, [w, v]: [Lanes<S>; 2]) -> [Lanes<S>; 2] {
        let gradient = decayed(gradient, w, self.weight_decay);
        let momentum = w.constant(self.momentum);
        let v = v * momentum + gradient * w.constant(self.weight);
        let change = if self.nesterov {
            gradient + v * momentum
        } else {
            v
        };
        [w - w.constant(self.rate) * change, v]
    }
}

impl Rule<2> for LionStep {
    #[inline(always)]
    fn step<S: Simd>(self, gradient: Lanes<S>, [w, m]: [Lanes<S>; 2]) -> [Lanes<S>; 2] {
        let mean =
            |at: usize| m * w.constant(self.betas[at]) + gradient * w.constant(self.weights[at]);
        let (sum, zero, one) = (mean(0), w.constant(0.0), w.constant(1.0));
        let positive = Lanes::select(zero.less_than(sum), one, zero);
        let direction = Lanes::select(sum.less_than(zero), -one, positive).propagate_nan(sum);
        let shrunk = w * w.constant(self.shrink);
        [shrunk - w.constant(self.rate) * direction, mean(1)]
    }
}

impl Rule<2> for RmsPropStep {
    #[inline(always)]
    fn step<S: Simd>(self, gradient: Lanes<S>, [w, v]: [Lanes<S>; 2]) -> [Lanes<S>; 2] {
        let square = gradient * gradient;
        let v = v * w.constant(self.alpha) + square * w.constant(self.weight);
        let change = w.constant(self.rate) * gradient / (v.sqrt() + w.constant(self.eps));
        [w - change, v]
    }
}

impl Rule<3> for AdamStep {
    #[inline(always)]
    fn step<S: Simd>(self, gradient: Lanes<S>, [w, m, v]: [Lanes<S>; 3]) -> [Lanes<S>; 3] {
        let m = m * w.constant(self.betas[0]) + gradient * w.constant(self.weights[0]);
        let square = gradient * gradient;
        let v = v * w.constant(self.betas[1]) + square * w.constant(self.weights[1]);
        let root = v.sqrt() * w.constant(self.root_scale);
        let change = w.constant(self.rate) * m / (root + w.constant(self.eps));
        [w * w.constant(self.shrink) - change, m, v]
    }
}

/// The gradient with weight decay, if there is any.
#[inline(always)]
fn decayed<S: Simd>(gradient: Lanes<S>, w: Lanes<S>, decay: f32) -> Lanes<S> {
    if decay == 0.0 {
        return gradient;
    }
    gradient + w * w.constant(decay)
}
