//! The thread pool: workers that help the calling thread with its job, spin before they park, and are never waited for
//! unless they have joined.
//!
//! - A worker without a job spins for [`SPIN_DURATION`] before it parks, and yields its core while it spins: a spinning
//!   thread that never yields keeps its core from the thread that would give it work.
//! - A job has open slots, which workers take if they come in time. The caller works too, and when nothing is left it
//!   closes the job: it waits for workers that have joined, never for one that is still parked.
//!
//! Several callers may have jobs open at once, and a worker may be a caller. The measurements behind the constants are in
//! decision 16.

#![expect(
    unsafe_code,
    reason = "a job borrows from its caller, and workers live longer"
)]

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a worker spins before it parks: longer than the pause between two kernels of a network.
const SPIN_DURATION: Duration = Duration::from_micros(150);
/// Spins between two yields: about a microsecond.
const SPINS_PER_YIELD: usize = 40;

/// The workers and their jobs.
pub(super) struct ThreadPool {
    state: Mutex<State>,
    /// Open slots of all jobs, as in the state, for workers that spin without the lock.
    open_slots: AtomicUsize,
    /// Workers that spin.
    spinning: AtomicUsize,
    /// How often a worker has finished its part of a job.
    completed: AtomicUsize,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// The id of the next job.
    next_id: u64,
    /// Workers that are parked.
    parked: usize,
}

struct Job {
    id: u64,
    work: Work<'static>,
    /// How many more workers may join.
    open_slots: usize,
    /// Workers that have joined and not finished.
    running: usize,
    /// The panic of a worker.
    panic: Option<Panic>,
}

type Work<'a> = &'a (dyn Fn() + Sync);
type Panic = Box<dyn Any + Send>;

