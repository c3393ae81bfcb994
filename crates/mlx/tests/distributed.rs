//! Groups of processes: values and gradients over 2 and 4 ranks, what goes wrong, and Python ranks beside ours.

#[path = "distributed/faults.rs"]
mod faults;
#[path = "distributed/python.rs"]
mod python;
#[path = "distributed/ranks.rs"]
mod ranks;

use mlx::distributed::{self, Group};
use mlx::{Array, Dtype, Result, array, eval, grad, vmap};
use rstest::rstest;

/// Runs a test of `child` as the ranks of a group.
#[rstest]
#[case("reductions", 2, 1)]
#[case("reductions", 4, 1)]
#[case("reductions", 3, 2)]
#[case("gathers", 2, 1)]
#[case("gathers", 4, 2)]
#[case("scatters", 2, 1)]
#[case("scatters", 4, 1)]
#[case("neighbors", 2, 1)]
#[case("neighbors", 4, 2)]
#[case("transforms", 2, 1)]
#[case("transforms", 4, 1)]
#[case("parts", 4, 1)]
#[case("refused_arguments", 4, 1)]
fn over_ranks(#[case] case: &str, #[case] n: usize, #[case] connections: usize) {
    ranks::run(&format!("child::{case}"), n, connections);
}

/// Runs the same as ranks of Open MPI.
#[rstest]
#[case("reductions", 2)]
#[case("reductions", 3)]
#[case("gathers", 4)]
#[case("scatters", 4)]
#[case("neighbors", 2)]
#[case("neighbors", 4)]
#[case("transforms", 4)]
#[case("parts", 4)]
#[case("refused_by_mpi", 4)]
fn over_ranks_of_mpi(#[case] case: &str, #[case] n: usize) {
    ranks::run_by_mpi(&format!("child::{case}"), n);
}

/// `mpirun` ends the others when a rank of ours ends without success, whatever they wait for.
#[test]
fn a_rank_that_fails_ends_those_of_mpi() {
    let Some(mut command) = ranks::mpirun() else {
        return;
    };
    command
        .args(["-n", "3"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &ranks::full_name("child::fails_on_one_rank")])
        .args(["--ignored", "--nocapture"]);
    let output = ranks::wait(0, command.spawn().unwrap());
    assert!(output.contains("nothing more to say"), "{output}");
    assert!(!output.contains("1 passed"), "{output}");
}

#[test]
fn a_group_of_one_works_everywhere() -> Result<()> {
    let group = distributed::init("ring", false)?;
    assert_eq!((group.rank(), group.size()), (0, 1));
    let x = array!([[1.0, 2.0], [3.0, 4.0]]);
    let all = [
        distributed::all_sum(&x, None),
        distributed::all_max(&x, &group),
        distributed::all_min(&x, &group),
        distributed::all_gather(&x, &group),
        distributed::sum_scatter(&x, &group),
    ];
    for y in all {
        assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    }
    let sent = distributed::send(&x, 0, &group)
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        sent.contains("at least 2 ranks, got a group of 1"),
        "{sent}"
    );
    assert!(
        group
            .split(0, -1)
            .unwrap_err()
            .to_string()
            .contains("cannot be split")
    );
    Ok(())
}

#[test]
fn operations_print_their_group_and_are_read_back() {
    use mlx::compiler_api::OpFlags;
    let op = mlx::Op::from_parts("distributed.all_sum", |name| {
        (name == "group").then(|| mlx::compiler_api::AttrValue::Text("ring".to_owned()))
    });
    let op = op.unwrap();
    assert_eq!(op.to_string(), "distributed.all_sum group=\"ring\"");
    assert!(op.flags().contains(OpFlags::COMMUNICATES));
    // A group of another program is refused, not looked for.
    let error = mlx::bind(op, &[&array!([1.0])])
        .eval()
        .unwrap_err()
        .to_string();
    assert!(error.contains("no group with the name \"ring\""), "{error}");
}

/// The group of this process, which the test's parent has made.
fn world() -> Group {
    let backend = std::env::var("MLX_TEST_RANKS").unwrap_or_else(|_| "ring".to_owned());
    distributed::init(&backend, true).unwrap()
}

/// What rank `rank` has: numbers that sums of four ranks hold in every dtype.
fn values(rank: usize, size: usize) -> Vec<f32> {
    (0..size)
        .map(|i| ((i * 7 + rank * 3) % 10) as f32)
        .collect()
}

