//! Plans of transforms by their size, made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use num_complex::Complex;
use realfft::RealFftPlanner;
use rustfft::{Fft, FftPlanner};

use super::long::{LongPlan, split};
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

/// A complex transform of one size in one direction.
pub(super) enum ComplexPlan {
    Direct(Arc<dyn Fft<f32>>),
    Long(Box<LongPlan>),
}

impl ComplexPlan {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Direct(plan) => plan.len(),
            Self::Long(plan) => plan.len(),
        }
    }

    /// What a thread needs.
    pub(super) fn scratch(&self) -> Vec<Complex<f32>> {
        let len = match self {
            Self::Direct(plan) => plan.get_inplace_scratch_len(),
            Self::Long(plan) => plan.len(),
        };
        vec![Complex::default(); len]
    }

    /// Transforms each of some rows of the plan's size in place.
    pub(super) fn transform(&self, rows: &mut [Complex<f32>], scratch: &mut [Complex<f32>]) {
        match self {
            Self::Direct(plan) => plan.process_with_scratch(rows, scratch),
            Self::Long(plan) => {
                for row in rows.chunks_exact_mut(plan.len()) {
                    plan.transform(row, scratch);
                }
            }
        }
    }
}

pub(super) fn complex_plan(n: usize, inverse: bool) -> Arc<ComplexPlan> {
    static PLANS: [Plans<ComplexPlan>; 2] = [Plans::new(), Plans::new()];
    PLANS[usize::from(inverse)].get(n, || {
        let mut planner = FftPlanner::new();
        let mut direct = |n| {
            if inverse {
                planner.plan_fft_inverse(n)
            } else {
                planner.plan_fft_forward(n)
            }
        };
        Arc::new(match split(n) {
            Some(rows) => ComplexPlan::Long(Box::new(LongPlan::new(n, rows, inverse, direct))),
            None => ComplexPlan::Direct(direct(n)),
        })
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
