//! Words of a shell: values such as `ccache g++ -m64` taken apart, and paths written so that they can be pasted.

use std::path::Path;

/// Takes a value apart as a shell would; `None` when a quote is not closed.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    shlex::split(text)
}

/// Joins words so that a shell takes them apart as they are.
pub(crate) fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Writes a word so that a shell takes it as it is; plain ones stay plain.
pub(crate) fn quote(word: &str) -> String {
    // No variable, argument or path has the zero that is refused here.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

/// Writes a path so that it can be pasted into a shell.
pub(crate) fn quoted(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("g++ -m64", Some(vec!["g++", "-m64"]))]
    #[case("-DA='x y' -I\"/a b\" \n -O1", Some(vec!["-DA=x y", "-I/a b", "-O1"]))]
    #[case("-DC=#1 -O1", Some(vec!["-DC=#1", "-O1"]))]
    #[case("  ", Some(vec![]))]
    #[case("-DA='x", None)]
    fn takes_words_apart_as_a_shell_does(#[case] text: &str, #[case] wanted: Option<Vec<&str>>) {
        let found = split(text);
        assert_eq!(
            found.as_deref(),
            wanted
                .map(|words| words
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<Vec<_>>())
                .as_deref()
        );
    }

    #[test]
    fn quotes_only_what_needs_it() {
        assert_eq!(quoted(Path::new("/a/b-1.0")), "/a/b-1.0");
        for word in ["/a b", "it's", "$HOME", "a;b", "*", "~/x", ""] {
            assert_eq!(split(&quote(word)), Some(vec![word.to_owned()]), "{word}");
            assert_ne!(quote(word), word);
        }
        assert_eq!(join(["a b", "c"]), "'a b' c");
    }
}
