//! `docs/ledger.toml`: a line for each function of mlx-c that says where it is used or why not.

use std::collections::BTreeMap;

use super::{Complaint, Source};

const PATH: &str = "docs/ledger.toml";
/// Where functions of mlx-c are called.
const CALLERS: [&str; 2] = ["crates/mlx/src/", "crates/mlx-sys/src/"];

/// Complains of functions that are called and not listed as used, and of lines that say what is not so.
pub fn check(sources: &[Source], ledger: Option<&str>) -> Vec<Complaint> {
    let page = Source {
        path: PATH.to_owned(),
        text: ledger.unwrap_or_default().to_owned(),
    };
    if page.text.is_empty() {
        return vec![Complaint::new(
            &page,
            0,
            "wanted the list of the functions of mlx-c, got none",
        )];
    }
    let mut complaints = Vec::new();
    let mut listed = BTreeMap::new();
    for (number, line) in (1..).zip(page.text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Some((name, text)) => {
                if listed.insert(name, text).is_some() {
                    complaints.push(Complaint::new(
                        &page,
                        number,
                        format!("{name} is there twice"),
                    ));
                }
                complaints.extend(untrue(&page, number, name, text, sources));
            }
            None => complaints.push(Complaint::new(
                &page,
                number,
                "wanted `name = \"used: FILE\"`, `\"superseded: BY\"` or `\"left out: WHY\"`",
            )),
        }
    }
    let callers = sources.iter().filter(|source| is_caller(&source.path));
    for source in callers {
        for (number, name) in called(&source.text) {
            match listed.get(name) {
                Some(text) if text.starts_with("used: ") => {}
                Some(text) => {
                    let text = format!("{name} is called here, but {PATH} says `{text}`");
                    complaints.push(Complaint::new(source, number, text));
                }
                None => {
                    let text = format!("{name} is called here, but {PATH} does not list it");
                    complaints.push(Complaint::new(source, number, text));
                }
            }
        }
    }
    complaints
}

fn is_caller(path: &str) -> bool {
    CALLERS.iter().any(|folder| path.starts_with(folder))
        && path.ends_with(".rs")
        && !path.contains("/test")
}

/// Returns the function and what a line says of it.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, text) = line.split_once(" = ")?;
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    let (kind, rest) = text.split_once(": ")?;
    let is_known = matches!(kind, "used" | "superseded" | "left out") && !rest.is_empty();
    is_known.then_some((name, text))
}

/// Complains where a function is not in the file that is said to use it.
fn untrue(
    page: &Source,
    line: usize,
    name: &str,
    text: &str,
    sources: &[Source],
) -> Option<Complaint> {
    let path = text.strip_prefix("used: ")?;
    let file = sources.iter().find(|source| source.path == path);
    let uses = file.is_some_and(|file| mentions(&file.text, name));
    (!uses).then(|| Complaint::new(page, line, format!("{name} is not used in {path}")))
}

/// Returns whether code names a function, also without calling it there.
fn mentions(text: &str, name: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            is_end(line[..at].chars().next_back()) && is_end(line[at + name.len()..].chars().next())
        })
    })
}

/// Returns the functions of mlx-c that a file calls as methods of the loaded library, or in the table of operations, with
/// their lines.
fn called(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..).zip(text.lines()).flat_map(move |(number, line)| {
        let code = line.split("//").next().unwrap_or_default();
        let ends = code.match_indices('(').map(|(end, _)| &code[..end]);
        ends.filter_map(move |before| {
            let start = before.rfind(|c| !is_word(c)).map_or(0, |place| place + 1);
            let name = &before[start..];
            let is_ours = name.starts_with("mlx_") && !name.starts_with("mlx_native_");
            is_ours.then_some((number, name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(ledger: &str, code: &str) -> Vec<String> {
        let path = "crates/mlx/src/ffi/data.rs".to_owned();
        let source = Source {
            path,
            text: code.to_owned(),
        };
        let found = check(&[source], Some(ledger));
        found.into_iter().map(|complaint| complaint.text).collect()
    }

    #[test]
    fn what_is_called_is_listed_as_used() {
        let used = "mlx_abs = \"used: crates/mlx/src/ffi/data.rs\"";
        assert!(complaints(used, "api.mlx_abs(x)").is_empty());
        assert_eq!(complaints(used, "api.mlx_native_data(x)").len(), 1);
        assert_eq!(complaints(used, "api.mlx_abs(mlx_exp(x))").len(), 1);
        assert_eq!(
            complaints("mlx_abs = \"left out: why\"", "mlx_abs(x)").len(),
            1
        );
        assert_eq!(complaints("mlx_abs = \"perhaps\"", "").len(), 1);
        assert_eq!(complaints("", "").len(), 1);
    }
}
