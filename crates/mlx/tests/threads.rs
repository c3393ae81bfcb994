//! What may go to other threads and what may not, workers, scopes of streams, and errors on MLX's own threads.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlx::index::{Index, Indices};
use mlx::{
    Array, Device, Dtype, Operand, SharedArray, Stream, Worker, WorkerPool, array, async_eval,
    iota, synchronize, with_device, with_stream,
};
use mlx_testdata::needs;
use rstest::rstest;

/// Does not compile when the type has the trait: which of the two `holds` is meant is then undecided.
macro_rules! never {
    ($($kind:ty: $marker:ident),* $(,)?) => {$(
        const _: fn() = || {
            trait Undecided<A> {
                fn holds() {}
            }
            impl<T: ?Sized> Undecided<()> for T {}
            struct Other;
            impl<T: ?Sized + $marker> Undecided<Other> for T {}
            let _ = <$kind as Undecided<_>>::holds;
        };
    )*};
}

never! {
    mlx::compiler_api::CompiledClosure: Send, mlx::compiler_api::CompiledClosure: Sync,
    Array: Send, Array: Sync, Stream: Send, Stream: Sync, Operand: Send, Index: Send, Indices: Sync,
    mlx::index::ArrayAt<'static>: Send,
}

fn is_shared<T: Send + Sync + 'static>() {}

#[test]
fn shared_arrays_workers_and_errors_go_anywhere() {
    is_shared::<SharedArray>();
    is_shared::<Worker>();
    is_shared::<WorkerPool>();
    is_shared::<mlx::Error>();
}

#[test]
fn four_threads_read_a_shared_array_a_thousand_times() {
    let x = (iota(100) * 3).share().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for k in 0..1000 {
                    let mine = x.array();
                    assert_eq!(
                        mine.as_slice::<i32>().unwrap()[k % 100],
                        3 * (k % 100) as i32
                    );
                    assert_eq!(x.array_type().shape, [100]);
                }
            });
        }
    });
    assert_eq!(x.array().sum(()).item::<i32>().unwrap(), 14850);
}

#[test]
fn workers_compute_with_shared_arrays() {
    let weights = Array::from_slice(&[2.0_f32; 64], [8, 8])
        .unwrap()
        .share()
        .unwrap();
    let pool = WorkerPool::new("share", 3).unwrap();
    let pending: Vec<_> = (0..30)
        .map(|k| {
            let weights = weights.clone();
            pool.start(move || (weights.array() * k).sum(()).item::<f32>())
                .unwrap()
        })
        .collect();
    for (k, sum) in pending.into_iter().enumerate() {
        assert_eq!(sum.wait().unwrap().unwrap(), 128.0 * k as f32);
    }
}

#[test]
fn results_come_back_as_shared_arrays() {
    let worker = Worker::new("maker").unwrap();
    let made = worker.run(|| (iota(4) * 2).share()).unwrap().unwrap();
    assert_eq!(made.array().to_vec::<i32>().unwrap(), [0, 2, 4, 6]);
}

#[test]
fn a_worker_works_in_order() {
    let (worker, seen) = (
        Worker::new("order").unwrap(),
        Arc::new(Mutex::new(Vec::new())),
    );
    let pending: Vec<_> = (0..50)
        .map(|k| {
            let seen = Arc::clone(&seen);
            worker.start(move || seen.lock().unwrap().push(k)).unwrap()
        })
        .collect();
    pending.into_iter().for_each(|done| done.wait().unwrap());
    assert_eq!(*seen.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_pool_takes_turns() {
    let pool = WorkerPool::new("turns", 3).unwrap();
    let name = || std::thread::current().name().map(str::to_owned);
    let names: Vec<_> = (0..6)
        .map(|_| pool.start(name).unwrap().wait().unwrap().unwrap())
        .collect();
    assert_eq!(names[..3], ["turns-0", "turns-1", "turns-2"]);
    assert_eq!(names[..3], names[3..]);
    assert_eq!(WorkerPool::new("least", 0).unwrap().n_workers(), 1);
}

#[test]
fn a_panic_of_the_work_goes_on_at_the_caller_and_the_worker_goes_on_too() {
    let worker = Worker::new("panics").unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| worker.run(|| panic!("no good")))).unwrap_err();
    assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "no good");
    assert_eq!(
        worker
            .run(|| (iota(3) + 1).sum(()).item::<i32>())
            .unwrap()
            .unwrap(),
        6
    );
}

/// Runs `work` with what must not wait for ever.
fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(Duration::from_secs(60))
        .expect("an end")
}

