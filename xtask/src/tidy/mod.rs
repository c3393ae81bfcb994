//! `cargo xtask tidy`: house rules that a program can check, so that reviews are about design.

mod fence;
mod functions;
mod layers;
mod ledger;
mod length;
mod links;
mod notebooks;
mod opening;
mod prose;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// A file that git tracks, or would.
pub struct Source {
    /// Its path from the workspace root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Something against the rules: file, line (0 for the whole file), and what is wanted.
pub struct Complaint {
    path: String,
    line: usize,
    text: String,
}

impl Complaint {
    /// Returns a complaint about a line of a file; line 0 means all of it.
    pub fn new(source: &Source, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: source.path.clone(),
            line,
            text: text.into(),
        }
    }
}

/// What `cargo xtask tidy` is told.
#[derive(Args)]
pub struct TidyArguments {
    /// The checkout to read; this one otherwise
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Checks this workspace, or another checkout of it.
pub fn run(arguments: &TidyArguments) -> Result<()> {
    check(&arguments.root.clone().unwrap_or_else(crate::cargo::root))
}

/// Checks every source file and page, and prints what is against the rules.
pub fn check(root: &Path) -> Result<()> {
    let sources = sources(root)?;
    let rules = [
        length::check,
        functions::check,
        opening::check,
        prose::check,
        fence::check,
    ];
    let mut complaints: Vec<Complaint> = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        complaints.extend(rules.iter().flat_map(|rule| rule(source)));
    }
    complaints.extend(layers::check(&sources));
    let ledger = std::fs::read_to_string(root.join("docs/ledger.toml")).ok();
    complaints.extend(ledger::check(&sources, ledger.as_deref()));
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        complaints.extend(links::check(source, root));
    }
    for source in sources
        .iter()
        .filter(|source| source.path.ends_with(".ipynb"))
    {
        complaints.extend(notebooks::check(source));
    }
    for complaint in &complaints {
        println!("{}:{}: {}", complaint.path, complaint.line, complaint.text);
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    println!("tidy: {} files are in order", sources.len());
    Ok(())
}

/// Reads the Rust files, pages and notebooks that git tracks, and new ones that it does not ignore.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
            "*.md",
            "*.ipynb",
        ])
        .current_dir(root)
        .output()
        .context("tidy: git ls-files could not be run")?;
    if !output.status.success() {
        bail!(
            "tidy: git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut sources = Vec::new();
    for path in String::from_utf8(output.stdout)?.lines() {
        let file: PathBuf = root.join(path);
        // A file that was deleted but not yet committed is still listed.
        if file.is_file() {
            let text = std::fs::read_to_string(&file).with_context(|| format!("tidy: {path}"))?;
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}
