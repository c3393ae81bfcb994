//! No function of product code is longer than 80 lines.

use super::{Complaint, Source};

const LONGEST: usize = 80;

/// Complains of functions whose bodies have more than 80 lines, as rustfmt lays them out. Tests and examples may be longer.
pub fn check(source: &Source) -> Vec<Complaint> {
    let is_test = |part: &str| matches!(part, "tests" | "examples" | "tests.rs" | "testing.rs");
    if source.path.split('/').any(is_test) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_module_of_tests =
            *line == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.ends_with('{'));
        if is_module_of_tests {
            break;
        }
        let Some(name) = function(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = &lines[at..];
        let Some(opens) = rest.iter().position(|line| line.ends_with(['{', ';', '}'])) else {
            continue;
        };
        if !rest[opens].ends_with('{') {
            continue;
        }
        let closes = format!("{indent}}}");
        let body = rest[opens + 1..].iter().position(|line| *line == closes);
        if let Some(length) = body.filter(|length| *length > LONGEST) {
            let text =
                format!("`{name}` has {length} lines, wanted at most {LONGEST}: name its steps");
            complaints.push(Complaint::new(source, at + 1, text));
        }
    }
    complaints
}

/// Returns the name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (before, after) = line.split_once("fn ")?;
    let is_word = |word: &str| {
        word.starts_with("pub")
            || word.ends_with(')')
            || word.starts_with('"')
            || matches!(word, "const" | "async" | "unsafe" | "extern")
    };
    if !before.split_whitespace().all(is_word) {
        return None;
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&after[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let text = |complaint: &Complaint| format!("{}: {}", complaint.line, complaint.text);
        check(&source).iter().map(text).collect()
    }

    #[test]
    fn only_what_is_too_long_is_told() {
        let body = "    step();\n".repeat(81);
        let long = format!(
            "struct S;\n\npub(crate) unsafe fn long(\n    x: i32,\n) -> i32 {{\n{body}}}\n"
        );
        let told = complaints("crates/a/src/b.rs", &long);
        assert_eq!(
            told,
            ["3: `long` has 81 lines, wanted at most 80: name its steps"]
        );
        assert!(complaints("crates/a/tests/b.rs", &long).is_empty());
        let fits = long.replacen("    step();\n", "", 1);
        assert!(complaints("crates/a/src/b.rs", &fits).is_empty());
        let method =
            format!("impl S {{\n    fn one(&self) {{}}\n    fn two(&self) {{\n{body}    }}\n}}\n");
        assert_eq!(complaints("crates/a/src/b.rs", &method).len(), 1);
        let test = format!("fn short() {{\n}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(complaints("crates/a/src/b.rs", &test).is_empty());
    }
}
