//! Imports between the modules of a crate go down: which layer a module is in, as data, and who imports what.

use std::collections::BTreeMap;

use super::{Complaint, Source};

/// The layers of a crate, the lowest first. A module imports modules of lower layers only, so that there is no cycle.
struct Crate {
    /// Where its sources are.
    folder: &'static str,
    layers: &'static [&'static [&'static str]],
    /// Names that `lib.rs` itself defines, for a lower layer to call what a higher one is.
    hooks: &'static [&'static str],
    /// Imports that climb and cannot be cut yet: from a module, of a module. This list never grows.
    exceptions: &'static [(&'static str, &'static str)],
}

const CRATES: [Crate; 3] = [
    Crate {
        folder: "crates/mlx/src/",
        layers: &[
            // What arrays and operations are, without a handle.
            &["dtype", "local", "macros"],
            &["dtype_names", "shape"],
            &["error", "op"],
            // The fence: everything unsafe.
            &["ffi"],
            // What keeps a call from crashing, and from wrong numbers; programs, which know no device.
            &["program", "validate"],
            &["workaround"],
            // Arrays, and how operations are applied to them.
            &["array", "device"],
            &["tree"],
            &["bind", "eval", "shared"],
            // The CPU as a device.
            &["cpu", "memory", "metal"],
            &["init"],
            // Operations under the names of Python MLX.
            &["linalg", "ops", "random"],
            &["fast", "index"],
            &["fft"],
            // Functions of functions, files, threads.
            &["distributed", "io", "transforms", "worker"],
            &["compiled", "dlpack", "export", "qqmm"],
            &["compiler_api"],
            &["renamed"],
        ],
        // `ffi` calls it once, before its first call into the native library.
        hooks: &["SET_UP"],
        exceptions: &[],
    },
    Crate {
        folder: "crates/compiler/src/",
        layers: &[
            &["graph", "guide"],
            &["cpu_kernels", "error", "options"],
            &["execute"],
            &["memory"],
            &["fusions", "trace"],
            &["control", "report", "shapeless"],
            &["passes"],
            &["sharding", "sizes"],
            &["analysis"],
            &["stages"],
            &["export"],
            &["switch"],
            &["jit"],
        ],
        hooks: &[],
        exceptions: &[],
    },
    Crate {
        folder: "crates/kernels/src/",
        layers: &[
            &["element_type", "error", "parallel", "simd"],
            &["element", "spatial", "strided"],
            &[
                "elementwise",
                "fft",
                "gemm",
                "indexing",
                "order",
                "random",
                "rowwise",
            ],
            &[
                "attention",
                "batch_norm",
                "conv",
                "linalg",
                "optimizer",
                "pooling",
                "quantized",
                "recurrent",
                "resample",
                "rope",
                "values",
            ],
            &["instances"],
            &["renamed"],
        ],
        // A type of elements leads to the kernels of every module that are compiled for it.
        hooks: &["instances"],
        exceptions: &[],
    },
];

/// Complains of imports that climb, of modules without a layer, and of exceptions that are not needed any more.
pub fn check(sources: &[Source]) -> Vec<Complaint> {
    CRATES
        .iter()
        .flat_map(|one| check_crate(one, sources))
        .collect()
}

fn check_crate(one: &Crate, sources: &[Source]) -> Vec<Complaint> {
    let files: Vec<File<'_>> = sources
        .iter()
        .filter_map(|source| File::of(source, one.folder))
        .collect();
    let Some(root) = files.iter().find(|file| file.path == ["lib"]) else {
        return Vec::new();
    };
    let exports = exports(root, &files);
    let tests = test_modules(&files);
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for file in files.iter().filter(|file| file.path != ["lib"]) {
        if tests.iter().any(|test| file.path.starts_with(test)) {
            continue;
        }
        let module = file.path[0];
        let Some(layer) = layer_of(one, module) else {
            let text = format!("the module {module} has no layer in xtask/src/tidy/layers.rs");
            complaints.push(Complaint::new(file.source, 1, text));
            continue;
        };
        for Import {
            line,
            name,
            is_absolute,
        } in file.imports()
        {
            if one.hooks.contains(&name.as_str()) {
                continue;
            }
            // A module and a function may share a name; paths go through the module.
            let imported = match exports.get(name.as_str()) {
                Some(of) if layer_of(one, &name).is_none() => of,
                _ => name.as_str(),
            };
            let Some(of) = layer_of(one, imported) else {
                // `super` in a module inside of a file leads to the file's own module, not to the root.
                if is_absolute {
                    let text = format!("cannot tell which module `crate::{name}` is of");
                    complaints.push(Complaint::new(file.source, line, text));
                }
                continue;
            };
            if imported == module || of < layer {
                continue;
            }
            match one.exceptions.iter().find(|pair| **pair == (module, imported)) {
                Some(pair) => used.push(pair),
                None => complaints.push(Complaint::new(
                    file.source,
                    line,
                    format!(
                        "{module}, of layer {layer}, imports {imported}, of layer {of}: imports go down"
                    ),
                )),
            }
        }
    }
    for pair in one.exceptions.iter().filter(|pair| !used.contains(pair)) {
        let text = format!("the exception of {} for {} is not needed", pair.0, pair.1);
        complaints.push(Complaint::new(root.source, 0, text));
    }
    complaints
}