#[test]
fn work_that_waits_for_itself_is_an_error() {
    const TEXT: &str = "work that has to wait for the job that asks";
    soon(|| {
        let worker = Arc::new(Worker::new("itself").unwrap());
        let own = Arc::clone(&worker);
        let text = worker.run(move || own.run(|| 1).unwrap_err().to_string());
        assert!(text.unwrap().contains(TEXT));
        // Through others, started before.
        let workers: Vec<_> = (0..3)
            .map(|k| Arc::new(Worker::new(&k.to_string()).unwrap()))
            .collect();
        let [a, b, c] = [0, 1, 2].map(|k: usize| Arc::clone(&workers[k]));
        let first = Arc::clone(&a);
        let result = first
            .run(move || b.run(move || c.run(move || a.run(|| 1))))
            .unwrap();
        // Whoever comes last to wait is told: the circle is closed then.
        let error = match result {
            Ok(Ok(inner)) => inner.unwrap_err(),
            Ok(Err(error)) | Err(error) => error,
        };
        assert!(error.to_string().contains(TEXT), "{error}");
        // A pool whose turn comes to the worker that asks.
        let pool = Arc::new(WorkerPool::new("pool", 2).unwrap());
        let own = Arc::clone(&pool);
        let results = pool
            .start(move || {
                let some: Vec<_> = (0..2).map(|_| own.start(|| 1).unwrap()).collect();
                some.into_iter()
                    .map(|one| one.wait().is_ok())
                    .collect::<Vec<_>>()
            })
            .unwrap();
        assert_eq!(results.wait().unwrap(), [true, false]);
    });
}

#[test]
fn work_for_others_and_work_that_is_done_can_be_waited_for() {
    soon(|| {
        let worker = Arc::new(Worker::new("own").unwrap());
        let other = Arc::new(Worker::new("other").unwrap());
        // Done before this job began.
        let done = worker.start(|| 5).unwrap();
        assert_eq!(worker.run(move || done.wait().unwrap()).unwrap(), 5);
        for _ in 0..200 {
            let (one, two) = (Arc::clone(&worker), Arc::clone(&other));
            let done = one.start(|| 1).unwrap();
            let first = two.start(move || done.wait().unwrap()).unwrap();
            let second = one.start(move || two.run(|| 2).unwrap()).unwrap();
            assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (1, 2));
        }
    });
}

#[test]
fn workers_may_be_dropped_in_jobs() {
    soon(|| {
        let worker = Arc::new(Worker::new("own").unwrap());
        let (own, shared) = (Arc::clone(&worker), iota(3).share().unwrap());
        let done = worker.start(move || drop((own, shared))).unwrap();
        drop(worker);
        done.wait().unwrap();
        // Each drops the other.
        let (a, b) = (Worker::new("a").unwrap(), Worker::new("b").unwrap());
        let (to_a, for_a) = std::sync::mpsc::channel::<Worker>();
        let (to_b, for_b) = std::sync::mpsc::channel::<Worker>();
        let first = a.start(move || drop(for_a.recv())).unwrap();
        let second = b.start(move || drop(for_b.recv())).unwrap();
        to_a.send(b).unwrap();
        to_b.send(a).unwrap();
        first.wait().unwrap();
        second.wait().unwrap();
    });
}

#[test]
fn names_and_numbers_of_workers_that_cannot_be_are_errors() {
    let texts = [
        Worker::new("a\0b").unwrap_err(),
        WorkerPool::new("a\0b", 2).unwrap_err(),
        WorkerPool::new("many", usize::MAX).unwrap_err(),
    ]
    .map(|error| error.to_string());
    assert!(texts[0].contains("a name without NUL"), "{texts:?}");
    assert!(texts[1].contains("a name without NUL"), "{texts:?}");
    assert!(texts[2].contains("at most 4096 workers"), "{texts:?}");
}

#[test]
fn a_value_that_panics_when_it_is_given_up_does_not_end_a_worker() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("given up");
        }
    }
    let worker = Worker::new("gives up").unwrap();
    // Nobody waits for the value when it is there, so the worker gives it up.
    let (is_gone, gone) = std::sync::mpsc::channel();
    let pending = worker.start(move || {
        gone.recv().unwrap();
        Panics
    });
    drop(pending.unwrap());
    is_gone.send(()).unwrap();
    assert_eq!(worker.run(|| 3).unwrap(), 3);
}

#[test]
fn dropping_a_worker_waits_for_its_work() {
    let done = Arc::new(AtomicUsize::new(0));
    let pool = WorkerPool::new("drop", 2).unwrap();
    for _ in 0..6 {
        let done = Arc::clone(&done);
        let work = move || {
            std::thread::sleep(Duration::from_millis(20));
            done.fetch_add(1, Ordering::SeqCst);
        };
        drop(pool.start(work).unwrap());
    }
    drop(pool);
    assert_eq!(done.load(Ordering::SeqCst), 6);
}

