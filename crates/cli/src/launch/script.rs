//! How a rank is started on another machine: a script for bash over ssh.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// A rank before it is started.
pub struct Rank {
    /// What ssh is given.
    pub host: String,
    pub env: Vec<(String, String)>,
}

impl Rank {
    /// Whether the rank runs on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.host.as_str(), "127.0.0.1" | "localhost" | "::1")
    }

    /// Returns the command that starts the rank on its host. It ends with the connection.
    pub fn over_ssh(
        &self,
        program: &[String],
        files: &[(&'static str, String)],
        folder: Option<&Path>,
    ) -> Result<Command> {
        let script = self.script(program, files, folder)?;
        let mut command = Command::new("ssh");
        command
            .args(["-tt", "-o", "LogLevel=QUIET"])
            .arg(&self.host)
            .arg(format!("bash -c {}", quote(&script)));
        Ok(command)
    }

    fn script(
        &self,
        program: &[String],
        files: &[(&'static str, String)],
        folder: Option<&Path>,
    ) -> Result<String> {
        // A terminal would print what is typed once more, and turn ends of lines into two characters.
        let mut script = "stty -echo -onlcr 2>/dev/null; ".to_owned();
        match folder {
            Some(folder) => {
                script += &format!("cd {} || exit 1; ", quote(&folder.to_string_lossy()));
            }
            // The same folder where there is one.
            None => {
                let here = std::env::current_dir().context("finding the current folder")?;
                let here = quote(&here.to_string_lossy());
                script += &format!("if [[ -d {here} ]]; then cd {here}; fi; ");
            }
        }
        for (name, value) in &self.env {
            script += &format!("export {name}={}; ", quote(value));
        }
        for (name, text) in files {
            script += &format!(
                "export {name}=$(mktemp); printf %s {} >\"${name}\"; ",
                quote(text)
            );
        }
        let words: Vec<String> = program.iter().map(|word| quote(word)).collect();
        script += &format!("exec {}", words.join(" "));
        Ok(script)
    }
}

/// Quotes a word for a shell.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("a-b.c"), "a-b.c");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn a_script_sets_the_environment_and_becomes_the_program() {
        let rank = Rank {
            host: "far".to_owned(),
            env: vec![("MLX_RANK".to_owned(), "1".to_owned())],
        };
        let program = ["echo".to_owned(), "a b".to_owned()];
        let files = [("MLX_HOSTFILE", "[[\"x:1\"]]".to_owned())];
        let script = rank
            .script(&program, &files, Some(Path::new("/tmp")))
            .unwrap();
        assert!(
            script.contains("cd /tmp || exit 1; export MLX_RANK=1; "),
            "{script}"
        );
        assert!(script.ends_with("exec echo 'a b'"), "{script}");
        assert!(!rank.is_local());
    }
}
