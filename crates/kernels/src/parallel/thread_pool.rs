//! The helpers of a kernel: threads that share a job with its caller, and wait for the next one awake for a moment.
//!
//! Kernels of some microseconds follow each other, and a sleeping thread takes 30 to 60 microseconds to come (measured
//! on two virtual cores, with rayon's pool and with a condition variable alike). So
//! - a helper that has nothing to do looks for work for [`PATIENCE`] before it sleeps, and lets other threads of its core
//!   go first while it looks;
//! - a job has seats, which helpers take if they come in time. The caller works too, and when nothing is left it closes
//!   the job: it waits for helpers who work, and never for one who is still asleep.
//!
//! Yielding matters: where a caller and the thread that waits for it take turns, the second one wakes up on the helper's
//! core, and the scheduler lets who looks without yielding look on (a norm of 512 x 1024 then took 235 microseconds there
//! and back, with yields 82 on a busy machine, with rayon's pool 103). On a machine that others keep busy, helpers who
//! yield come late and the caller does the work alone, as before.
//!
//! Several callers may have jobs open at once, and a helper may be a caller.

#![expect(
    unsafe_code,
    reason = "a job borrows from its caller, and helpers live longer"
)]

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps: longer than what lies between two kernels of a network.
const PATIENCE: Duration = Duration::from_micros(150);
/// Looks between two moments in which other threads of the core may run: about a microsecond.
const LOOKS: usize = 40;

/// The helpers and what they are asked to do.
pub(crate) struct Team {
    state: Mutex<State>,
    /// Free seats, as the state says, for those who look without the lock.
    open: AtomicUsize,
    /// Helpers that look for work.
    awake: AtomicUsize,
    /// How often a helper has left a job.
    left: AtomicUsize,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// The number of the next job.
    next: u64,
    /// Helpers that sleep.
    asleep: usize,
}

struct Job {
    number: u64,
    work: Work<'static>,
    /// How many more helpers may come.
    seats: usize,
    /// Helpers at work.
    inside: usize,
    /// What a helper panicked with.
    panic: Option<Panic>,
}

type Work<'a> = &'a (dyn Fn() + Sync);
type Panic = Box<dyn Any + Send>;

