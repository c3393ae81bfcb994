//! Makes a Rust function of each notebook: its code cells, one after the other.
//!
//! The rules of a cell are few: lines that begin with `:` are evcxr's and left out; the value that ends a cell shows
//! itself, so it has `evcxr_display`; a cell tagged `raises-exception` must end in an error; `use` and `fn` name a
//! thing once in a notebook.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use syn::spanned::Spanned;
use syn::{Expr, Stmt};

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let mut notebooks: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    notebooks.retain(|path| path.extension().is_some_and(|ending| ending == "ipynb"));
    notebooks.sort();
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut programs = String::new();
    let mut table = String::new();
    for path in &notebooks {
        let name = name(path)?;
        let body = body(path).with_context(|| format!("notebook {}", path.display()))?;
        writeln!(programs, "fn {name}() -> Outcome {{\n{body}Ok(())\n}}\n")?;
        writeln!(table, "    (\"{name}\", {name}),")?;
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("programs.rs");
    let all = format!("{programs}\npub const ALL: &[(&str, fn() -> Outcome)] = &[\n{table}];\n");
    std::fs::write(out, all)?;
    Ok(())
}

fn name(path: &Path) -> Result<String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let fits = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    ensure!(
        fits && !name.is_empty(),
        "{}: wanted lower-case words joined by _",
        path.display()
    );
    Ok(name.into_owned())
}

/// The code cells of a notebook as the body of a function.
fn body(path: &Path) -> Result<String> {
    let notebook: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let cells = notebook["cells"].as_array().context("wanted cells")?;
    let mut body = String::new();
    for (number, cell) in cells.iter().enumerate() {
        if cell["cell_type"] != "code" {
            continue;
        }
        let code: String = source(&cell["source"])
            .with_context(|| format!("cell {number}: wanted text"))?
            .lines()
            .filter(|line| !line.starts_with(':'))
            .flat_map(|line| [line, "\n"])
            .collect();
        let tags = cell["metadata"]["tags"].as_array();
        let must_fail = tags.is_some_and(|tags| tags.iter().any(|tag| tag == "raises-exception"));
        let code = shown(&code).with_context(|| format!("cell {number}"))?;
        writeln!(body, "// cell {number}")?;
        if must_fail {
            writeln!(body, "must_fail({number}, || {{\n{code}Ok(())\n}})?;")?;
        } else {
            body.push_str(&code);
        }
    }
    Ok(body)
}

/// The code of a cell, with the value at its end shown as evcxr does.
fn shown(code: &str) -> Result<String> {
    let statements = syn::parse::Parser::parse_str(syn::Block::parse_within, code)?;
    let Some(Stmt::Expr(value, None)) = statements.last() else {
        return Ok(code.to_owned());
    };
    // These are statements without a semicolon, whose value is `()`.
    if let Expr::If(_) | Expr::ForLoop(_) | Expr::While(_) | Expr::Match(_) | Expr::Block(_) = value
    {
        return Ok(code.to_owned());
    }
    let start = value.span().start();
    let lines: Vec<&str> = code.lines().collect();
    let line = lines
        .get(start.line - 1)
        .context("a span outside of its cell")?;
    let place = line
        .char_indices()
        .nth(start.column)
        .map_or(line.len(), |(place, _)| place);
    let before = lines[..start.line - 1].join("\n");
    let value = [&line[place..], &lines[start.line..].join("\n")].join("\n");
    Ok(format!(
        "{before}\n{}(\n{value}\n).evcxr_display();\n",
        &line[..place]
    ))
}

/// Text is one string or a list of lines that keep their ends.
fn source(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) => lines.iter().map(Value::as_str).collect(),
        _ => None,
    }
}
