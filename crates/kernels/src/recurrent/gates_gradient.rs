//! The gradient of a step of a recurrent layer by the sums of its gates and by the states before, for one sequence.

use pulp::Simd;

use super::gates::Place;
use super::shape::RecurrentCell;
use crate::simd::lanes::Lanes;

/// One sequence at one step. States before the first step may be empty, which is 0.
pub(super) struct StepGradient<'a> {
    pub(super) size: usize,
    /// The values of the gates, `[saved * size]`.
    pub(super) saved: &'a [f32],
    /// The hidden state and the cell after the step.
    pub(super) after: [&'a [f32]; 2],
    /// Those before it.
    pub(super) before: [&'a [f32]; 2],
    /// The cotangents of both after the step.
    pub(super) cotangents: [&'a [f32]; 2],
    /// What later steps add to these: replaced by the gradients by the states before, but for what goes through the
    /// product with the weights.
    pub(super) carried: [&'a mut [f32]; 2],
    /// The gradient by the projected input, `[gates * size]`.
    pub(super) projected: &'a mut [f32],
    /// The gradient by the products with the hidden state, which begins with `[gates * size]`.
    pub(super) products: &'a mut [f32],
    /// The gradient by the product of `n` of a gated recurrent unit, and the sums of it.
    pub(super) candidate: &'a mut [f32],
    pub(super) bias: &'a mut [f32],
}

impl StepGradient<'_> {
    /// Computes the gradients of a step.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&mut self, simd: S, cell: RecurrentCell) {
        for from in (0..self.size).step_by(S::F32_LANES) {
            let count = S::F32_LANES.min(self.size - from);
            let place = Place { simd, from, count };
            let hidden = place.load(self.cotangents[0]) + place.load(self.carried[0]);
            match cell {
                RecurrentCell::Tanh => {
                    let after = place.load(self.after[0]);
                    self.write(place, 0, hidden * rest_of_square(after));
                    place.store(after.constant(0.0), self.carried[0]);
                }
                RecurrentCell::Relu => {
                    let zero = hidden.constant(0.0);
                    let is_positive = zero.less_than(place.load(self.after[0]));
                    self.write(place, 0, Lanes::select(is_positive, hidden, zero));
                    place.store(zero, self.carried[0]);
                }
                RecurrentCell::Gru => self.gru(place, hidden),
                RecurrentCell::Lstm => self.lstm(place, hidden),
            }
        }
    }

    #[inline(always)]
    fn gru<S: Simd>(&mut self, place: Place<S>, hidden: Lanes<S>) {
        let [reset, update, new, product] = self.gates(place);
        let before = self.before(place, 0);
        let one = hidden.constant(1.0);
        let by_new = hidden * (one - update) * rest_of_square(new);
        let by_product = by_new * reset;
        self.write(place, 0, by_new * product * reset * (one - reset));
        self.write(place, 1, hidden * (before - new) * update * (one - update));
        place.store(by_new, &mut self.projected[2 * self.size..]);
        place.store(by_product, &mut self.products[2 * self.size..]);
        place.store(by_product, self.candidate);
        place.store(place.load(self.bias) + by_product, self.bias);
        place.store(hidden * update, self.carried[0]);
    }

    #[inline(always)]
    fn lstm<S: Simd>(&mut self, place: Place<S>, hidden: Lanes<S>) {
        let [input, forget, candidate, output] = self.gates(place);
        let one = hidden.constant(1.0);
        let tanh = place.load(self.after[1]).tanh();
        let cell = place.load(self.cotangents[1]) + place.load(self.carried[1]);
        let cell = (hidden * output).mul_add(rest_of_square(tanh), cell);
        self.write(place, 0, cell * candidate * input * (one - input));
        let before = self.before(place, 1);
        self.write(place, 1, cell * before * forget * (one - forget));
        self.write(place, 2, cell * input * rest_of_square(candidate));
        self.write(place, 3, hidden * tanh * output * (one - output));
        place.store(one.constant(0.0), self.carried[0]);
        place.store(cell * forget, self.carried[1]);
    }

    #[inline(always)]
    fn gates<S: Simd>(&self, place: Place<S>) -> [Lanes<S>; 4] {
        let gate = |number: usize| place.load(&self.saved[number * self.size..]);
        [gate(0), gate(1), gate(2), gate(3)]
    }

    /// A state before the step.
    #[inline(always)]
    fn before<S: Simd>(&self, place: Place<S>, state: usize) -> Lanes<S> {
        match self.before[state] {
            [] => Lanes::splat(place.simd, 0.0),
            state => place.load(state),
        }
    }

    /// Writes the gradient of a gate whose sum it goes into as it is.
    #[inline(always)]
    fn write<S: Simd>(&mut self, place: Place<S>, gate: usize, gradient: Lanes<S>) {
        place.store(gradient, &mut self.projected[gate * self.size..]);
        place.store(gradient, &mut self.products[gate * self.size..]);
    }
}

/// `1 - x^2`, the derivative of the hyperbolic tangent whose value is `x`.
#[inline(always)]
fn rest_of_square<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    x.mul_add(-x, x.constant(1.0))
}
