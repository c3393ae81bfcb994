//! How work is split: a private, persistent pool of threads that share a queue of pieces with the caller.
//!
//! The pieces are cut by the kernel from sizes alone and each is computed by one thread from start to end,
//! so which thread takes which piece never changes a result.

use std::sync::{Mutex, OnceLock, PoisonError};

/// Below this much estimated work, in nanoseconds of one thread, waking another thread costs more than it saves.
///
/// Measured with attention on two busy cores: 27 and 63 microseconds became 33 and 70, and 129 became 72.
const WORTH_SHARING: f64 = 50_000.0;

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

/// Runs `work` on each piece, with a context made once by each thread that takes part.
///
/// `nanoseconds` is a rough estimate of the whole work on one thread: little work stays on the caller's thread.
pub(crate) fn each<Piece: Send, Context>(
    pieces: impl ExactSizeIterator<Item = Piece> + Send,
    nanoseconds: f64,
    context: impl Fn() -> Context + Sync,
    work: impl Fn(&mut Context, Piece) + Sync,
) {
    let helpers = helpers(pieces.len(), nanoseconds);
    let pool = if helpers == 0 { None } else { pool() };
    let Some(pool) = pool else {
        let mut own = context();
        pieces.for_each(|piece| work(&mut own, piece));
        return;
    };
    let queue = Mutex::new(pieces);
    let take_all = || {
        let mut own = context();
        loop {
            // The lock is held while a piece is cut off, never while it is computed.
            let piece = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = piece else { break };
            work(&mut own, piece);
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| take_all());
        }
        take_all();
    });
}

fn helpers(pieces: usize, nanoseconds: f64) -> usize {
    let worth = (nanoseconds / WORTH_SHARING) as usize;
    (threads() - 1).min(pieces.saturating_sub(1)).min(worth)
}

/// The helpers: one thread fewer than [`threads`], because the caller works too. `None` if threads cannot be made.
fn pool() -> Option<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| {
        rayon::ThreadPoolBuilder::new()
            .num_threads((threads() - 1).max(1))
            .thread_name(|number| format!("mlx-kernels-{number}"))
            .build()
            .ok()
    })
    .as_ref()
}
