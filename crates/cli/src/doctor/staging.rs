//! What set-up needs and has staged: the first half of `mlx doctor`, looked up by `mlx-provision` and never changed.

use std::path::Path;

use mlx_provision::{Finding, Settings, State, inspect};
use mlx_sys::Loaded;

use super::{Check, Status};

/// Returns what is known of staging; nothing where the libraries come from elsewhere, as in a bundle.
///
/// What is missing is a failure only where no libraries could be loaded.
pub(super) fn checks(loaded: Option<&Loaded>) -> Vec<Check> {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-sys/native");
    let settings = Settings::from_env(&native);
    if loaded.is_some_and(|loaded| !is_below(&loaded.mlxc, &settings.root.path)) {
        return Vec::new();
    }
    let found = inspect(&settings).into_iter();
    found
        .map(|finding| check(finding, loaded.is_some()))
        .collect()
}

fn is_below(file: &Path, folder: &Path) -> bool {
    match (file.canonicalize(), folder.canonicalize()) {
        (Ok(file), Ok(folder)) => file.starts_with(folder),
        _ => false,
    }
}

fn check(finding: Finding, works: bool) -> Check {
    Check {
        name: finding.name.into(),
        status: match (finding.state, works) {
            (State::Good | State::Absent, _) => Status::Ok,
            (State::Bad, true) => Status::Warn,
            (State::Bad, false) => Status::Fail,
        },
        found: finding.value,
        fix: finding.advice.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(state: State) -> Finding {
        Finding {
            name: "native library".to_owned(),
            value: "not built".to_owned(),
            state,
            advice: Some("run it".to_owned()),
        }
    }

    #[test]
    fn what_is_missing_fails_only_where_nothing_works() {
        assert!(check(finding(State::Bad), true).status == Status::Warn);
        assert!(check(finding(State::Bad), false).status == Status::Fail);
        assert!(check(finding(State::Absent), false).status == Status::Ok);
        assert_eq!(check(finding(State::Bad), false).fix, "run it");
    }
}