fn of(rank: usize, shape: &[i32], dtype: Dtype) -> Array {
    let size = shape.iter().product::<i32>() as usize;
    let array = Array::from_slice(&values(rank, size), shape).unwrap();
    array.astype(dtype)
}

#[track_caller]
fn assert_equal(got: &Array, wanted: &Array, what: &str) {
    assert_eq!(got.dtype().unwrap(), wanted.dtype().unwrap(), "{what}");
    assert_eq!(got.shape().unwrap(), wanted.shape().unwrap(), "{what}");
    let equal = got.array_equal(wanted).item::<bool>().unwrap();
    assert!(equal, "{what}: got {got}, wanted {wanted}");
}

/// From one element, which is less than ranks, over sizes that ranks do not divide, to several packets of each route.
const SHAPES: [&[i32]; 10] = [
    &[],
    &[0],
    &[0, 3],
    &[1],
    &[3],
    &[7],
    &[10],
    &[33, 31],
    &[1023, 17],
    &[1001, 1003],
];
const DTYPES: [Dtype; 12] = [
    Dtype::Int8,
    Dtype::Uint8,
    Dtype::Int16,
    Dtype::Uint16,
    Dtype::Int32,
    Dtype::Uint32,
    Dtype::Int64,
    Dtype::Uint64,
    Dtype::Float32,
    Dtype::Float16,
    Dtype::Bfloat16,
    Dtype::Complex64,
];

fn fold(group: &Group, shape: &[i32], dtype: Dtype, with: fn(Array, &Array) -> Array) -> Array {
    let first = of(0, shape, dtype);
    (1..group.size()).fold(first, |all, rank| with(all, &of(rank, shape, dtype)))
}

mod child {
    use super::*;

