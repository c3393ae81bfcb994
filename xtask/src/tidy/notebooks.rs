//! Notebooks are kept without what they printed: outputs are made again by each run, and would fill the history.

use super::{Complaint, Source};

/// Complains of a cell with outputs or a number of execution.
pub fn check(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let line = line.trim().trim_end_matches(',');
        let wanted = [("\"outputs\":", "[]"), ("\"execution_count\":", "null")];
        for (key, empty) in wanted {
            if let Some(value) = line.strip_prefix(key)
                && value.trim() != empty
            {
                let text = format!("wanted `{key} {empty}`: strip the outputs before committing");
                complaints.push(Complaint::new(source, number + 1, text));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stripped_notebooks_pass() {
        let notebook = |text: &str| Source {
            path: "a.ipynb".to_owned(),
            text: text.to_owned(),
        };
        let stripped = "{\n\"execution_count\": null,\n\"outputs\": [],\n\"source\": [\"\\\"outputs\\\": [1]\"]\n}";
        assert!(check(&notebook(stripped)).is_empty());
        assert_eq!(check(&notebook("\"outputs\": [\n")).len(), 1);
        assert_eq!(check(&notebook("\"execution_count\": 3,\n")).len(), 1);
    }
}
