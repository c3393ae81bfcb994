//! What a run is kept as, how it reads, and what two runs say of each other.

mod support;

use std::collections::BTreeMap;

use mlx_bench::harness::compare::{Verdict, compare, is_worse, report};
use mlx_bench::harness::plots;
use mlx_bench::harness::results::{Measured, Results, RowResult};
use mlx_bench::harness::rows::{Benchmark, Group, Target};
use mlx_bench::harness::statistics::{Samples, Summary};
use mlx_bench::harness::sweep_summary;
use mlx_bench::harness::table;
use rstest::rstest;
use support::{LIMITS, row};

/// Three rounds around a time, the outer ones off by `noise`.
fn timed(ms: f64, noise: f64) -> Measured {
    let mut samples = Samples::default();
    for factor in [1.0 - noise, 1.0, 1.0 + noise] {
        samples.push(vec![ms * factor]);
    }
    samples.summary().ok_or_else(String::new)
}

fn line(row: &Benchmark, ours: Measured, rivals: &[(&str, Measured)]) -> RowResult {
    let rivals = rivals
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()));
    RowResult::new(row, &LIMITS, ours, rivals.collect(), BTreeMap::new())
}

fn results(rows: Vec<RowResult>) -> Results {
    Results {
        mode: "quick".to_owned(),
        limits: LIMITS,
        rows,
        ..Results::default()
    }
}

#[rstest]
#[case::beyond_both_noises(1.3, 0.05, "slower")]
#[case::within_noise(1.08, 0.05, "as before")]
#[case::within_the_least_noise(1.03, 0.0, "as before")]
#[case::beyond_the_least_noise(1.06, 0.0, "slower")]
#[case::faster(0.7, 0.05, "faster")]
fn a_row_is_slower_only_beyond_noise(
    #[case] change: f64,
    #[case] noise: f64,
    #[case] expected: &str,
) {
    let old = results(vec![line(&row(), timed(10.0, noise), &[])]);
    let new = results(vec![line(&row(), timed(10.0 * change, noise), &[])]);
    let changes = compare(&old, &new);
    assert!(changes[0].verdict.to_string().starts_with(expected));
    assert_eq!(is_worse(&changes), expected == "slower");
}

#[test]
fn a_comparison_tells_what_the_machine_did() {
    let run = |ours, theirs| {
        let rivals = [("numpy", timed(theirs, 0.0))];
        results(vec![line(&row(), timed(ours, 0.0), &rivals)])
    };
    let changes = compare(&run(10.0, 4.0), &run(15.0, 6.0));
    let Verdict::Slower(times) = &changes[0].verdict else {
        panic!("{changes:?}");
    };
    assert_eq!(times.rival, Some(1.5));
    let text = report(&changes);
    assert!(
        text.contains("slower 1.50 x (10.000 to 15.000 ms, noise 4 %, best rival 1.50 x) add/")
    );
}

#[test]
fn rows_that_are_lost_or_new_are_told() {
    let other = Benchmark {
        id: "exp/float32/4/cpu".to_owned(),
        ..row()
    };
    let old = results(vec![
        line(&row(), timed(1.0, 0.0), &[]),
        line(&other, timed(1.0, 0.0), &[]),
    ]);
    let failed = line(&row(), Err("failed: no memory".to_owned()), &[]);
    let changes = compare(&old, &results(vec![failed.clone()]));
    let text = report(&changes);
    assert!(
        text.contains("lost (failed: no memory) add/float32/4/cpu"),
        "{text}"
    );
    assert!(
        text.contains("lost (is not in the new run) exp/float32/4/cpu"),
        "{text}"
    );
    assert!(is_worse(&changes));
    // A part of a run leaves rows out on purpose.
    let part = Results {
        mode: "partial".to_owned(),
        ..results(vec![line(&row(), timed(1.0, 0.0), &[])])
    };
    assert!(!is_worse(&compare(&old, &part)));
    let changes = compare(&results(vec![failed]), &part);
    assert_eq!(changes[0].verdict, Verdict::New);
}