    type Reduce = fn(&Array, &Group) -> Array;

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn reductions() {
        let group = world();
        for dtype in DTYPES {
            for shape in SHAPES {
                let x = of(group.rank(), shape, dtype);
                let what = format!("{dtype}{shape:?}");
                let sum = fold(&group, shape, dtype, |a, b| a + b);
                assert_equal(&distributed::all_sum(&x, &group), &sum, &what);
                if dtype != Dtype::Complex64 {
                    let max = fold(&group, shape, dtype, |a, b| a.maximum(b));
                    assert_equal(&distributed::all_max(&x, &group), &max, &what);
                    let min = fold(&group, shape, dtype, |a, b| a.minimum(b));
                    assert_equal(&distributed::all_min(&x, None), &min, &what);
                }
            }
        }
        let truth = array!([group.rank() == 0, false, true]);
        let any = distributed::all_sum(&truth, &group);
        assert_eq!(any.to_vec::<bool>().unwrap(), [true, false, true]);
        // A view is sent as its elements.
        let x = of(group.rank(), &[5, 4], Dtype::Float32);
        let wanted = fold(&group, &[5, 4], Dtype::Float32, |a, b| a + b);
        assert_equal(
            &distributed::all_sum(&x.t(), &group),
            &wanted.t(),
            "transposed",
        );
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn gathers() {
        let group = world();
        for dtype in DTYPES {
            for shape in SHAPES {
                let x = of(group.rank(), shape, dtype);
                let all: Vec<Array> = (0..group.size())
                    .map(|rank| of(rank, shape, dtype))
                    .collect();
                let wanted = match shape {
                    [] => mlx::stack(&all, 0),
                    _ => mlx::concatenate(&all, 0),
                };
                assert_equal(
                    &distributed::all_gather(&x, &group),
                    &wanted,
                    &format!("{dtype}{shape:?}"),
                );
            }
        }
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn scatters() {
        let group = world();
        let size = group.size() as i32;
        for dtype in DTYPES {
            for rows in [1, 3, 1000, 70_000] {
                let shape = [rows * size, 3];
                let x = of(group.rank(), &shape, dtype);
                let sum = fold(&group, &shape, dtype, |a, b| a + b);
                let wanted = sum.split(size, 0).unwrap().swap_remove(group.rank());
                let what = format!("{dtype}{shape:?}");
                assert_equal(&distributed::sum_scatter(&x, &group), &wanted, &what);
            }
        }
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn neighbors() {
        let group = world();
        let (rank, size) = (group.rank(), group.size());
        let (right, left) = ((rank + 1) % size, (rank + size - 1) % size);
        for dtype in DTYPES {
            for shape in SHAPES {
                let x = of(rank, shape, dtype);
                let (sent, got) = if rank.is_multiple_of(2) {
                    let sent = distributed::send(&x, right, &group);
                    eval(&sent).unwrap();
                    (sent, distributed::recv_like(&x, left, &group))
                } else {
                    let got = distributed::recv(x.shape().unwrap(), dtype, left, &group);
                    eval(&got).unwrap();
                    (distributed::send(&x, right, &group), got)
                };
                let what = format!("{dtype}{shape:?}");
                assert_equal(&sent, &x, &what);
                assert_equal(&got, &of(left, shape, dtype), &what);
            }
        }
        if size > 2 {
            // To the left, and from the right.
            let x = array!(rank as f32);
            let sent = distributed::send(&x, left, &group);
            let got = distributed::recv_like(&x, right, &group);
            // In this order on even ranks, in the other on odd ones: nobody waits for who waits.
            let order = if rank.is_multiple_of(2) {
                [&sent, &got]
            } else {
                [&got, &sent]
            };
            order.iter().for_each(|array| eval(*array).unwrap());
            assert_eq!(got.item::<f32>().unwrap(), right as f32);
        }
    }

    /// Gradients and tangents as Python MLX has them; `vmap` of gathers, which it has wrong, by hand.
    #[test]
    #[ignore = "run by `over_ranks`"]
    fn transforms() {
        let group = world();
        let (rank, size) = (group.rank(), group.size() as f32);
        let weights = array!([1.0, 2.0, 3.0]);
        let x = array!([1.0, 5.0, 3.0]) * (1.0 + rank as f32);
        let reductions: [Reduce; 3] = [
            |x, group| distributed::all_sum(x, group),
            |x, group| distributed::all_max(x, group),
            |x, group| distributed::all_min(x, group),
        ];
        for reduce in reductions {
            let (group, weights) = (group.clone(), weights.clone());
            let loss = move |x: &Array| (reduce(x, &group) * &weights).sum(());
            assert_eq!(
                grad(loss)(&x).unwrap().to_vec::<f32>().unwrap(),
                [1.0, 2.0, 3.0]
            );
        }
        let inside = group.clone();
        let first = move |x: &Array| distributed::all_gather(x, &inside).i(0);
        let slope = grad(first)(&array!(1.0)).unwrap().item::<f32>().unwrap();
        assert_eq!(slope, if rank == 0 { 1.0 } else { 0.0 });
        let inside = group.clone();
        let sum = move |x: &Array| distributed::all_sum(x, &inside);
        let (_, tangent) = mlx::jvp(sum.clone(), &x, &x).unwrap();
        let ranks = (1.0 + size) * size / 2.0;
        assert_eq!(
            tangent.to_vec::<f32>().unwrap(),
            [ranks, 5.0 * ranks, 3.0 * ranks]
        );
        let rows = Array::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [2, 2]).unwrap();
        let vectorized = vmap(sum)(&rows).unwrap();
        assert_equal(&vectorized, &(&rows * size), "vmap");
        // Each element is gathered and scattered along its own first axis.
        let all: Vec<Array> = (0..group.size())
            .map(|other| &rows * (other as f32 + 1.0))
            .collect();
        let own = &rows * (rank as f32 + 1.0);
        let inside = group.clone();
        let gathered = vmap(move |x: &Array| distributed::all_gather(x, &inside))(&own).unwrap();
        assert_equal(&gathered, &mlx::concatenate(&all, 1), "vmap of all_gather");
        let inside = group.clone();
        let scalars = vmap(move |x: &Array| distributed::all_gather(x, &inside))(&array!([
            rank as f32,
            -1.0
        ]));
        let ranks: Vec<f32> = (0..group.size()).map(|rank| rank as f32).collect();
        assert_eq!(scalars.unwrap().i(0).to_vec::<f32>().unwrap(), ranks);
        let inside = group.clone();
        let wide = mlx::ones([3, group.size() as i32]);
        let scattered = vmap(move |x: &Array| distributed::sum_scatter(x, &inside))(&wide).unwrap();
        assert_equal(
            &scattered,
            &(mlx::ones([3, 1]) * size),
            "vmap of sum_scatter",
        );
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn parts() {
        let group = world();
        let color = (group.rank() % 2) as i32;
        let part = group.split(color, -1).unwrap();
        assert_eq!((part.rank(), part.size()), (group.rank() / 2, 2));
        let rank = array!(group.rank() as f32);
        let sum = distributed::all_sum(&rank, &part).item::<f32>().unwrap();
        assert_eq!(sum, if color == 0 { 2.0 } else { 4.0 });
        // The whole group still works, and the other order of ranks does.
        assert_eq!(
            distributed::all_sum(&rank, &group).item::<f32>().unwrap(),
            6.0
        );
        let back = group.split(0, 3 - group.rank() as i32).unwrap();
        assert_eq!((back.rank(), back.size()), (3 - group.rank(), 4));
        let gathered = distributed::all_gather(&rank, &back)
            .to_vec::<f32>()
            .unwrap();
        assert_eq!(gathered, [3.0, 2.0, 1.0, 0.0]);
        let alone = group.split(group.rank() as i32, -1).unwrap();
        assert_eq!(
            distributed::all_sum(&rank, &alone).item::<f32>().unwrap(),
            group.rank() as f32
        );
    }

    #[test]
    #[ignore = "run by `a_rank_that_fails_ends_those_of_mpi`"]
    fn fails_on_one_rank() {
        let group = world();
        eval(distributed::all_sum(&array!(1.0), &group)).unwrap();
        assert!(group.rank() != 1, "nothing more to say");
        // Waits for the rank that is no more.
        eval(distributed::all_sum(&array!(1.0), &group)).unwrap();
    }

    #[test]
    #[ignore = "run by `over_ranks_of_mpi`"]
    fn refused_by_mpi() {
        let group = world();
        let (rank, x) = (group.rank(), array!([1.0, 2.0, 3.0]));
        let refused = |array: Array, wanted: &str| {
            let text = array.eval().unwrap_err().to_string();
            assert!(text.contains(wanted), "{text}");
        };
        refused(distributed::send(&x, 4, &group), "got 4");
        refused(distributed::sum_scatter(&x, &group), "divisible by the 4");
        // Every rank reaches every other one.
        let across = (rank + 2) % 4;
        let order = [
            distributed::send(&x, across, &group),
            distributed::recv_like(&x, across, &group),
        ];
        let order = if rank < 2 { [0, 1] } else { [1, 0] }.map(|i| &order[i]);
        order.iter().for_each(|array| eval(*array).unwrap());
        assert_equal(order[usize::from(rank < 2)], &x, "across");
        // What MPI finds wrong is an error, and the last of this group.
        if rank == 0 {
            eval(distributed::send(&mlx::ones([10]), 1, &group)).unwrap();
        } else if rank == 1 {
            refused(distributed::recv_like(&x, 0, &group), "MPI: ");
            refused(distributed::all_sum(&x, &group), "has failed");
            assert!(
                group
                    .split(0, -1)
                    .unwrap_err()
                    .to_string()
                    .contains("has failed")
            );
            let again = distributed::init("mpi", true).unwrap_err().to_string();
            assert!(again.contains("must be started anew"), "{again}");
        }
    }

    #[test]
    #[ignore = "run by `over_ranks`"]
    fn refused_arguments() {
        let group = world();
        let x = array!([1.0, 2.0, 3.0]);
        let refused = |array: Array, wanted: &str| {
            let text = array.eval().unwrap_err().to_string();
            assert!(text.contains(wanted), "{text}");
        };
        let rank = group.rank();
        refused(
            distributed::send(&x, 4, &group),
            "another rank of the group of 4, got 4",
        );
        refused(distributed::send(&x, rank, &group), "must be another rank");
        refused(
            distributed::recv_like(&x, (rank + 2) % 4, &group),
            "reaches its neighbors",
        );
        refused(
            distributed::sum_scatter(&x, &group),
            "divisible by the 4 ranks of the group",
        );
        refused(
            distributed::recv([-1], Dtype::Float32, (rank + 1) % 4, &group),
            "-1",
        );
        // Nothing of that was communicated.
        let sum = distributed::all_sum(&array!(1.0), &group);
        assert_eq!(sum.item::<f32>().unwrap(), 4.0);
    }
}
