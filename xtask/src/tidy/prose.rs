//! Comments say what they mean in the field's words: some homely ones are refused, each with what to write instead.

use super::{Complaint, Source};

/// What is refused, in lower case, and what says it plainly.
const REFUSED: &[(&str, &str)] = &[
    ("of ours", "the name of the crate"),
    ("so many", "`n`, or `at most n`"),
    ("so long", "`n`, or `at most n`"),
    ("not a number", "NaN"),
    ("lies", "is, is stored"),
    ("looks at", "reads, attends to"),
    ("kin", "the list of them"),
    ("whoever", "the caller, the thread, ..."),
];

/// Complains of refused words in the comments of product code.
pub fn check(source: &Source) -> Vec<Complaint> {
    if source.path.contains("tests") || source.path.contains("/tidy/prose.rs") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let comment = line.trim_start();
        if !comment.starts_with("//") {
            continue;
        }
        let comment = comment.to_lowercase();
        for (words, instead) in REFUSED {
            if has(&comment, words) {
                let text = format!("says \"{words}\": write {instead}");
                complaints.push(Complaint::new(source, number, text));
            }
        }
    }
    complaints
}

/// Returns whether a text has these words, not as parts of others.
fn has(text: &str, words: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(words).any(|(at, _)| {
        is_end(text[..at].chars().next_back()) && is_end(text[at + words.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<usize> {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&source)
            .iter()
            .map(|complaint| complaint.line)
            .collect()
    }

    #[test]
    fn homely_words_are_refused_in_comments() {
        let text = "fn f() {}\n    // A kernel of ours.\n/// Where it LIES.\n//! Not a number.\n";
        assert_eq!(complaints("crates/a/src/lib.rs", text), [2, 3, 4]);
    }

    #[test]
    fn parts_of_words_code_and_tests_are_not() {
        let text = "// It relies on families of hours, and akin.\nlet lies = \"so many\";\n";
        assert_eq!(complaints("crates/a/src/lib.rs", text), [0; 0]);
        assert_eq!(complaints("crates/a/tests/b.rs", "// of ours\n"), [0; 0]);
    }
}
