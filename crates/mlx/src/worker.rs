//! Threads that own a stream and run closures: the way to use MLX from many threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle, ThreadId};

use self::wait::Wait;
use crate::{Error, Result};

mod wait;

type Job = Box<dyn FnOnce() + Send>;

/// A thread with its own stream that runs closures one after another.
///
/// Arrays never leave the thread that made them; values go in and out as [`SharedArray`](crate::SharedArray) or
/// plain Rust data. Dropping a worker waits for its work.
///
/// A job may use other workers, and wait for them, but not for work of its own worker, which begins only after it: that is
/// an error, also when other workers are between.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let worker = mlx::Worker::new("adder")?;
/// let x = mlx::Array::new([1.0_f32, 2.0]).share()?;
/// let sum = worker.run(move || x.array().sum(()).item::<f32>())??;
/// assert_eq!(sum, 3.0);
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    /// None, like the thread, when it is being dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: ThreadId,
}

impl Worker {
    /// Returns a worker whose thread has this name.
    ///
    /// # Errors
    /// When the system gives no thread, or there is a NUL in the name.
    pub fn new(name: &str) -> Result<Self> {
        if name.contains('\0') {
            let text = format!("wanted a name without NUL, got {name:?}");
            return Err(Error::Worker(text.into()));
        }
        let (jobs, queue) = channel::<Job>();
        let work = move || {
            for job in queue {
                // A job catches the panic of its work; this one is of a value that it gave up.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(|error| Error::Worker(error.to_string().into()))?;
        Ok(Self {
            jobs: Some(jobs),
            id: thread.thread().id(),
            thread: Some(thread),
        })
    }

    /// Queues `work` and returns at once.
    ///
    /// # Errors
    /// When the worker's thread has exited.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        let (sender, receiver) = channel();
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let job: Job = Box::new(move || {
            // The receiver may have been dropped: then the result is not needed.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
            done.store(true, Ordering::Release);
        });
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        Ok(Pending {
            receiver,
            worker: self.id,
            is_done,
        })
    }

    /// Runs `work` on the worker's thread and returns what it returned. A panic goes on here.
    ///
    /// # Errors
    /// When the worker's thread has exited, or this is a job of the same worker, or one that it waits for.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.start(work)?.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the queue ends the thread's loop.
        drop(self.jobs.take());
        // One that waits for this thread ends later, by itself.
        if let Some(thread) = self.thread.take()
            && let Some(_wait) = Wait::begin(self.id, &Arc::default())
        {
            // Jobs catch their panics, so there is nothing to report.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self
            .thread
            .as_ref()
            .and_then(|thread| thread.thread().name());
        write!(f, "Worker({})", name.unwrap_or("?"))
    }
}

fn gone() -> Error {
    Error::Worker(Arc::from("the worker's thread is gone"))
}

/// A result that a worker is computing.
#[derive(Debug)]
pub struct Pending<T> {
    receiver: Receiver<thread::Result<T>>,
    worker: ThreadId,
    is_done: Arc<AtomicBool>,
}

impl<T> Pending<T> {
    /// Waits for the result. A panic of the work goes on here.
    ///
    /// # Errors
    /// When the worker's thread has exited, or this is a job that the result has to wait for: one of the same worker, or of
    /// one that waits for this one.
    pub fn wait(self) -> Result<T> {
        let result = match self.receiver.try_recv() {
            Err(TryRecvError::Empty) => {
                let _wait = Wait::begin(self.worker, &self.is_done).ok_or_else(deadlock)?;
                self.receiver.recv().map_err(|_| gone())?
            }
            Err(TryRecvError::Disconnected) => return Err(gone()),
            Ok(result) => result,
        };
        match result {
            Ok(value) => Ok(value),
            Err(panic) => resume_unwind(panic),
        }
    }
}

fn deadlock() -> Error {
    Error::Worker(Arc::from(
        "wanted to wait for work that can begin, got work that has to wait for the job that asks",
    ))
}

/// More threads than a pool can use, and few enough for other processes to go on.
const MOST_WORKERS: usize = 4096;

/// Several workers that take turns.
#[derive(Debug)]
pub struct WorkerPool {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

impl WorkerPool {
    /// Returns a pool of `n_workers` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no threads, for more than 4096 of them, or there is a NUL in the name.
    pub fn new(name: &str, n_workers: usize) -> Result<Self> {
        if n_workers > MOST_WORKERS {
            let text = format!("wanted at most {MOST_WORKERS} workers, got {n_workers}");
            return Err(Error::Worker(text.into()));
        }
        let workers: Result<Vec<_>> = (0..n_workers.max(1))
            .map(|k| Worker::new(&format!("{name}-{k}")))
            .collect();
        Ok(Self {
            workers: workers?,
            next: AtomicUsize::new(0),
        })
    }

    /// Queues `work` on the next worker and returns at once.
    ///
    /// # Errors
    /// When that worker's thread has exited.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.workers[turn % self.workers.len()].start(work)
    }

    /// Returns the number of workers.
    pub fn n_workers(&self) -> usize {
        self.workers.len()
    }
}
