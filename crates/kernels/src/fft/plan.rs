//! Plans of transforms by their size, made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

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

pub(super) fn real_plan(n: usize) -> Arc<dyn RealToComplex<f32>> {
    static PLANS: Plans<dyn RealToComplex<f32>> = Plans::new();
    PLANS.get(n, || RealFftPlanner::new().plan_fft_forward(n))
}

pub(super) fn inverse_real_plan(n: usize) -> Arc<dyn ComplexToReal<f32>> {
    static PLANS: Plans<dyn ComplexToReal<f32>> = Plans::new();
    PLANS.get(n, || RealFftPlanner::new().plan_fft_inverse(n))
}

/// What a complex transform of this size costs, in nanoseconds.
pub(super) fn nanoseconds(n: usize) -> f64 {
    let n = n as f64;
    0.3 * n * (n.log2() + 2.0)
}
