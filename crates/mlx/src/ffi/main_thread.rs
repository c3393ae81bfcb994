//! Which thread MLX takes for its main one: a thread of ours that does nothing.
//!
//! MLX's main thread is the first that uses the CPU scheduler. There, an error of a computation is thrown by whatever
//! is queued next instead of by the wait for that computation, and now and then leaves a count of running tasks one too
//! high. Past ten such errors every evaluation waits for a task that does not exist: the process hangs. On any other
//! thread an error reaches whoever waits, and the count stays right.

use std::sync::mpsc;

use mlx_sys as sys;

/// A stream lent to another thread for one call.
struct Lent(sys::mlx_stream);

// SAFETY: the lender keeps the stream alive and does not touch it until the call is over.
unsafe impl Send for Lent {}

/// Makes a thread of ours MLX's main one. Only the first call in a process has an effect, and only before any work.
pub(crate) fn claim(api: &'static sys::Api) {
    // SAFETY: takes nothing; the handle to this thread's default CPU stream is freed below.
    let stream = unsafe { api.mlx_default_cpu_stream_new() };
    if stream.ctx.is_null() {
        super::call::take_error(api);
        return;
    }
    let lent = Lent(stream);
    let (done, wait) = mpsc::channel::<()>();
    let claimed = std::thread::Builder::new()
        .name(String::from("mlx-main"))
        .spawn(move || {
            let lent = lent;
            // SAFETY: the stream is alive until `done` is sent; waiting for a CPU stream is allowed on any thread.
            let status = unsafe { api.mlx_synchronize(lent.0) };
            if status != 0 {
                super::call::take_error(api);
            }
            let _ = done.send(());
            // The thread stays: another one could get its identity.
            loop {
                std::thread::park();
            }
        });
    if claimed.is_ok() {
        // An error means that the thread is gone, and with it the need to wait.
        let _ = wait.recv();
    }
    // SAFETY: this function owns the handle, and the other thread is done with it.
    let _ = unsafe { api.mlx_stream_free(stream) };
}