fn layer_of(one: &Crate, module: &str) -> Option<usize> {
    one.layers.iter().position(|layer| layer.contains(&module))
}

/// A source file of a crate.
struct File<'a> {
    source: &'a Source,
    /// The path of its module: `["array", "display", "layout"]`, or `["lib"]`.
    path: Vec<&'a str>,
    /// Its text without comments, literals and tests.
    code: String,
}

impl<'a> File<'a> {
    fn of(source: &'a Source, folder: &str) -> Option<Self> {
        let path = source.path.strip_prefix(folder)?.strip_suffix(".rs")?;
        let mut path: Vec<&str> = path.split('/').collect();
        if path.len() > 1 && path.last() == Some(&"mod") {
            path.pop();
        }
        let code = code_of(&source.text);
        Some(Self { source, path, code })
    }

    /// What it takes from the root of the crate.
    fn imports(&self) -> Vec<Import> {
        let to_root = "super::".repeat(self.path.len());
        let mut found = Vec::new();
        for prefix in ["crate::", to_root.as_str()] {
            for (at, _) in self.code.match_indices(prefix) {
                let is_whole = !self.code[..at]
                    .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'));
                if !is_whole {
                    continue;
                }
                let line = self.code[..at].matches('\n').count() + 1;
                let names = names_at(&self.code[at + prefix.len()..]);
                let outside = names.into_iter().filter(|name| name != "super");
                found.extend(outside.map(|name| Import {
                    line,
                    name,
                    is_absolute: prefix == "crate::",
                }));
            }
        }
        found
    }
}

/// A name that a file takes from the root of its crate.
struct Import {
    line: usize,
    name: String,
    /// Whether by `crate`, not by `super`.
    is_absolute: bool,
}

/// The first names of the paths at the beginning of `code`: of `a::b` and of `{a, b::c, d as e}`. No macros.
fn names_at(code: &str) -> Vec<String> {
    let Some(group) = code.strip_prefix('{') else {
        let name = identifier(code);
        let is_macro = code[name.len()..].starts_with('!');
        return if is_macro || name.is_empty() {
            Vec::new()
        } else {
            vec![name.to_owned()]
        };
    };
    let (mut names, mut depth, mut is_first) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_first = true,
            c if is_first && (c.is_alphabetic() || c == '_') => {
                names.push(identifier(&group[at..]).to_owned());
                is_first = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

/// Which module each name of the crate's root is of: modules themselves, and what `lib.rs` exports again.
fn exports<'a>(root: &'a File<'_>, files: &'a [File<'_>]) -> BTreeMap<&'a str, &'a str> {
    let mut exports = BTreeMap::new();
    for (module, names) in reexports(&root.code) {
        if module == "crate" {
            continue;
        }
        for name in names {
            if name != "*" {
                exports.insert(name, module);
                continue;
            }
            let all = files.iter().filter(|file| file.path == [module]);
            for (_, names) in all.flat_map(|file| reexports(&file.code)) {
                exports.extend(names.into_iter().map(|name| (name, module)));
            }
        }
    }
    exports
}

/// What a file exports again: the module at the front of each path, and the names it brings.
fn reexports(code: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].trim_end();
        let Some((item, _)) = code[at + "use ".len()..].split_once(';') else {
            continue;
        };
        if !before.ends_with("pub") && !before.ends_with("pub(crate)") {
            continue;
        }
        let Some((module, names)) = item.trim().split_once("::") else {
            continue;
        };
        let names = names.trim_matches(|c| c == '{' || c == '}').split(',');
        let names = names
            .map(|name| name.rsplit(" as ").next().unwrap_or(name).trim())
            .map(|name| name.rsplit("::").next().unwrap_or(name))
            .filter(|name| !name.is_empty())
            .collect();
        found.push((module, names));
    }
    found
}