#[test]
fn a_file_has_the_fields_that_readers_rely_on() {
    let rivals = [
        ("numpy", timed(4.0, 0.0)),
        ("jax", Err("has no add".to_owned())),
    ];
    let results = results(vec![line(&row(), timed(2.0, 0.1), &rivals)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    results.write(file.path()).unwrap();
    assert_eq!(Results::read(file.path()).unwrap(), results);
    let text = std::fs::read_to_string(file.path()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["machine", "limits", "pins", "rows"] {
        assert!(!json[name].is_null(), "{name}");
    }
    assert_eq!(json["limits"]["copy_gb_s"], 1000.0);
    let row = &json["rows"][0];
    assert_eq!(row["id"], "add/float32/4/cpu");
    assert_eq!(
        (&row["shape"], &row["dtype"], &row["device"]),
        (&"4".into(), &"float32".into(), &"cpu".into())
    );
    assert_eq!(row["ours_ms"], 2.0);
    assert_eq!(row["rivals"]["numpy"], 4.0);
    assert!(row["rivals"]["jax"].is_null());
    assert_eq!(row["failures"]["jax"], "has no add");
    assert_eq!(
        (&row["best_rival"], &row["ratio"]),
        (&"numpy".into(), &0.5.into())
    );
    assert_eq!((&row["target"], &row["met"]), (&1.0.into(), &true.into()));
    assert_eq!(row["limit_share"], 1.0);
    assert_eq!(row["ours"]["runs"], 3);
    assert!(row["note"].is_string());
}

#[rstest]
#[case::no_target(Target::default(), None, "—")]
#[case::met(Target::ratio(0.6), Some(true), "≤ 0.6 x: met")]
#[case::missed(Target::ratio(0.4), Some(false), "≤ 0.4 x: not met")]
#[case::another_rival(
    Target { against: Some("jax"), ..Target::ratio(0.6) },
    Some(true),
    "≤ 0.6 x jax (is 0.25 x): met"
)]
#[case::absent_rival(
    Target { against: Some("candle"), ..Target::ratio(0.6) },
    None,
    "≤ 0.6 x candle: cannot be judged"
)]
#[case::milliseconds(Target { ms: Some(1.0), ..Target::default() }, Some(false), "≤ 1 ms: not met")]
#[case::share(Target { share: Some(0.65), ..Target::default() }, Some(true), "≥ 65 % of the limit: met")]
fn targets_are_judged(#[case] target: Target, #[case] met: Option<bool>, #[case] text: &str) {
    let row = Benchmark { target, ..row() };
    let rivals = [("numpy", timed(4.0, 0.0)), ("jax", timed(8.0, 0.0))];
    let line = line(&row, timed(2.0, 0.0), &rivals);
    assert_eq!(line.met, met);
    let table = table::table(&[&line]);
    assert!(table.contains(&format!("| {text} |")), "{table}");
}

#[test]
fn the_table_has_every_number_and_every_absence() {
    let rivals = [
        ("numpy", timed(4.0, 0.0)),
        ("jax", Err("broke | here".to_owned())),
    ];
    let line = line(&row(), timed(2.0, 0.1), &rivals);
    let page = table::page(&results(vec![line]), &[]);
    let expected =
        "| `add/float32/4` | 2.00 ± 10 % | numpy | 4.00 | 0.50 x | 100 % | ≤ 1 x: met | jax — |";
    assert!(page.contains(expected), "{page}");
    assert!(
        page.contains("- jax: broke \\| here (`add/float32/4`)"),
        "{page}"
    );
}

#[test]
fn pictures_are_drawn_of_what_there_is() {
    assert!(plots::all(&results(Vec::new())).is_empty());
    let rivals = [("numpy", timed(4.0, 0.0))];
    let mut rows = vec![line(&row(), timed(2.0, 0.0), &rivals)];
    for seq in [128, 512] {
        let row = Benchmark {
            id: format!("attention/float32/1x8x{seq}x64/cpu"),
            op: "attention",
            shape: format!("1x8x{seq}x64"),
            group: Group::Sweep,
            ..row()
        };
        let ours = timed(f64::from(seq), 0.0).map(|ours| Summary {
            peak_bytes: Some(1 << 20),
            ..ours
        });
        rows.push(line(&row, ours, &rivals));
    }
    let forms = BTreeMap::from([("one-thread".to_owned(), timed(3.0, 0.0))]);
    rows.push(RowResult::new(
        &row(),
        &LIMITS,
        timed(2.0, 0.0),
        BTreeMap::new(),
        forms,
    ));
    let mut results = results(rows);
    results.machine.threads = 2;
    assert!(table::page(&results, &[]).contains("| `attention/float32/1x8x128x64` | 954 | 1.00 |"));
    let plots = plots::all(&results);
    let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "speed-ups.svg",
            "roofline.svg",
            "threads.svg",
            "attention-sequence.svg",
            "attention-memory.svg"
        ]
    );
    for plot in &plots {
        assert!(plot.svg.starts_with("<svg ") && plot.svg.ends_with("</svg>"));
        assert!(
            !plot.svg.contains("NaN") && !plot.svg.contains("inf"),
            "{}",
            plot.file
        );
    }
}

