//! Links in pages lead somewhere.

use std::path::Path;

use super::{Complaint, Source};

/// Complains of a link to a file that is not there. Addresses of the web are not followed.
pub fn check(source: &Source, root: &Path) -> Vec<Complaint> {
    let folder = root
        .join(&source.path)
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    let mut complaints = Vec::new();
    let mut in_code = false;
    for (number, line) in source.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_web = target.contains("://") || target.starts_with("mailto:");
            if !is_web && !path.is_empty() && !folder.join(path).exists() {
                complaints.push(Complaint::new(
                    source,
                    number + 1,
                    format!("the link to {path} leads nowhere"),
                ));
            }
        }
    }
    complaints
}

/// The targets of `[text](target)` in a line, outside of code spans.
fn targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let mut found = Vec::new();
    let mut rest = prose.as_str();
    while let Some(start) = rest.find("](") {
        rest = &rest[start + 2..];
        let Some(end) = rest.find(')') else { break };
        found.push(
            rest[..end]
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn finds_targets_outside_of_code() {
        assert_eq!(
            targets("see [a](b.md#c) and `[x](y)` and [d](e/f.rs \"title\")"),
            ["b.md#c", "e/f.rs"]
        );
    }
}
