//! What a test expects of a report: formulas, by their variant or their name, and how often.

use std::collections::BTreeMap;

use super::Report;
use crate::{Error, Fusion, Result};

/// A formula that is expected: a [`Fusion`] or a name at least as often as it is listed, `("rms_norm", 2)` exactly twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    name: String,
    exactly: Option<usize>,
}

impl From<Fusion> for Expected {
    fn from(fusion: Fusion) -> Self {
        Self::from(fusion.name())
    }
}

impl From<&str> for Expected {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exactly: None,
        }
    }
}

impl From<(Fusion, usize)> for Expected {
    fn from((fusion, n): (Fusion, usize)) -> Self {
        Self::from((fusion.name(), n))
    }
}

impl From<(&str, usize)> for Expected {
    fn from((name, n): (&str, usize)) -> Self {
        Self {
            name: name.to_owned(),
            exactly: Some(n),
        }
    }
}

/// How often a formula is expected.
#[derive(Default)]
struct Wanted {
    at_least: usize,
    exactly: Option<usize>,
}

impl Report {
    /// Checks that formulas were recognized: each [`Fusion`] or name as often as it is listed or more, each pair of one
    /// and a number exactly that often.
    ///
    /// ```
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let double_silu = mlx_compiler::jit(|x: &mlx::Array| {
    ///     let once = x * x.sigmoid();
    ///     &once * once.sigmoid()
    /// });
    /// double_silu(&mlx::ones([4]))?;
    /// let report = double_silu.report().unwrap_or_default();
    /// report.expect([("silu", 2), ("rms_norm", 0)])?;
    /// assert!(report.expect(["silly"]).unwrap_err().to_string().contains("no formula silly"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one was recognized more or less often; the error lists what was applied, and what was rejected with its
    /// reason. When there is no formula of a name; the error lists the names.
    pub fn expect<E: Into<Expected>>(&self, wanted: impl IntoIterator<Item = E>) -> Result<()> {
        let mut counts: BTreeMap<Fusion, Wanted> = BTreeMap::new();
        for expected in wanted {
            let expected: Expected = expected.into();
            let found = Fusion::ALL
                .into_iter()
                .find(|one| one.name() == expected.name);
            let fusion = found.ok_or_else(|| unknown(&expected.name))?;
            let wanted = counts.entry(fusion).or_default();
            match expected.exactly {
                Some(n) => wanted.exactly = Some(n),
                None => wanted.at_least += 1,
            }
        }
        let holds = |(fusion, wanted): (&Fusion, &Wanted)| {
            let n = self.count(*fusion);
            n >= wanted.at_least && wanted.exactly.is_none_or(|exactly| n == exactly)
        };
        if counts.iter().all(holds) {
            return Ok(());
        }
        let mut got = counts_text(self.counts().into_iter());
        let rejected = self.refused.iter();
        for refused in rejected.filter(|one| counts.contains_key(&one.fusion)) {
            got += &format!("; {refused}");
        }
        let wanted = counts
            .iter()
            .map(|(fusion, wanted)| (*fusion, wanted.exactly.unwrap_or(wanted.at_least)));
        Err(Error::Expectation {
            wanted: counts_text(wanted),
            got,
        })
    }
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = Fusion::ALL.iter().map(|one| one.name()).collect();
    Error::Expectation {
        wanted: format!("one of {}", names.join(", ")),
        got: format!("no formula {name}"),
    }
}

fn counts_text(counts: impl Iterator<Item = (Fusion, usize)>) -> String {
    let texts: Vec<String> = counts
        .map(|(fusion, n)| format!("{fusion} x {n}"))
        .collect();
    match texts.is_empty() {
        true => "nothing".to_owned(),
        false => texts.join(", "),
    }
}
