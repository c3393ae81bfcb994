//! Which of the user's settings for pip count when a pinned file is fetched: where files come from and how they travel,
//! and nothing of what would select, build or install others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::Settings;
use crate::process::{command, output};

/// The settings that are kept, named as in pip's configuration.
///
/// The others are for installations. Some break a download by hash of wheels for other Pythons and machines:
/// `require-virtualenv`, `constraint`, `requirement`, `abi`, `python`, `uploaded-prior-to`; `target`, `prefix` and
/// `user` break installations into an environment.
const KEPT: &[&str] = &[
    "cache-dir",
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "keyring-provider",
    "no-cache-dir",
    "no-index",
    "no-input",
    "proxy",
    "pypi-url",
    "resume-retries",
    "retries",
    "timeout",
    "trusted-host",
    "use-deprecated",
    "use-feature",
];

/// The settings for pip that count.
#[derive(Debug, Default)]
pub(crate) struct PipSettings(BTreeMap<String, OsString>);

impl PipSettings {
    /// Reads pip's configuration files and variables, of which the variables win.
    pub(crate) fn of_user(python: &Path, settings: &Settings) -> Self {
        let mut list = command(python, settings);
        list.args(["-m", "pip", "config", "list"]);
        let said = output(&mut list).ok().filter(|said| said.status.success());
        let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let mut found = Self::in_list(text.as_deref().unwrap_or_default());
        for (name, value) in std::env::vars_os() {
            if let Some(name) = name.to_str().and_then(setting) {
                found.keep(name, value);
            }
        }
        found
    }

    /// Reads what `pip config list` prints; what is set for downloads wins over what is set for all commands.
    fn in_list(text: &str) -> Self {
        let mut found = Self::default();
        for section in ["global.", "download."] {
            for line in text.lines() {
                let pair = line
                    .strip_prefix(section)
                    .and_then(|line| line.split_once('='));
                if let Some((name, value)) = pair {
                    found.keep(name.to_owned(), unquoted(value).into());
                }
            }
        }
        found
    }

    fn keep(&mut self, name: String, value: OsString) {
        if KEPT.contains(&name.as_str()) && !value.is_empty() {
            self.0.insert(name, value);
        }
    }

    /// Gives these settings and no others to a command that runs pip.
    pub(crate) fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_str().and_then(setting).is_some() {
                command.env_remove(name);
            }
        }
        // The one value for which pip reads no configuration file at all.
        command.env(
            "PIP_CONFIG_FILE",
            if cfg!(windows) { "nul" } else { "/dev/null" },
        );
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        for (name, value) in &self.0 {
            command.env(
                format!("PIP_{}", name.to_uppercase().replace('-', "_")),
                value,
            );
        }
    }

    /// Returns whether pip may not use an index.
    pub(crate) fn forbid_index(&self) -> bool {
        let value = self
            .0
            .get("no-index")
            .map(|value| value.to_string_lossy().to_lowercase());
        value.is_some_and(|value| ["1", "y", "yes", "t", "true", "on"].contains(&value.as_str()))
    }

    /// Returns whether pip searches further places for files.
    pub(crate) fn has_links(&self) -> bool {
        self.0.contains_key("find-links")
    }
}

/// Returns the setting that a variable is for.
fn setting(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("PIP_")?;
    Some(name.to_lowercase().replace('_', "-"))
}

/// Takes off the quotes and escapes of a text as Python shows it. Lines become words, which is how pip reads lists.
fn unquoted(shown: &str) -> String {
    let quote = shown
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'));
    let inner = quote.and_then(|quote| shown.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut chars = inner.unwrap_or(shown).chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('n' | 't' | 'r') | None => text.push(' '),
                Some(escaped) => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_where_files_come_from_and_nothing_else() {
        let found = PipSettings::in_list(
            ":env:.constraint='/c.txt'\nglobal.constraint='/c.txt'\nglobal.cert='/etc/ca.pem'\n\
             download.index-url='https://a.example/simple'\nglobal.index-url='https://b.example/simple'\n\
             global.extra-index-url='\\nhttps://c.example\\nhttps://d.example'\nglobal.proxy=\"it's\"\n\
             global.require-virtualenv='true'\ninstall.user='yes'\nglobal.no-index='true'\n",
        );
        let wanted = [
            ("cert", "/etc/ca.pem"),
            ("extra-index-url", "https://c.example https://d.example"),
            ("index-url", "https://a.example/simple"),
            ("no-index", "true"),
            ("proxy", "it's"),
        ];
        let found_all: Vec<_> = found
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str()))
            .collect();
        assert_eq!(found_all, wanted.map(|(name, value)| (name, Some(value))));
        assert!(found.forbid_index() && !found.has_links());
    }

    #[test]
    fn knows_when_no_index_is_meant() {
        for (value, wanted) in [
            ("1", true),
            ("on", true),
            ("0", false),
            ("false", false),
            ("", false),
        ] {
            let list = format!("global.no-index='{value}'");
            assert_eq!(
                PipSettings::in_list(&list).forbid_index(),
                wanted,
                "{value}"
            );
        }
    }
}