impl Team {
    /// Starts up to `helpers` threads, which live as long as the process; `None` if there is not even one.
    pub(crate) fn start(helpers: usize) -> Option<&'static Self> {
        let team: &'static Self = Box::leak(Box::new(Self {
            state: Mutex::default(),
            open: AtomicUsize::new(0),
            awake: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            bell: Condvar::new(),
        }));
        let started = (0..helpers)
            .map(|number| {
                let named = thread::Builder::new().name(format!("mlx-kernels-{number}"));
                named.spawn(|| team.help())
            })
            .filter(Result::is_ok)
            .count();
        (started > 0).then_some(team)
    }

    /// How many helpers would come at once.
    pub(crate) fn awake(&self) -> usize {
        self.awake.load(Ordering::Relaxed)
    }

    /// Runs `work` on this thread, and at the same time on up to `seats` helpers; returns when all have returned.
    ///
    /// A panic of any of them goes on here.
    pub(crate) fn run(&self, seats: usize, work: Work<'_>) {
        // SAFETY: only the lifetime changes. The job is closed before this function returns or unwinds, and then no helper
        // has the reference: who came has left, and nobody comes any more.
        let work: Work<'static> = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        let open = self.open(seats, work);
        work();
        drop(open);
    }

    fn open(&self, seats: usize, work: Work<'static>) -> Open<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.jobs.push(Job {
            number,
            work,
            seats,
            inside: 0,
            panic: None,
        });
        self.open.fetch_add(seats, Ordering::Relaxed);
        let wanted = seats.saturating_sub(self.awake()).min(state.asleep);
        let all = wanted == state.asleep;
        drop(state);
        if wanted > 0 && all {
            self.bell.notify_all();
        } else {
            (0..wanted).for_each(|_| self.bell.notify_one());
        }
        Open { team: self, number }
    }

    /// Lets nobody in any more and waits until all are out.
    fn close(&self, number: u64) -> Option<Panic> {
        loop {
            let left = self.left.load(Ordering::Acquire);
            let mut state = self.state();
            let at = state.jobs.iter().position(|job| job.number == number)?;
            let seats = std::mem::take(&mut state.jobs[at].seats);
            self.open.fetch_sub(seats, Ordering::Relaxed);
            if state.jobs[at].inside == 0 {
                return state.jobs.swap_remove(at).panic;
            }
            drop(state);
            while !look_for(|| self.left.load(Ordering::Acquire) != left) {
                thread::yield_now();
            }
        }
    }

    /// What a helper does.
    fn help(&self) {
        loop {
            self.awake.fetch_add(1, Ordering::Relaxed);
            let since = Instant::now();
            let mut found = None;
            while found.is_none() && since.elapsed() < PATIENCE {
                if look_for(|| self.open.load(Ordering::Relaxed) > 0) {
                    found = self.enter();
                } else {
                    thread::yield_now();
                }
            }
            self.awake.fetch_sub(1, Ordering::Relaxed);
            match found {
                Some((number, work)) => {
                    let panic = catch_unwind(AssertUnwindSafe(work)).err();
                    self.leave(number, panic);
                }
                None => self.sleep(),
            }
        }
    }

    /// Takes a seat.
    fn enter(&self) -> Option<(u64, Work<'static>)> {
        let mut state = self.state();
        let job = state.jobs.iter_mut().find(|job| job.seats > 0)?;
        job.seats -= 1;
        job.inside += 1;
        self.open.fetch_sub(1, Ordering::Relaxed);
        Some((job.number, job.work))
    }

    fn leave(&self, number: u64, panic: Option<Panic>) {
        let mut state = self.state();
        if let Some(job) = state.jobs.iter_mut().find(|job| job.number == number) {
            job.inside -= 1;
            job.panic = panic.or(job.panic.take());
        }
        self.left.fetch_add(1, Ordering::Release);
    }

    fn sleep(&self) {
        let mut state = self.state();
        if state.jobs.iter().any(|job| job.seats > 0) {
            return;
        }
        state.asleep += 1;
        // A bell without a job does no harm: the helper looks, and sleeps again.
        state = self
            .bell
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.asleep -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for about a microsecond whether something has come true, and says whether.
fn look_for(come: impl Fn() -> bool) -> bool {
    for _ in 0..LOOKS {
        if come() {
            return true;
        }
        spin_loop();
    }
    false
}

/// A job that helpers may come to.
struct Open<'a> {
    team: &'a Team,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let panic = self.team.close(self.number);
        if let Some(panic) = panic
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_taken_once_by_callers_at_the_same_time() {
        let team = Team::start(3).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..2_000_usize {
                        let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
                        team.run(round % 4, &|| {
                            loop {
                                let piece = next.fetch_add(1, Ordering::Relaxed);
                                if piece >= 20 {
                                    break;
                                }
                                sum.fetch_add(piece, Ordering::Relaxed);
                            }
                        });
                        assert_eq!(sum.into_inner(), 190);
                        if round % 500 == 0 {
                            thread::sleep(3 * PATIENCE);
                        }
                    }
                });
            }
        });
        assert_eq!(team.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_helper_may_be_a_caller() {
        let team = Team::start(2).unwrap();
        let count = AtomicUsize::new(0);
        team.run(2, &|| {
            team.run(2, &|| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!((1..=9).contains(&count.into_inner()));
    }

    #[test]
    fn a_panic_of_a_helper_goes_on_in_the_caller() {
        let team = Team::start(1).unwrap();
        let caller = thread::current().id();
        let came = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.run(1, &|| {
                if thread::current().id() != caller {
                    came.fetch_add(1, Ordering::Relaxed);
                    panic!("of a helper");
                }
                while came.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
            });
        }));
        assert!(result.is_err());
        team.run(1, &|| {});
    }
}
