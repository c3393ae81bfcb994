//! Plans of transforms by their size, made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use realfft::RealFftPlanner;
use rustfft::{Fft, FftPlanner};

use super::real::{HalfPlan, InverseRealPlan, RealPlan};

/// More plans are forgotten, so that a program with many sizes does not keep tables for all of them.
const MAX_PLANS: usize = 128;

/// Plans of one kind.
struct Plans<Plan: ?Sized>(Mutex<Option<HashMap<usize, Arc<Plan>>>>);

impl<Plan: ?Sized> Plans<Plan> {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn get(&self, n: usize, make: impl FnOnce() -> Arc<Plan>) -> Arc<Plan> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plans = plans.get_or_insert_default();
        if let Some(plan) = plans.get(&n) {
            return Arc::clone(plan);
        }
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        let plan = make();
        plans.insert(n, Arc::clone(&plan));
        plan
    }
}

pub(super) fn complex_plan(n: usize, inverse: bool) -> Arc<dyn Fft<f32>> {
    static PLANS: [Plans<dyn Fft<f32>>; 2] = [Plans::new(), Plans::new()];
    PLANS[usize::from(inverse)].get(n, || {
        let mut planner = FftPlanner::new();
        if inverse {
            planner.plan_fft_inverse(n)
        } else {
            planner.plan_fft_forward(n)
        }
    })
}

pub(super) fn real_plan(n: usize) -> Arc<RealPlan> {
    static PLANS: Plans<RealPlan> = Plans::new();
    PLANS.get(n, || {
        Arc::new(if n.is_multiple_of(2) {
            RealPlan::Even(HalfPlan::new(complex_plan(n / 2, false)))
        } else {
            RealPlan::Odd(RealFftPlanner::new().plan_fft_forward(n))
        })
    })
}

pub(super) fn inverse_real_plan(n: usize) -> Arc<InverseRealPlan> {
    static PLANS: Plans<InverseRealPlan> = Plans::new();
    PLANS.get(n, || {
        Arc::new(if n.is_multiple_of(2) {
            InverseRealPlan::Even(HalfPlan::new(complex_plan(n / 2, true)))
        } else {
            InverseRealPlan::Odd(RealFftPlanner::new().plan_fft_inverse(n))
        })
    })
}

/// What a complex transform of this size costs, in nanoseconds.
pub(super) fn nanoseconds(n: usize) -> f64 {
    let n = n as f64;
    0.3 * n * (n.log2() + 2.0)
}
