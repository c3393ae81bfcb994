//! How work is split: pieces in a queue, which the caller and its helpers take from.
//!
//! The pieces are cut by the kernel from sizes alone and each is computed by one thread from start to end,
//! so which thread takes which piece never changes a result.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::thread_pool::Team;

/// Estimated work of one thread, in nanoseconds, for which it pays to call a helper who is awake.
const WORTH_SHARING: f64 = 6_000.0;
/// The same for a helper who sleeps. The caller does not wait for it if it is too late, so what counts is the call, of
/// some microseconds; and it is awake for the next kernel.
const WORTH_WAKING: f64 = 15_000.0;

/// Bytes of weights that a thread takes at once: an eighth of its part, so that small matrices are shared evenly, and long
/// runs of large ones, because the processor reads ahead past the end of each.
pub(crate) fn run_of_weights(bytes: usize) -> usize {
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

/// Runs `work` on each piece, with a context made once by each thread that takes part.
///
/// `nanoseconds` is a rough estimate of the whole work on one thread: little work stays on the caller's thread.
pub(crate) fn each<Piece: Send, Context>(
    pieces: impl ExactSizeIterator<Item = Piece> + Send,
    nanoseconds: f64,
    context: impl Fn() -> Context + Sync,
    work: impl Fn(&mut Context, Piece) + Sync,
) {
    let is_shared = nanoseconds >= WORTH_SHARING && pieces.len() > 1;
    let team = is_shared.then(team).flatten();
    let shared = team.map(|team| (team, helpers(team, pieces.len(), nanoseconds)));
    let Some((team, helpers @ 1..)) = shared else {
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
    team.run(helpers, &take_all);
}

fn helpers(team: &Team, pieces: usize, nanoseconds: f64) -> usize {
    let ready = ((nanoseconds / WORTH_SHARING) as usize).min(team.awake());
    let worth = ready.max((nanoseconds / WORTH_WAKING) as usize);
    (threads() - 1).min(pieces.saturating_sub(1)).min(worth)
}

/// The helpers: one thread fewer than [`threads`], because the caller works too. `None` if threads cannot be made, and in
/// a child of fork, where they do not exist and their lock may be held for ever.
fn team() -> Option<&'static Team> {
    static TEAM: OnceLock<(u32, Option<&Team>)> = OnceLock::new();
    let process = std::process::id();
    let (started_in, team) = *TEAM.get_or_init(|| (process, Team::start(threads() - 1)));
    team.filter(|_| started_in == process)
}
