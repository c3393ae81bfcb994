//! Which thread waits for which worker, to refuse deadlocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// A wait of this thread for a worker, which ends when this is dropped.
pub(super) struct Wait {
    waiter: ThreadId,
}

struct Edge {
    waiter: ThreadId,
    worker: ThreadId,
    /// Whether what is waited for is there, so that the waiter is about to go on.
    is_done: Arc<AtomicBool>,
}

/// A thread waits for one worker at a time, so each has at most one entry.
static EDGES: Mutex<Vec<Edge>> = Mutex::new(Vec::new());

impl Wait {
    /// Begins to wait for work of a worker; `None` where that would never end, because the worker itself waits for this
    /// thread.
    pub(super) fn begin(worker: ThreadId, is_done: &Arc<AtomicBool>) -> Option<Self> {
        let waiter = thread::current().id();
        let mut edges = edges();
        if !is_done.load(Ordering::Acquire) && waits_for(&edges, worker, waiter) {
            return None;
        }
        edges.push(Edge {
            waiter,
            worker,
            is_done: Arc::clone(is_done),
        });
        Some(Self { waiter })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        edges().retain(|edge| edge.waiter != self.waiter);
    }
}

/// Whether `thread` is `other`, or waits for it directly or through others. There are no cycles: none is let in.
fn waits_for(edges: &[Edge], thread: ThreadId, other: ThreadId) -> bool {
    let mut at = thread;
    loop {
        if at == other {
            return true;
        }
        let wait = |edge: &&Edge| edge.waiter == at && !edge.is_done.load(Ordering::Acquire);
        match edges.iter().find(wait) {
            Some(edge) => at = edge.worker,
            None => return false,
        }
    }
}

fn edges() -> MutexGuard<'static, Vec<Edge>> {
    EDGES.lock().unwrap_or_else(PoisonError::into_inner)
}
