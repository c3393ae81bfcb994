//! Runners that crash, babble, hang or are wrong are lines of the table, never the end of a run.
#![cfg(unix)]

mod support;

use std::time::Duration;

use mlx_bench::harness::measure::{self, Participant};
use mlx_bench::harness::process::{Fault, Runner, Spec};
use mlx_bench::harness::protocol::Verb;
use mlx_bench::harness::results::RowResult;
use rstest::rstest;
use support::{ID, LIMITS, folder, row, settings, spec};

const LIMIT: Duration = Duration::from_secs(5);

#[rstest]
#[case::crash(
    "*run*) echo 'out of luck' >&2; exit 3;;",
    "ended without an answer: out of luck"
)]
#[case::silent_crash("*run*) exit 3;;", "ended without an answer: it wrote nothing")]
#[case::garbage(
    "*run*) echo 'Loading weights...';;",
    "answered what is not a reply: Loading weights..."
)]
#[case::another_row(
    r#"*run*) echo '{"id":"exp","ms":[1]}';;"#,
    "answered about another row: exp"
)]
fn says_what_went_wrong(#[case] cases: &str, #[case] expected: &str) {
    let folder = folder();
    let spec = spec(folder.path(), "fake", cases);
    let mut runner = Runner::start(&spec, 1, LIMIT).unwrap();
    let fault = runner.ask(Some(ID), Verb::Run(1), LIMIT).unwrap_err();
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn ends_a_runner_that_hangs() {
    let folder = folder();
    let spec = spec(folder.path(), "fake", "*run*) exec sleep 60;;");
    let mut runner = Runner::start(&spec, 1, LIMIT).unwrap();
    let limit = Duration::from_millis(200);
    let fault = runner.ask(Some(ID), Verb::Run(1), limit).unwrap_err();
    assert_eq!(fault, Fault::TimedOut(limit));
    // It has ended: another request fails.
    assert!(runner.ask(Some(ID), Verb::Run(1), LIMIT).is_err());
}

#[test]
fn says_that_a_program_is_missing() {
    let folder = folder();
    let spec = Spec {
        command: vec!["/nowhere/python".to_owned()],
        ..spec(folder.path(), "fake", "")
    };
    let fault = Runner::start(&spec, 1, LIMIT).unwrap_err();
    assert!(matches!(fault, Fault::NotStarted(_)), "{fault}");
}

/// Measures the row with us at 2 ms and rivals that behave like this.
fn against(rivals: &[(&str, &str)]) -> RowResult {
    let folder = folder();
    let mut ours = Participant::new("ours", Ok(spec(folder.path(), "ours", "")));
    let mut rivals: Vec<Participant> = rivals
        .iter()
        .map(|(name, cases)| {
            let cases = cases.replace("FOLDER", &folder.path().to_string_lossy());
            Participant::new(name, Ok(spec(folder.path(), name, &cases)))
        })
        .collect();
    let mut rivals: Vec<&mut Participant> = rivals.iter_mut().collect();
    let none = &mut [];
    measure::row(&row(), &mut ours, none, &mut rivals, &LIMITS, &settings()).unwrap()
}

#[test]
fn the_best_rival_gives_the_ratio() {
    let line = against(&[("first", ""), ("second", "")]);
    // Both fakes run at 2 ms like us, so the ratio is 1 and the target is met.
    assert_eq!(line.ratio, Some(1.0));
    assert_eq!(line.met, Some(true));
    let ours = line.ours.unwrap();
    assert_eq!((ours.median_ms, ours.runs, ours.noise), (2.0, 12, 0.0));
    // 2 * 10^9 bytes at 10^12 bytes a second are 2 ms.
    assert_eq!(line.limit_share, Some(1.0));
}

#[test]
fn a_faster_rival_fails_the_target() {
    let fast = r#"*run*) ms=$(yes 1 | head -n "$n" | paste -sd, -); echo "{$id,\"ms\":[$ms]}";;"#;
    let line = against(&[("slow", ""), ("fast", fast)]);
    assert_eq!(line.best_rival.as_deref(), Some("fast"));
    assert_eq!((line.ratio, line.met), (Some(2.0), Some(false)));
}

#[rstest]
#[case::wrong_result(
    r#"*load*) cp FOLDER/wrong.npy "$out"; echo "{$id,\"loaded\":true}";;"#,
    "another result: 1 of 4 numbers differ, by up to 1.000e0"
)]
#[case::unsupported(
    r#"*load*) echo "{$id,\"unsupported\":\"has no add\"}";;"#,
    "has no add"
)]
#[case::failure(
    r#"*load*) echo "{$id,\"failed\":\"no memory\"}";;"#,
    "failed: no memory"
)]
#[case::crash_in_a_round(
    r#"*'"run":4'*) exit 1;;"#,
    "ended without an answer: it wrote nothing"
)]
#[case::too_few_times(
    r#"*'"run":4'*) echo "{$id,\"ms\":[1]}";;"#,
    "failed: wanted 4 times, got others"
)]
#[case::time_that_is_none(r#"*run*) echo "{$id,\"ms\":[-1]}";;"#, "failed: gave no time")]
fn a_rival_that_fails_is_reported(#[case] cases: &str, #[case] expected: &str) {
    let line = against(&[("bad", cases), ("good", "")]);
    assert_eq!(line.rivals["bad"], None);
    assert_eq!(line.failures["bad"], expected);
    assert_eq!(line.best_rival.as_deref(), Some("good"));
    assert_eq!(line.ratio, Some(1.0));
}

#[test]
fn a_rival_that_crashed_runs_the_next_row() {
    let folder = folder();
    let mut ours = Participant::new("ours", Ok(spec(folder.path(), "ours", "")));
    let mark = folder.path().join("crashed");
    let once = format!(
        "*run*) if [ ! -e {0} ]; then touch {0}; exit 1; fi; echo \"{{$id,\\\"ms\\\":[$(yes 2 | head -n $n | paste -sd, -)]}}\";;",
        mark.display()
    );
    let mut rival = Participant::new("rival", Ok(spec(folder.path(), "rival", &once)));
    let mut run = || {
        let (none, rivals) = (&mut [], &mut [&mut rival]);
        measure::row(&row(), &mut ours, none, rivals, &LIMITS, &settings()).unwrap()
    };
    assert!(run().failures.contains_key("rival"));
    assert_eq!(run().rivals["rival"], Some(2.0));
}

#[test]
fn an_absent_rival_has_its_reason_in_every_row() {
    let folder = folder();
    let mut ours = Participant::new("ours", Ok(spec(folder.path(), "ours", "")));
    let mut absent = Participant::new("candle", Err("not built".to_owned()));
    let (none, rivals) = (&mut [], &mut [&mut absent]);
    let line = measure::row(&row(), &mut ours, none, rivals, &LIMITS, &settings()).unwrap();
    assert_eq!(line.failures["candle"], "not built");
    assert_eq!((line.ratio, line.met), (None, None));
}
