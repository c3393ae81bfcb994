//! The bindings have every function that the headers declare, and the library has every function of the bindings.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

/// Functions of mlx-c 0.7.0: four more where the processor has half-precision types in C.
const N_MLXC: usize = if cfg!(target_arch = "aarch64") {
    674
} else {
    670
};

#[test]
fn bindings_have_every_function_of_the_headers() {
    let mlxc = declared_in(&Path::new(env!("MLX_SYS_MLXC_SOURCE")).join("mlx/c"));
    assert_eq!(mlxc.len(), N_MLXC);
    let native = declared_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("native/include"));
    let bound = bound();
    let missing: Vec<_> = mlxc
        .union(&native)
        .filter(|name| !bound.contains(*name))
        .collect();
    assert!(missing.is_empty(), "not bound: {missing:?}");
    let unknown: Vec<_> = bound
        .iter()
        .filter(|name| !mlxc.contains(*name) && !native.contains(*name))
        .collect();
    assert!(unknown.is_empty(), "bound, but in no header: {unknown:?}");
}

#[test]
fn the_ledger_has_every_function_of_the_headers() {
    let headers = declared_in(&Path::new(env!("MLX_SYS_MLXC_SOURCE")).join("mlx/c"));
    let ledger = include_str!("../../../docs/ledger.toml");
    let listed: BTreeSet<_> = ledger
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect();
    let missing: Vec<_> = headers.difference(&listed).collect();
    assert!(missing.is_empty(), "not in docs/ledger.toml: {missing:?}");
}

#[test]
fn library_has_every_function_of_the_bindings() {
    // Loading resolves them all and fails at the first that is missing.
    support::api();
    let loaded = mlx_sys::loaded().unwrap();
    assert_eq!(loaded.versions.mlx, "0.32.4");
    assert_eq!(loaded.versions.mlxc, "0.7.0");
    assert_eq!(loaded.versions.native, mlx_sys::MLX_NATIVE_VERSION);
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
}

/// Returns the functions that bindgen found: a field holds each; only those without `...` are methods too.
fn bound() -> BTreeSet<String> {
    include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"))
        .lines()
        .skip_while(|line| *line != "pub struct Api {")
        .take_while(|line| *line != "impl Api {")
        .filter_map(|line| line.trim().strip_prefix("pub "))
        .filter_map(|rest| rest.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Returns the functions declared in the headers of a folder.
fn declared_in(dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "h") {
            names.extend(declared(&without_comments(
                &std::fs::read_to_string(path).unwrap(),
            )));
        }
    }
    names
}

/// Returns the functions declared in a header: a name of the library right before an opening parenthesis, outside of
/// parentheses and braces, and not in a part for another processor.
fn declared(header: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut skipping = false;
    let mut depth = 0;
    for line in header.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["#ifdef", "HAS_FLOAT16" | "HAS_BFLOAT16"] => skipping = N_MLXC == 670,
                ["#endif", ..] => skipping = false,
                _ => {}
            }
            continue;
        }
        if skipping || line.starts_with("extern \"C\"") || line.starts_with("static") {
            continue;
        }
        let mut word = String::new();
        for c in line.chars() {
            match c {
                '(' | '{' => {
                    let is_ours = word.starts_with("mlx_") || word.starts_with("_mlx_");
                    if c == '(' && depth == 0 && is_ours {
                        names.push(word.clone());
                    }
                    depth += 1;
                }
                ')' | '}' => depth = (depth - 1).max(0),
                _ => {}
            }
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
            } else {
                word.clear();
            }
        }
    }
    names
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
        out.extend(rest[..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}
