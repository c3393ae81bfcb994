//! Learning rate schedules.

use std::cell::Cell;
use std::f64::consts::PI;
use std::fmt;
use std::ops::Mul;
use std::rc::Rc;

use mlx::{Array, Dtype, Error, Integer};

use super::StepContext;

/// A learning rate: a constant, or a function of the number of steps made, which is `uint64`.
///
/// ```
/// use mlx_nn::optimizers::{Schedule, cosine_decay, join_schedules, linear_schedule};
///
/// # fn main() -> mlx::Result<()> {
/// let warm_up = linear_schedule(0.0, 0.1, 10);
/// let schedule = join_schedules([warm_up, cosine_decay(0.1, 200)], [10]);
/// assert!((schedule.at(&mlx::Array::scalar(5_u64)).item::<f32>()? - 0.05).abs() < 1e-6);
/// assert_eq!(Schedule::from(0.1).at(&mlx::Array::scalar(5_u64)).item::<f32>()?, 0.1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schedule(Kind);

#[derive(Clone)]
enum Kind {
    /// A number, and whether it is in the state of an optimizer, from where steps take it.
    Constant(f64, Cell<bool>),
    Of(Rc<dyn Fn(&Array) -> Array>),
}

impl Schedule {
    /// Returns a schedule that is a function of the number of steps made.
    pub fn of(schedule: impl Fn(&Array) -> Array + 'static) -> Self {
        Self(Kind::Of(Rc::new(schedule)))
    }

    /// Returns the learning rate after `step` steps, `float32`.
    #[track_caller]
    pub fn at(&self, step: &Array) -> Array {
        match &self.0 {
            #[allow(clippy::cast_possible_truncation)]
            Kind::Constant(rate, _) => Array::scalar(*rate as f32),
            Kind::Of(schedule) => schedule(step).astype(Dtype::Float32),
        }
    }

    /// Returns whether the learning rate is constant.
    pub fn is_constant(&self) -> bool {
        matches!(self.0, Kind::Constant(..))
    }

    /// Returns whether this is a constant that no state has yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(&self.0, Kind::Constant(_, used) if !used.get())
    }

    /// Notes that a state has the constant.
    pub(super) fn mark_used(&self) {
        if let Kind::Constant(_, used) = &self.0 {
            used.set(true);
        }
    }
}

impl From<f64> for Schedule {
    fn from(rate: f64) -> Self {
        Self(Kind::Constant(rate, Cell::new(false)))
    }
}

impl From<f32> for Schedule {
    fn from(rate: f32) -> Self {
        Self::from(f64::from(rate))
    }
}

/// The schedule times a number, as a new one: `optimizer.learning_rate = optimizer.learning_rate * 0.5`.
impl Mul<f64> for Schedule {
    type Output = Schedule;

    fn mul(self, factor: f64) -> Schedule {
        match self.0 {
            Kind::Constant(rate, _) => Self::from(rate * factor),
            Kind::Of(schedule) => Self::of(move |step| schedule(step) * factor),
        }
    }
}

/// A function of the number of steps made, as a schedule.
impl<F: Fn(&Array) -> Array + 'static> From<F> for Schedule {
    fn from(schedule: F) -> Self {
        Self::of(schedule)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Constant(rate, _) => write!(f, "{rate}"),
            Kind::Of(_) => f.write_str("schedule"),
        }
    }
}

impl StepContext {
    /// Returns the learning rate in the dtype of a gradient.
    #[track_caller]
    pub fn rate_for(&self, gradient: &Array) -> Array {
        match gradient.dtype() {
            Ok(dtype) => self.learning_rate.astype(dtype),
            Err(error) => Array::failed(error),
        }
    }
}

/// Returns `init * decay_rate^step`.
pub fn exponential_decay(init: f64, decay_rate: f64) -> Schedule {
    Schedule::of(move |step| mlx::full((), decay_rate).power(step) * init)
}

/// Returns `init * decay_rate^(step / step_size)`, with the quotient rounded down; a `step_size` of 0 counts as 1.
pub fn step_decay(init: f64, decay_rate: f64, step_size: impl Integer) -> Schedule {
    counted("step_decay", step_size, move |size, step| {
        let power = step.floor_divide(size);
        mlx::full((), decay_rate).power(power) * init
    })
}

/// Returns cosine decay from `init` to 0 in `decay_steps` steps, and 0 from then on.
pub fn cosine_decay(init: f64, decay_steps: impl Integer) -> Schedule {
    cosine_decay_to(init, decay_steps, 0.0)
}

/// Returns cosine decay from `init` to `end` in `decay_steps` steps, and `end` from then on.
pub fn cosine_decay_to(init: f64, decay_steps: impl Integer, end: f64) -> Schedule {
    counted("cosine_decay", decay_steps, move |steps, step| {
        let step = step.minimum(steps);
        let decay = (1.0 + (step * (PI / f64::from(steps))).cos()) * 0.5;
        decay * (init - end) + end
    })
}

/// Returns a linear ramp from `init` to `end` in `steps` steps, and `end` from then on.
pub fn linear_schedule(init: f64, end: f64, steps: impl Integer) -> Schedule {
    counted("linear_schedule", steps, move |steps, step| {
        step.minimum(steps) * ((end - init) / f64::from(steps)) + init
    })
}

/// Returns a schedule that depends on a number of steps, at least 1; a negative number is an error of each step.
fn counted(
    name: &'static str,
    steps: impl Integer,
    schedule: impl Fn(u32, &Array) -> Array + 'static,
) -> Schedule {
    let steps = steps.to_i32();
    Schedule::of(move |step| match u32::try_from(steps) {
        Ok(steps) => schedule(steps.max(1), step),
        Err(_) => {
            let message = format!("wanted a number of steps from 0 to 2^31 - 1, got {steps}");
            Array::failed(Error::op(name, message))
        }
    })
}

/// Returns the concatenation of schedules: the next one starts, from its step 0, at each boundary.
///
/// There is one boundary fewer than schedules; otherwise every learning rate carries an error.
pub fn join_schedules(
    schedules: impl IntoIterator<Item = Schedule>,
    boundaries: impl IntoIterator<Item = impl Integer>,
) -> Schedule {
    let schedules: Vec<Schedule> = schedules.into_iter().collect();
    let boundaries = boundaries.into_iter().map(Integer::to_i32);
    let boundaries: Vec<i32> = boundaries.collect();
    Schedule::of(move |step| {
        let Some((first, later)) = schedules.split_first() else {
            return Array::failed(Error::op(
                "join_schedules",
                "wanted at least 1 schedule, got 0",
            ));
        };
        if later.len() != boundaries.len() {
            let (wanted, got) = (later.len(), boundaries.len());
            let message = format!("wanted {wanted} boundaries, got {got}");
            return Array::failed(Error::op("join_schedules", message));
        }
        let mut rate = first.at(step);
        for (&boundary, schedule) in boundaries.iter().zip(later) {
            // Before the boundary the difference wraps around, but its value is not used.
            let next = schedule.at(&(step - boundary));
            rate = mlx::where_(&step.less(boundary), rate, next);
        }
        rate
    })
}