/// The modules that exist in tests only: declared `#[cfg(test)] mod name;`.
fn test_modules<'a>(files: &'a [File<'_>]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    for file in files {
        let text = &file.source.text;
        for (at, attribute) in text.match_indices("#[cfg(test)]") {
            let item = text[at + attribute.len()..].trim_start();
            let item = item
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ");
            let Some(rest) = item.strip_prefix("mod ") else {
                continue;
            };
            let name = identifier(rest);
            let mut path = file.path.clone();
            if path == ["lib"] {
                path.clear();
            }
            path.push(name);
            found.push(path);
        }
    }
    found
}

/// The text with comments and literals blanked, up to the tests at its end.
fn code_of(text: &str) -> String {
    let text = text
        .find("#[cfg(test)]\nmod tests {")
        .map_or(text, |at| &text[..at]);
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => literal_length(rest),
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => {
                code.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        // Lines stay where they are.
        code.extend(rest[..length].chars().filter(|&c| c == '\n'));
        rest = &rest[length..];
    }
    code
}

/// The length of the string literal at the beginning of `text`, quotes included.
fn literal_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Crate = Crate {
        folder: "src/",
        layers: &[&["low"], &["middle", "beside"], &["high"]],
        hooks: &["HOOK"],
        exceptions: &[],
    };

    fn complaints_with(one: &Crate, files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let told = |complaint: Complaint| {
            format!("{}:{}: {}", complaint.path, complaint.line, complaint.text)
        };
        check_crate(one, &sources).into_iter().map(told).collect()
    }

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![(
            "src/lib.rs",
            "mod low;\nmod middle;\nmod high;\npub use high::{Tall, taller};\npub use middle::*;\n",
        )];
        all.extend(files);
        complaints_with(&LAYERS, &all)
    }

    #[test]
    fn imports_that_go_down_are_in_order() {
        let files = [
            ("src/low.rs", "use std::fmt;\n"),
            (
                "src/middle/mod.rs",
                "use super::low;\nmod inner;\npub use inner::Mid;\n",
            ),
            (
                "src/middle/inner.rs",
                "use super::Mid;\nuse super::super::low::Low;\n",
            ),
            (
                "src/high.rs",
                "use crate::{Mid, low};\nfn f() { crate::middle::inner::g() }\n",
            ),
            ("src/beside.rs", "fn f() { crate::HOOK() }\n"),
        ];
        assert_eq!(complaints(&files), Vec::<String>::new());
    }

    #[test]
    fn an_import_that_climbs_is_found_with_file_line_and_layers() {
        let files = [(
            "src/low.rs",
            "//! Low.\n\nuse std::fmt;\nuse crate::high::Tall;\n",
        )];
        let wanted = "src/low.rs:4: low, of layer 0, imports high, of layer 2: imports go down";
        assert_eq!(complaints(&files), [wanted]);
    }

    #[test]
    fn climbing_by_a_name_of_the_root_by_super_and_in_code_is_found_too() {
        for text in [
            "use crate::Tall;",
            "use crate::{\n    taller,\n};",
            "use super::high;",
            "fn f() -> crate::Tall { todo() }",
            "use crate::middle::{Mid, other};",
            "type T = crate::Mid;",
        ] {
            let files = [
                ("src/low.rs", text),
                ("src/middle/mod.rs", "pub use inner::Mid;\n"),
            ];
            assert_eq!(complaints(&files).len(), 1, "{text}");
        }
    }

    #[test]
    fn modules_of_one_layer_do_not_import_each_other() {
        let files = [("src/middle.rs", "use crate::beside;\n")];
        assert_eq!(complaints(&files).len(), 1);
    }

    #[test]
    fn comments_texts_macros_and_tests_are_no_imports() {
        let text = "// use crate::high;\n/// See [`Tall`](crate::Tall).\nconst T: &str = \"crate::high\";\n\
                    fn f() { crate::anything!() }\n#[cfg(test)]\nmod tests {\n    use crate::high;\n}\n";
        let files = [
            ("src/low.rs", text),
            ("src/middle/mod.rs", "#[cfg(test)]\nmod checks;\n"),
            ("src/middle/checks.rs", "use crate::high;\n"),
        ];
        assert_eq!(complaints(&files), Vec::<String>::new());
    }

    #[test]
    fn a_module_without_a_layer_and_an_exception_without_a_use_are_found() {
        let files = [("src/new.rs", "")];
        assert!(complaints(&files)[0].contains("the module new has no layer"));
        let with_exception = Crate {
            exceptions: &[("low", "high")],
            ..LAYERS
        };
        let root = ("src/lib.rs", "pub use high::Tall;\n");
        let used = [root, ("src/low.rs", "use crate::Tall;\n")];
        assert_eq!(
            complaints_with(&with_exception, &used),
            Vec::<String>::new()
        );
        let unused = [root, ("src/low.rs", "")];
        assert!(complaints_with(&with_exception, &unused)[0].contains("is not needed"));
    }
}
