//! What a step of a recurrent layer computes of the sums of its gates, for one sequence.

use pulp::Simd;

use super::shape::RecurrentCell;
use crate::simd::lanes::Lanes;

/// One sequence at one step.
pub(super) struct Step<'a> {
    pub(super) size: usize,
    /// The projected input, `[gates * size]`.
    pub(super) projected: &'a [f32],
    /// The products with the hidden state before, which begin with `[gates * size]`.
    pub(super) products: &'a [f32],
    /// What a gated recurrent unit adds to the product of `n`.
    pub(super) bias: Option<&'a [f32]>,
    /// The hidden state before the step, and after it.
    pub(super) hidden: &'a mut [f32],
    /// The cell before the step, and after it.
    pub(super) cell: &'a mut [f32],
    /// Whether the cell before the step is 0 whatever the gates are.
    pub(super) is_new: bool,
    /// Where the values of gates are kept for the gradient, `[saved * size]`, or nothing.
    pub(super) saved: &'a mut [f32],
}

impl Step<'_> {
    /// Computes the states after the step.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&mut self, simd: S, cell: RecurrentCell) {
        for from in (0..self.size).step_by(S::F32_LANES) {
            let count = S::F32_LANES.min(self.size - from);
            let place = Place { simd, from, count };
            match cell {
                RecurrentCell::Tanh => {
                    let sum = self.sum(place, 0);
                    place.store(sum.tanh(), self.hidden);
                }
                RecurrentCell::Relu => {
                    let sum = self.sum(place, 0);
                    let zero = sum.constant(0.0);
                    let is_negative = sum.less_than(zero);
                    place.store(Lanes::select(is_negative, zero, sum), self.hidden);
                }
                RecurrentCell::Gru => self.gru(place),
                RecurrentCell::Lstm => self.lstm(place),
            }
        }
    }

    #[inline(always)]
    fn gru<S: Simd>(&mut self, place: Place<S>) {
        let reset = self.sum(place, 0).gate();
        let update = self.sum(place, 1).gate();
        let mut product = place.load(&self.products[2 * self.size..]);
        if let Some(bias) = self.bias {
            product = product + place.load(bias);
        }
        let new = place.load(&self.projected[2 * self.size..]);
        let new = reset.mul_add(product, new).tanh();
        let before = place.load(self.hidden);
        place.store(update.mul_add(before - new, new), self.hidden);
        self.save(place, [reset, update, new, product]);
    }

    #[inline(always)]
    fn lstm<S: Simd>(&mut self, place: Place<S>) {
        let input = self.sum(place, 0).gate();
        let forget = self.sum(place, 1).gate();
        let candidate = self.sum(place, 2).tanh();
        let output = self.sum(place, 3).gate();
        let added = input * candidate;
        let cell = if self.is_new {
            added
        } else {
            forget.mul_add(place.load(self.cell), added)
        };
        place.store(cell, self.cell);
        place.store(output * cell.tanh(), self.hidden);
        self.save(place, [input, forget, candidate, output]);
    }

    /// The sums of a gate.
    #[inline(always)]
    fn sum<S: Simd>(&self, place: Place<S>, gate: usize) -> Lanes<S> {
        let at = gate * self.size;
        place.load(&self.projected[at..]) + place.load(&self.products[at..])
    }

    #[inline(always)]
    fn save<S: Simd>(&mut self, place: Place<S>, values: [Lanes<S>; 4]) {
        if self.saved.is_empty() {
            return;
        }
        for (number, value) in values.into_iter().enumerate() {
            place.store(value, &mut self.saved[number * self.size..]);
        }
    }
}

/// A register of elements of a state, or fewer at its end.
#[derive(Clone, Copy)]
pub(super) struct Place<S> {
    pub(super) simd: S,
    pub(super) from: usize,
    pub(super) count: usize,
}

impl<S: Simd> Place<S> {
    /// Reads the elements of a state.
    #[inline(always)]
    pub(super) fn load(self, numbers: &[f32]) -> Lanes<S> {
        let numbers = &numbers[self.from..][..self.count];
        let value = match S::as_simd_f32s(numbers) {
            ([all], []) => *all,
            _ => self.simd.partial_load_f32s(numbers),
        };
        Lanes::new(self.simd, value)
    }

    /// Writes the elements of a state.
    #[inline(always)]
    pub(super) fn store(self, lanes: Lanes<S>, numbers: &mut [f32]) {
        let numbers = &mut numbers[self.from..][..self.count];
        match S::as_mut_simd_f32s(numbers) {
            ([all], []) => *all = lanes.value,
            _ => {
                let numbers = &mut *numbers;
                self.simd.partial_store_f32s(numbers, lanes.value);
            }
        }
    }
}