#[test]
fn scopes_choose_the_stream_and_nest() {
    let (outer, first, second) = (
        Stream::current().unwrap(),
        Stream::new(Device::Cpu).unwrap(),
        Stream::new(Device::Cpu).unwrap(),
    );
    let index = || Stream::current().unwrap().index().unwrap();
    let of_cpu = with_device(Device::Cpu, index).unwrap();
    with_stream(&first, || {
        assert_eq!(index(), first.index().unwrap());
        with_stream(&second, || assert_eq!(index(), second.index().unwrap())).unwrap();
        assert_eq!(index(), first.index().unwrap());
        with_device(Device::Cpu, || assert_eq!(index(), of_cpu)).unwrap();
    })
    .unwrap();
    assert_eq!(index(), outer.index().unwrap());
}

#[test]
fn arrays_of_several_streams_work_together() {
    let stream = Stream::new(Device::Cpu).unwrap();
    let a = iota(1000) * 2;
    let b = with_stream(&stream, || &a + 1).unwrap();
    assert_eq!((b - a).sum(()).item::<i32>().unwrap(), 1000);
}

#[test]
fn a_panic_in_a_scope_gives_the_stream_back() {
    let stream = Stream::new(Device::Cpu).unwrap();
    let before = Stream::current().unwrap().index().unwrap();
    let work = || with_stream(&stream, || with_device(Device::Cpu, || panic!("out")));
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    assert_eq!(Stream::current().unwrap().index().unwrap(), before);
    assert_eq!((iota(3) + 1).sum(()).item::<i32>().unwrap(), 6);
}

#[rstest]
fn in_a_process_of_their_own(
    #[values(
        "child_scopes_leave_nothing_behind",
        "child_work_after_errors_on_a_stream_goes_on"
    )]
    name: &str,
) {
    support::alone(name, &[]);
}

fn n_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
#[ignore = "run by `in_a_process_of_their_own`"]
fn child_scopes_leave_nothing_behind() {
    let stream = Stream::new(Device::Cpu).unwrap();
    let work = || (iota(2) + 1).eval().unwrap();
    work();
    with_stream(&stream, work).unwrap();
    let (threads, next) = (
        n_threads(),
        Stream::new(Device::Cpu).unwrap().index().unwrap() + 1,
    );
    for k in 0..10_000 {
        with_device(Device::Cpu, || {
            with_stream(&stream, || {
                if k % 100 == 0 {
                    work()
                }
            })
        })
        .unwrap()
        .unwrap();
    }
    // The stream made above may have had its thread started only now.
    assert!(
        n_threads() <= threads + 1,
        "{} threads, before {threads}",
        n_threads()
    );
    assert_eq!(Stream::new(Device::Cpu).unwrap().index().unwrap(), next);
}

/// An array whose computation fails on MLX's thread, because an index is only known there.
fn failing() -> Array {
    iota(4).take(array!([1, 2]) + 9, 0)
}

#[test]
#[ignore = "run by `in_a_process_of_their_own`"]
fn child_work_after_errors_on_a_stream_goes_on() {
    needs!(ErrorsOfValues);
    let stream = Stream::new(Device::Cpu).unwrap();
    // Often enough for what goes wrong one time in ten.
    for _ in 0..200 {
        for on_stream in [false, true] {
            let work = || {
                let text = failing().eval().unwrap_err().to_string();
                assert!(text.contains("index 10 is out of range"), "{text}");
                assert_eq!((iota(3) + 1).sum(()).item::<i32>().unwrap(), 6);
                // Started and not waited for: whoever waits is told, whatever comes after is right.
                let later = failing();
                let told =
                    async_eval([&later]).is_err() | synchronize().is_err() | later.eval().is_err();
                assert!(told);
                assert_eq!((iota(3) + 1).sum(()).item::<i32>().unwrap(), 6);
                assert!(failing().share().is_err());
            };
            if on_stream {
                with_stream(&stream, work).unwrap()
            } else {
                work()
            }
        }
    }
    let worker = Worker::new("fails").unwrap();
    let text = worker
        .run(|| failing().to_vec::<i32>().unwrap_err().to_string())
        .unwrap();
    assert!(text.contains("index 10"), "{text}");
    let ones = worker
        .run(|| mlx::ones_with([3], Dtype::Int32).to_vec::<i32>())
        .unwrap()
        .unwrap();
    assert_eq!(ones, [1, 1, 1]);
}