impl ThreadPool {
    /// Starts up to `workers` threads, which live as long as the process; `None` if none can be started.
    pub(super) fn start(workers: usize) -> Option<&'static Self> {
        let pool: &'static Self = Box::leak(Box::new(Self {
            state: Mutex::default(),
            open_slots: AtomicUsize::new(0),
            spinning: AtomicUsize::new(0),
            completed: AtomicUsize::new(0),
            wake: Condvar::new(),
        }));
        let started = (0..workers)
            .map(|number| {
                let named = thread::Builder::new().name(format!("mlx-kernels-{number}"));
                named.spawn(|| pool.worker_loop())
            })
            .filter(Result::is_ok)
            .count();
        (started > 0).then_some(pool)
    }

    /// How many workers would join at once.
    pub(super) fn spinning(&self) -> usize {
        self.spinning.load(Ordering::Relaxed)
    }

    /// Runs `work` on this thread, and at the same time on up to `max_helpers` workers; returns when all have returned.
    ///
    /// A panic of any of them is resumed here.
    pub(super) fn run(&self, max_helpers: usize, work: Work<'_>) {
        // SAFETY: only the lifetime changes. The job is closed before this function returns or unwinds, and then no worker
        // has the reference: those that joined have finished, and none can join any more.
        let work: Work<'static> = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        let open_job = self.submit(max_helpers, work);
        work();
        drop(open_job);
    }

    /// Adds a job and wakes as many parked workers as it needs.
    fn submit(&self, open_slots: usize, work: Work<'static>) -> OpenJob<'_> {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.jobs.push(Job {
            id,
            work,
            open_slots,
            running: 0,
            panic: None,
        });
        self.open_slots.fetch_add(open_slots, Ordering::Relaxed);
        let to_wake = open_slots.saturating_sub(self.spinning()).min(state.parked);
        let is_all = to_wake == state.parked;
        drop(state);
        if to_wake > 0 && is_all {
            self.wake.notify_all();
        } else {
            (0..to_wake).for_each(|_| self.wake.notify_one());
        }
        OpenJob { pool: self, id }
    }

    /// Closes the remaining slots of a job and waits until every worker that joined has finished.
    fn close_job(&self, id: u64) -> Option<Panic> {
        loop {
            let completed = self.completed.load(Ordering::Acquire);
            let mut state = self.state();
            let at = state.jobs.iter().position(|job| job.id == id)?;
            let open_slots = std::mem::take(&mut state.jobs[at].open_slots);
            self.open_slots.fetch_sub(open_slots, Ordering::Relaxed);
            if state.jobs[at].running == 0 {
                return state.jobs.swap_remove(at).panic;
            }
            drop(state);
            while !spin_until(|| self.completed.load(Ordering::Acquire) != completed) {
                thread::yield_now();
            }
        }
    }

    /// The body of a worker's thread.
    fn worker_loop(&self) {
        loop {
            self.spinning.fetch_add(1, Ordering::Relaxed);
            let since = Instant::now();
            let mut joined = None;
            while joined.is_none() && since.elapsed() < SPIN_DURATION {
                if spin_until(|| self.open_slots.load(Ordering::Relaxed) > 0) {
                    joined = self.join_job();
                } else {
                    thread::yield_now();
                }
            }
            self.spinning.fetch_sub(1, Ordering::Relaxed);
            match joined {
                Some((id, work)) => {
                    let panic = catch_unwind(AssertUnwindSafe(work)).err();
                    self.finish_job(id, panic);
                }
                None => self.park(),
            }
        }
    }

    /// Takes a slot of any job that has one.
    fn join_job(&self) -> Option<(u64, Work<'static>)> {
        let mut state = self.state();
        let job = state.jobs.iter_mut().find(|job| job.open_slots > 0)?;
        job.open_slots -= 1;
        job.running += 1;
        self.open_slots.fetch_sub(1, Ordering::Relaxed);
        Some((job.id, job.work))
    }

    /// Reports that a worker has finished its part of a job.
    fn finish_job(&self, id: u64, panic: Option<Panic>) {
        let mut state = self.state();
        if let Some(job) = state.jobs.iter_mut().find(|job| job.id == id) {
            job.running -= 1;
            job.panic = panic.or(job.panic.take());
        }
        self.completed.fetch_add(1, Ordering::Release);
    }

    /// Waits for a wake-up, unless a job has open slots.
    fn park(&self) {
        let mut state = self.state();
        if state.jobs.iter().any(|job| job.open_slots > 0) {
            return;
        }
        state.parked += 1;
        // A spurious wake-up does no harm: the worker spins, and parks again.
        state = self
            .wake
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.parked -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spins for about a microsecond until `condition` holds, and returns whether it does.
fn spin_until(condition: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS_PER_YIELD {
        if condition() {
            return true;
        }
        spin_loop();
    }
    false
}

/// A job that workers may join; dropping it closes the job.
struct OpenJob<'a> {
    pool: &'a ThreadPool,
    id: u64,
}

impl Drop for OpenJob<'_> {
    fn drop(&mut self) {
        let panic = self.pool.close_job(self.id);
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
    fn every_task_is_taken_once_by_callers_at_the_same_time() {
        let pool = ThreadPool::start(3).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..2_000_usize {
                        let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
                        pool.run(round % 4, &|| {
                            loop {
                                let task = next.fetch_add(1, Ordering::Relaxed);
                                if task >= 20 {
                                    break;
                                }
                                sum.fetch_add(task, Ordering::Relaxed);
                            }
                        });
                        assert_eq!(sum.into_inner(), 190);
                        if round % 500 == 0 {
                            thread::sleep(3 * SPIN_DURATION);
                        }
                    }
                });
            }
        });
        assert_eq!(pool.open_slots.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_worker_may_be_a_caller() {
        let pool = ThreadPool::start(2).unwrap();
        let count = AtomicUsize::new(0);
        pool.run(2, &|| {
            pool.run(2, &|| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!((1..=9).contains(&count.into_inner()));
    }

    #[test]
    fn a_panic_of_a_worker_is_resumed_in_the_caller() {
        let pool = ThreadPool::start(1).unwrap();
        let caller = thread::current().id();
        let joined = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(1, &|| {
                if thread::current().id() != caller {
                    joined.fetch_add(1, Ordering::Relaxed);
                    panic!("of a worker");
                }
                while joined.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
            });
        }));
        assert!(result.is_err());
        pool.run(1, &|| {});
    }
}
