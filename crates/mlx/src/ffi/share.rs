//! Parts of OpenBLAS's matrix products on the threads of the kernels.

use std::ffi::c_void;

use mlx_sys::Piece;

/// What the parts of a product have in common.
struct Job(*mut c_void);

// SAFETY: the parts only read what the job points to, and each writes to a part of the result that is its own.
unsafe impl Sync for Job {}

impl Job {
    /// Computes one part.
    fn compute(&self, piece: Piece, number: usize) {
        // SAFETY: the caller of `share` passes a job that outlives its call, and numbers below its own are asked for.
        unsafe { piece(self.0, number) };
    }
}

/// Computes all parts; what OpenBLAS's products call.
pub(super) unsafe extern "C" fn share(
    piece: Piece,
    job: *mut c_void,
    pieces: usize,
    nanoseconds: f64,
) {
    let job = Job(job);
    // No part panics: they are C.
    mlx_kernels::parallel_for(pieces, nanoseconds, |number| job.compute(piece, number));
}
