//! Random programs give the same result eagerly, compiled, compiled without fusions, and in the interpreter.
//!
//! Programs are data: see `program`. Formulas that the compiler recognizes are planted among other operations, as they
//! are in textbooks and slightly wrong (`formulas`). How far results may be apart is measured for each program by running
//! it with coarser roundings (`check`). A failure is made small (`shrink`) and printed with its seed.
//!
//! `RANDOM_GRAPHS=20000` runs more of them, `RANDOM_GRAPHS_SEED=17` one, `RANDOM_GRAPHS_SEED=17..40`
//! all of these seeds, each told when it is done.

mod autotuned;
mod check;
mod formulas;
mod generate;
mod program;
mod random;
mod shrink;
mod sizes;

use std::collections::BTreeMap;

use check::{Outcome, check};

/// How many programs there are, in batches that run beside each other.
const BATCHES: u64 = 4;
const PER_BATCH: u64 = 600;

/// What a batch of programs saw.
#[derive(Default)]
struct Seen {
    fired: BTreeMap<&'static str, usize>,
    refused: usize,
    judged: usize,
    vague: usize,
    /// How many programs computed in each dtype.
    dtypes: BTreeMap<&'static str, usize>,
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds that a text names: one, or the first and the end of several.
fn seeds_of(text: &str) -> Vec<u64> {
    let number = |text: &str| -> u64 {
        text.parse()
            .expect("RANDOM_GRAPHS_SEED: a number or a range")
    };
    match text.split_once("..") {
        Some((first, end)) => (number(first)..number(end)).collect(),
        None => vec![number(text)],
    }
}

fn batch(number: u64) {
    let n = variable("RANDOM_GRAPHS").map_or(PER_BATCH, |n| n / BATCHES);
    let named = std::env::var("RANDOM_GRAPHS_SEED").ok();
    let seeds: Vec<u64> = match named.as_deref().map(seeds_of) {
        Some(seeds) if number == 0 => seeds,
        Some(_) => return,
        None => (0..n).map(|k| number * 1_000_000 + k).collect(),
    };
    let mut seen = Seen::default();
    for seed in &seeds {
        let program = generate::program(*seed);
        match check(&program, *seed) {
            Ok(outcome) => {
                if named.is_some() {
                    println!("seed {seed} is done");
                }
                seen.add(outcome);
            }
            Err(message) => {
                let (small, message) =
                    shrink::shrink(program, message, &|program| check(program, *seed).err());
                panic!("seed {seed}: {message}\n{}", small.describe());
            }
        }
    }
    println!(
        "{} programs, {} outputs judged, {} too ill-conditioned to judge, {} refusals, fired {:?}, dtypes {:?}",
        seeds.len(),
        seen.judged,
        seen.vague,
        seen.refused,
        seen.fired,
        seen.dtypes
    );
    if seeds.len() >= 500 {
        assert!(
            seen.judged > 3 * seen.vague,
            "judged {} outputs, {} were too vague",
            seen.judged,
            seen.vague
        );
        for fusion in formulas::PLANTED {
            let n = seen.fired.get(fusion).copied().unwrap_or(0);
            assert!(n >= 3, "{fusion} fired {n} times: {:?}", seen.fired);
        }
        assert!(seen.refused > 10, "only {} refusals", seen.refused);
    }
}

impl Seen {
    fn add(&mut self, outcome: Outcome) {
        for name in outcome.fired {
            *self.fired.entry(name).or_default() += 1;
        }
        for name in outcome.dtypes {
            *self.dtypes.entry(name).or_default() += 1;
        }
        self.refused += outcome.refused;
        self.judged += outcome.judged;
        self.vague += outcome.vague;
    }
}

#[test]
fn random_programs_agree_in_the_first_batch() {
    batch(0);
}

#[test]
fn random_programs_agree_in_the_second_batch() {
    batch(1);
}

#[test]
fn random_programs_agree_in_the_third_batch() {
    batch(2);
}

#[test]
fn random_programs_agree_in_the_fourth_batch() {
    batch(3);
}

/// One trace at six sizes each, of 300 programs that contain no size.
#[test]
fn random_programs_agree_at_all_sizes() {
    let n = variable("RANDOM_GRAPHS").map_or(300, |n| n as usize / 8);
    let mut seen = sizes::Sizes::default();
    let seeds: Vec<u64> = match variable("RANDOM_GRAPHS_SEED") {
        Some(seed) => vec![seed],
        None => (7_000_000..7_000_000 + 20 * n as u64).collect(),
    };
    for seed in seeds {
        let program = generate::program(seed);
        if let Err(message) = sizes::check_sizes(&program, seed, &mut seen) {
            let again =
                |program: &_| sizes::check_sizes(program, seed, &mut sizes::Sizes::default()).err();
            let (small, message) = shrink::shrink(program, message, &again);
            panic!("seed {seed}: {message}\n{}", small.describe());
        }
        if seen.taken >= n {
            break;
        }
    }
    let sizes::Sizes {
        taken,
        refused,
        compared,
        failed,
    } = seen;
    println!(
        "{taken} programs at {compared} sizes, {failed} that fail eagerly too, {refused} programs refused"
    );
    assert!(
        variable("RANDOM_GRAPHS_SEED").is_some()
            || taken == n && compared > 3 * n && failed > n / 20
    );
}

/// The check must be able to fail: a program against one that differs in a single number.
#[test]
fn a_wrong_result_is_found() {
    let mut found = 0;
    for seed in 0..60 {
        let program = generate::program(seed);
        let wrong = program.with_a_number_changed();
        if let Some(wrong) = wrong
            && check::difference(&program, &wrong).is_some()
        {
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} of the wrong programs were found");
}
