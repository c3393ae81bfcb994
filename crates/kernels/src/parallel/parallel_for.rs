//! The parallel loop: tasks in a queue, which the calling thread and the workers of the pool take from.
//!
//! A kernel cuts its tasks from sizes alone and each is computed by one thread from start to end,
//! so which thread takes which task never changes a result.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::thread_pool::ThreadPool;

/// Estimated work per thread, in nanoseconds, from which sharing with a worker that spins pays.
const MIN_NS_AWAKE: f64 = 6_000.0;
/// The same for a worker that is parked. The caller does not wait for one that starts too late, so what counts is the
/// cost of the wake-up, a few microseconds; and the worker is awake for the next kernel.
const MIN_NS_PARKED: f64 = 15_000.0;

/// Bytes of weights in a task: an eighth of a thread's share, so that small matrices are shared evenly, and long
/// contiguous runs of large ones, because the hardware prefetcher reads past the end of each.
pub(crate) fn weight_chunk_bytes(bytes: usize) -> usize {
    (bytes / (8 * threads().max(2))).clamp(32 << 10, 2 << 20)
}

/// The number of threads that kernels use, the caller's included.
///
/// It is `MLX_NUM_THREADS` if that is a positive number, and the number of cores otherwise; it is read once.
pub fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let asked = std::env::var("MLX_NUM_THREADS")
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
            .filter(|threads| (1..=1024).contains(threads));
        asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    })
}

/// Runs `work` on each task, with a context made once by each thread that takes part.
///
/// `nanoseconds` is a rough estimate of the whole work on one thread: little work stays on the calling thread.
pub(crate) fn parallel_for<Task: Send, Context>(
    tasks: impl ExactSizeIterator<Item = Task> + Send,
    nanoseconds: f64,
    context: impl Fn() -> Context + Sync,
    work: impl Fn(&mut Context, Task) + Sync,
) {
    // Called through a pointer, so that it is compiled once and not into both loops.
    let work: &(dyn Fn(&mut Context, Task) + Sync) = &work;
    let is_shared = nanoseconds >= MIN_NS_AWAKE && tasks.len() > 1;
    let pool = is_shared.then(pool).flatten();
    let shared = pool.map(|pool| (pool, max_helpers(pool, tasks.len(), nanoseconds)));
    let Some((pool, max_helpers @ 1..)) = shared else {
        let mut own = context();
        tasks.for_each(|task| work(&mut own, task));
        return;
    };
    let queue = Mutex::new(tasks);
    let take_all = || {
        let mut own = context();
        loop {
            // The lock is held while a task is cut off, never while it is computed.
            let task = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(task) = task else { break };
            work(&mut own, task);
        }
    };
    pool.run(max_helpers, &take_all);
}

/// How many workers are worth asking for.
fn max_helpers(pool: &ThreadPool, tasks: usize, nanoseconds: f64) -> usize {
    let ready = ((nanoseconds / MIN_NS_AWAKE) as usize).min(pool.spinning());
    let worth = ready.max((nanoseconds / MIN_NS_PARKED) as usize);
    (threads() - 1).min(tasks.saturating_sub(1)).min(worth)
}

/// The pool: one thread fewer than [`threads`], because the caller works too. `None` if threads cannot be started, and
/// in a child of fork, where they do not exist and their lock may be held forever.
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<(u32, Option<&ThreadPool>)> = OnceLock::new();
    let process = std::process::id();
    let (started_in, pool) = *POOL.get_or_init(|| (process, ThreadPool::start(threads() - 1)));
    pool.filter(|_| started_in == process)
}
