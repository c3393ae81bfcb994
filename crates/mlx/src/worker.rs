//! Threads that own a stream and run closures: the way to use MLX from many threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// A thread with its own stream that runs closures one after another.
///
/// Arrays never leave the thread that made them; values go in and out as [`SharedArray`](crate::SharedArray) or
/// plain Rust data. Dropping a worker waits for its work.
///
/// MLX keeps the thread of a CPU stream for the life of the process, so make workers once and keep them, rather than
/// one for each piece of work.
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
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Returns a worker whose thread has this name.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(name: &str) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map_err(|error| Error::Worker(error.to_string().into()))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Queues `work` and returns at once.
    ///
    /// # Errors
    /// When the worker's thread is gone.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>> {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move || {
            // The receiver may be gone: then nobody wants the result.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        });
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        Ok(Pending { receiver })
    }

    /// Runs `work` on the worker's thread and returns what it returned. A panic goes on here.
    ///
    /// # Errors
    /// When the worker's thread is gone.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.start(work)?.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the queue ends the thread's loop.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
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
    receiver: Receiver<std::thread::Result<T>>,
}

impl<T> Pending<T> {
    /// Waits for the result. A panic of the work goes on here.
    ///
    /// # Errors
    /// When the worker's thread is gone.
    pub fn wait(self) -> Result<T> {
        match self.receiver.recv() {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(gone()),
        }
    }
}

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
    /// When the system gives no threads.
    pub fn new(name: &str, n_workers: usize) -> Result<Self> {
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
    /// When that worker's thread is gone.
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