/// A row of the sweep against PyTorch.
fn swept(name: &str, dtype: &'static str, ours: Measured, theirs: Measured) -> RowResult {
    let row = Benchmark {
        id: format!("sweep/{name}/{dtype}/cpu"),
        op: "sweep",
        dtype,
        group: Group::Operations,
        target: Target {
            against: Some("pytorch"),
            ..Target::ratio(1.5)
        },
        ..row()
    };
    line(&row, ours, &[("pytorch", theirs)])
}

fn at(ms: f64) -> Measured {
    timed(ms, 0.0)
}

#[test]
fn the_sweep_is_summed_up() {
    let differs = || Err("another result: 1 of 4 numbers differ".to_owned());
    let results = results(vec![
        swept("exp", "float32", at(1.0), at(4.0)),
        // 4 % longer than in float32 is what two runs differ by.
        swept("exp", "float16", at(1.04), at(0.26)),
        swept("exp", "bfloat16", at(2.0), at(2.0)),
        swept("add", "float32", at(1.0), at(1.0)),
        swept("add", "float16", at(3.0), differs()),
        // Other parts of a run do not count.
        line(&row(), at(9.0), &[("pytorch", at(1.0))]),
    ]);
    let summary = sweep_summary::Summary::of(&results).unwrap();
    // The mean of 1/4, 4, 1 and 1.
    assert!((summary.mean.unwrap() - 1.0).abs() < 1e-12);
    assert_eq!((summary.rows, summary.compared, summary.ahead), (5, 4, 3));
    let expected = "\
- 5 rows, 4 of them compared with pytorch
- geometric mean of ours / pytorch: 1.000
- at or ahead of pytorch: 3 of 4
- above 1.5: 1 (exp/float16 4.00)
- slower in half precision than in float32: 2 of 3 (add/float16 3.00, exp/bfloat16 2.00)
- without a ratio (pytorch: another result: 1 of 4 numbers differ): add/float16
";
    assert_eq!(summary.to_string(), expected);
    let page = table::page(&results, &[]);
    assert!(page.contains(expected), "{page}");
    // The worst ratio is first, after what has none.
    let places = ["add/float16", "exp/float16", "add/float32", "exp/float32"];
    let places = places.map(|name| page.find(&format!("| `sweep/{name}` |")).unwrap());
    assert!(places.is_sorted(), "{page}");
}

#[test]
fn a_sweep_without_pytorch_says_so_once() {
    let absent = || Err("not built".to_owned());
    let rows = ["exp", "add"].map(|name| swept(name, "float32", at(1.0), absent()));
    let text = sweep_summary::Summary::of(&results(rows.to_vec()))
        .unwrap()
        .to_string();
    assert!(
        text.contains("- 2 rows, 0 of them compared with pytorch\n"),
        "{text}"
    );
    assert!(!text.contains("geometric mean"), "{text}");
    assert!(
        text.ends_with("- without a ratio (pytorch: not built): every row\n"),
        "{text}"
    );
    assert_eq!(sweep_summary::Summary::of(&results(Vec::new())), None);
}

#[test]
fn what_is_not_compared_is_told_below_the_sweep() {
    let mut one = swept("qr_512", "float32", at(1.0), at(1.0));
    one.note = "not compared: signs".to_owned();
    let page = table::page(&results(vec![one]), &[]);
    assert!(
        page.contains("- `sweep/qr_512/float32`: not compared: signs\n"),
        "{page}"
    );
}

#[test]
fn the_sweep_and_growth_have_pictures_of_their_own() {
    let mut rows = vec![swept("exp", "float32", at(1.0), at(4.0))];
    for size in [256, 1024] {
        let row = Benchmark {
            id: format!("growth/sort/{size}/cpu"),
            group: Group::Growth,
            ..row()
        };
        rows.push(line(&row, at(f64::from(size)), &[("pytorch", at(1.0))]));
    }
    let plots = plots::all(&results(rows));
    let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
    // Nothing of it is in the pictures of other runs.
    assert_eq!(files, ["sweep.svg", "growth-sort.svg"]);
    assert!(plots.iter().all(|plot| plot.svg.contains("pytorch")));
}
