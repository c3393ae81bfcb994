//! What belongs to the process and its threads: children of fork, destructors of a thread's values, threads that come and
//! go.
#![cfg(target_os = "linux")]

mod support;

use std::cell::RefCell;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlx::{Array, Device, SharedArray, Stream, array, iota, ones};
use mlx_testdata::needs;
use rstest::rstest;

#[rstest]
#[case("fork_is_an_error_in_the_child")]
#[case("fork_goes_on_in_the_parent_while_products_run")]
#[case("destructors_of_a_threads_values")]
#[case("streams_of_ended_threads")]
#[case("threads_that_cannot_be_made")]
fn in_a_process_of_its_own(#[case] case: &str) {
    support::alone(&format!("child::{case}"), &[]);
}

mod child {
    use super::*;

    /// Runs `work` in a child of fork, and returns the code that it exits with; it must come to an end.
    fn forked(work: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `work` and exits without unwinding into what belongs to the parent.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let code = work();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let since = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: `status` is ours.
            let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            if ended == pid {
                assert!(libc::WIFEXITED(status), "{status}");
                return libc::WEXITSTATUS(status);
            }
            if since.elapsed() > Duration::from_secs(30) {
                // SAFETY: the child is ours.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                panic!("the child has not ended");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    #[ignore = "run by `in_a_process_of_its_own`"]
    fn fork_is_an_error_in_the_child() {
        let x = ones([300, 300]);
        let product = x.matmul(&x).exp();
        product.eval().unwrap();
        let shared = product.share().unwrap();
        let pending = &x + 1.0;
        let is_told = |error: mlx::Error| error.to_string().contains("child of fork");
        let code = forked(|| {
            let told = [
                (&x + 1.0).eval().is_err_and(is_told),
                pending.eval().is_err_and(is_told),
                product.to_vec::<f32>().is_err_and(is_told),
                shared.array().sum(()).item::<f32>().is_err_and(is_told),
                Stream::new(Device::Cpu).is_err_and(is_told),
                mlx::synchronize().is_err_and(is_told),
                mlx::vmap(|x: &Array| x.exp()).call(&x).is_err_and(is_told),
            ];
            // Dropping does not wait for locks of threads that are not there.
            drop((product, shared, pending));
            told.iter()
                .position(|told| !told)
                .map_or(0, |at| at as i32 + 1)
        });
        assert_eq!(code, 0, "the call of this number");
        assert_eq!(x.sum(()).item::<f32>().unwrap(), 90_000.0);
    }

    #[test]
    #[ignore = "run by `in_a_process_of_its_own`"]
    fn fork_goes_on_in_the_parent_while_products_run() {
        needs!(ForkWithoutGpu);
        let (started, has_started) = channel();
        for _ in 0..3 {
            let started = started.clone();
            std::thread::spawn(move || {
                loop {
                    let x = ones([400, 400]);
                    x.matmul(&x).exp().eval().unwrap();
                    let _ = started.send(());
                }
            });
        }
        (0..3).for_each(|_| has_started.recv().unwrap());
        for _ in 0..30 {
            let code = forked(|| {
                let is_told = array!([1.0]).exp().eval().is_err();
                // Kernels without MLX compute, on this thread.
                let shape = mlx_kernels::RowMajorShape {
                    rows: 2048,
                    dim: 1024,
                };
                let mut out = vec![0.0; 2048 * 1024];
                mlx_kernels::softmax(shape, &vec![1.0_f32; 2048 * 1024], &mut out).unwrap();
                i32::from(!is_told || (out[0] - 1.0 / 1024.0).abs() > 1e-6)
            });
            assert_eq!(code, 0);
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// What a thread keeps, and uses MLX when it is destroyed.
    struct Late(Option<Array>, Option<SharedArray>);

    impl Drop for Late {
        fn drop(&mut self) {
            let said = format!(
                "{:?} {:?}",
                (ones([64, 64]).matmul(&ones([64, 64])))
                    .to_vec::<f32>()
                    .map(|values| values[0]),
                mlx::vmap(|x: &Array| x.exp()).call(&iota(3)).map(|_| ()),
            );
            let array = self
                .0
                .as_ref()
                .map(|array| array.to_vec::<i32>().map(|_| ()));
            let shared = self
                .1
                .as_ref()
                .map(|shared| shared.array().sum(()).item::<i32>());
            let worker =
                mlx::Worker::new("late").map(|worker| worker.run(|| iota(3).sum(()).item::<i32>()));
            SAID.lock()
                .unwrap()
                .push(format!("{said} {array:?} {shared:?} {worker:?}"));
        }
    }

    static SAID: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

    thread_local! {
        static BEFORE: RefCell<Late> = const { RefCell::new(Late(None, None)) };
        static AFTER: RefCell<Late> = const { RefCell::new(Late(None, None)) };
    }

    #[test]
    #[ignore = "run by `in_a_process_of_its_own`"]
    fn destructors_of_a_threads_values() {
        needs!(ErrorsOfValues);
        for holds in [false, true] {
            std::thread::spawn(move || {
                // Made before anything of MLX's on this thread, so it is destroyed after all of that.
                BEFORE.with_borrow_mut(|late| late.0 = None);
                let x = iota(10) * 2;
                x.eval().unwrap();
                let failing = iota(4).take(array!([1, 2]) + 9, 0);
                assert!(failing.eval().is_err());
                let unfinished = &x + 1;
                AFTER.with_borrow_mut(|late| {
                    if holds {
                        *late = Late(Some(unfinished.clone()), Some(x.share().unwrap()));
                    }
                });
                BEFORE.with_borrow_mut(|late| {
                    if holds {
                        *late = Late(Some(unfinished), Some(x.share().unwrap()));
                    }
                });
            })
            .join()
            .unwrap();
        }
        let said = SAID.lock().unwrap();
        // Each of two threads replaced the values of one run, or kept them.
        assert!(said.len() >= 4, "{said:?}");
        for text in said.iter() {
            assert!(
                text.contains("Ok(64.0)") || text.contains("storage is being destroyed"),
                "{text}"
            );
        }
        assert!(
            said.iter()
                .any(|text| text.contains("storage is being destroyed")),
            "{said:?}"
        );
    }

    fn n_threads() -> usize {
        std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
    }

    #[test]
    #[ignore = "run by `in_a_process_of_its_own`"]
    fn streams_of_ended_threads() {
        needs!(CpuKernels);
        let work = |k: usize, leaves_work: bool| {
            std::thread::spawn(move || {
                let own = Stream::new(Device::Cpu).unwrap();
                let y = mlx::with_stream(&own, || iota(3) + 1).unwrap() + 1;
                assert_eq!(y.to_vec::<i32>().unwrap(), [2, 3, 4]);
                // An error, or work, that nobody waits for.
                if k.is_multiple_of(3) {
                    let _ = mlx::async_eval([&iota(4).take(array!([1, 2]) + 9, 0)]);
                } else if leaves_work {
                    let x = ones([200, 200]);
                    mlx::async_eval([&x.matmul(&x)]).unwrap();
                }
            })
        };
        // A stream comes back when its work is done, so some are made meanwhile: how many depends on how busy the machine
        // is, but not on the number of threads.
        for k in 0..100 {
            let some: Vec<_> = (0..6).map(|j| work(k + j, true)).collect();
            some.into_iter().for_each(|thread| thread.join().unwrap());
        }
        let before = n_threads();
        assert!(before < 300, "1200 streams left {before} threads");
        (0..1_000).for_each(|k| work(k, false).join().unwrap());
        let after = n_threads();
        assert!(after <= before + 10, "{before} threads became {after}");
    }

    /// Lets this user have no more threads.
    fn no_more_threads() -> bool {
        let limit = libc::rlimit {
            rlim_cur: 1,
            rlim_max: 1,
        };
        // SAFETY: the structure is ours; root gives up its right first, because it is held to no limit.
        unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(54_322, 54_322, 54_322) == 0
                && libc::setresuid(54_322, 54_322, 54_322) == 0
                && libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) == 0
        }
    }

    #[test]
    #[ignore = "run by `in_a_process_of_its_own`"]
    fn threads_that_cannot_be_made() {
        needs!(CpuKernels);
        let x = ones([500, 500]);
        assert_eq!((&x + 1.0).sum(()).item::<f32>().unwrap(), 500_000.0);
        if !no_more_threads() {
            println!("skipped: only root can become another user");
            return;
        }
        // This thread has its stream; helpers of kernels and products do without.
        assert_eq!(
            x.matmul(&x).sum(()).item::<f32>().unwrap(),
            500.0 * 250_000.0
        );
        assert!(mlx::Worker::new("none").is_err());
        assert!(mlx::WorkerPool::new("none", 3).is_err());
        // A stream that has never worked needs a thread for what nothing waits for, and none for what is waited for.
        let stream = Stream::new(Device::Cpu).unwrap();
        let y = mlx::with_stream(&stream, || &x * 2.0).unwrap();
        let text = mlx::async_eval([&y]).unwrap_err().to_string();
        assert!(text.contains("resource temporarily unavailable"), "{text}");
        let z = mlx::with_stream(&stream, || &x * 4.0).unwrap();
        assert_eq!(z.sum(()).item::<f32>().unwrap(), 1_000_000.0);
        assert_eq!((&x * 3.0).sum(()).item::<f32>().unwrap(), 750_000.0);
    }
}
