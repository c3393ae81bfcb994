//! Whether two runners compute the same: results are compared before anything is timed.

use std::path::Path;

use anyhow::Result;

use super::npy;

/// How results are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Each number differs by at most `absolute + relative * |ours|`.
    Close {
        /// The relative part.
        relative: f32,
        /// The absolute part.
        absolute: f32,
    },
    /// The norm of the difference is at most this share of the norm of our result.
    Norm {
        /// The share.
        relative: f32,
    },
    /// The words are the same, whatever their case and punctuation.
    Words {
        /// Only this number of words from the start.
        first: Option<usize>,
    },
    /// There is nothing to compare.
    Unchecked,
}

impl Check {
    /// Returns the check of numbers.
    pub fn close(relative: f32, absolute: f32) -> Self {
        Check::Close { relative, absolute }
    }

    /// Returns the check of numbers as a whole.
    pub fn norm(relative: f32) -> Self {
        Check::Norm { relative }
    }
}

/// What a runner computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Numbers.
    Numbers(Vec<f32>),
    /// Words of a text, in lower case.
    Words(Vec<String>),
    /// Nothing that is compared.
    Nothing,
}

impl Check {
    /// Takes what a runner left: the file it wrote, or the text of its reply.
    ///
    /// # Errors
    /// When it is missing or not in the form that this check reads.
    pub fn outcome(self, file: &Path, text: Option<&str>) -> Result<Outcome> {
        Ok(match self {
            Check::Close { .. } | Check::Norm { .. } => Outcome::Numbers(npy::read_f32(file)?),
            Check::Words { .. } => match text {
                Some(text) => Outcome::Words(words(text)),
                None => anyhow::bail!("wanted a text, got none"),
            },
            Check::Unchecked => Outcome::Nothing,
        })
    }

    /// Returns how a rival's result differs from ours, or `None` when it does not.
    pub fn difference(self, ours: &Outcome, theirs: &Outcome) -> Option<String> {
        match (self, ours, theirs) {
            (Check::Close { relative, absolute }, Outcome::Numbers(a), Outcome::Numbers(b)) => {
                numbers(relative, absolute, a, b)
            }
            (Check::Norm { relative }, Outcome::Numbers(a), Outcome::Numbers(b)) => {
                norms(relative, a, b)
            }
            (Check::Words { first }, Outcome::Words(a), Outcome::Words(b)) => {
                let n = first.unwrap_or(a.len().max(b.len()));
                let (a, b) = (a.iter().take(n), b.iter().take(n));
                let (a, b): (Vec<_>, Vec<_>) = (a.collect(), b.collect());
                (a != b).then(|| format!("other words: ours {a:?}, theirs {b:?}"))
            }
            (Check::Unchecked, ..) => None,
            _ => Some("results of two kinds".to_owned()),
        }
    }
}

fn numbers(relative: f32, absolute: f32, ours: &[f32], theirs: &[f32]) -> Option<String> {
    if ours.len() != theirs.len() {
        let (a, b) = (ours.len(), theirs.len());
        return Some(format!("another result: ours has {a} numbers, theirs {b}"));
    }
    let (mut wrong, mut worst) = (0_usize, 0.0_f32);
    for (a, b) in ours.iter().zip(theirs) {
        let difference = (a - b).abs();
        let same = a == b || a.is_nan() && b.is_nan();
        // A NaN on one side must count as wrong: no comparison with it holds.
        let is_near = difference <= absolute + relative * a.abs();
        if !same && !is_near {
            wrong += 1;
            worst = if difference.is_nan() {
                f32::INFINITY
            } else {
                worst.max(difference)
            };
        }
    }
    (wrong > 0).then(|| {
        let count = ours.len();
        format!("another result: {wrong} of {count} numbers differ, by up to {worst:.3e}")
    })
}

fn norms(relative: f32, ours: &[f32], theirs: &[f32]) -> Option<String> {
    if ours.len() != theirs.len() {
        let (a, b) = (ours.len(), theirs.len());
        return Some(format!("another result: ours has {a} numbers, theirs {b}"));
    }
    let norm = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.map(|number| number * number).sum::<f64>().sqrt()
    };
    let whole = norm(&mut ours.iter().map(|a| f64::from(*a)));
    let pairs = ours.iter().zip(theirs);
    let difference = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    // A NaN on either side is above any limit.
    let is_near = difference <= f64::from(relative) * whole;
    (!is_near).then(|| {
        let share = difference / whole;
        format!("another result: the difference has {share:.1e} of ours' norm, wanted {relative:.0e} at most")
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_tolerance_are_the_same() {
        let check = Check::close(0.1, 0.01);
        let numbers = |values: &[f32]| Outcome::Numbers(values.to_vec());
        let ours = numbers(&[1.0, f32::NAN, f32::INFINITY]);
        let near = numbers(&[1.1, f32::NAN, f32::INFINITY]);
        assert_eq!(check.difference(&ours, &near), None);
        for far in [
            numbers(&[1.2, f32::NAN, f32::INFINITY]),
            numbers(&[1.0, 0.0, f32::INFINITY]),
            numbers(&[1.0]),
        ] {
            assert!(check.difference(&ours, &far).is_some());
        }
    }

    #[test]
    fn numbers_are_compared_as_a_whole() {
        let check = Check::norm(0.1);
        let numbers = |values: &[f32]| Outcome::Numbers(values.to_vec());
        let ours = numbers(&[3.0, -4.0, 0.0]);
        assert_eq!(check.difference(&ours, &numbers(&[3.0, -4.0, 0.4])), None);
        for far in [&[3.0, -4.0, 0.6][..], &[3.0, -4.0, f32::NAN], &[3.0, -4.0]] {
            assert!(check.difference(&ours, &numbers(far)).is_some());
        }
    }

    #[test]
    fn words_are_compared_without_case_and_punctuation() {
        let check = Check::Words { first: Some(2) };
        let words = |text| check.outcome(Path::new(""), Some(text)).unwrap();
        let ours = words("Ask not, what");
        assert_eq!(check.difference(&ours, &words("ask NOT who")), None);
        assert!(check.difference(&ours, &words("ask them")).is_some());
    }
}
