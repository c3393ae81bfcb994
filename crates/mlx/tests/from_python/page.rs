//! The page `docs/from-python.md`: the pairs of snippets of the tests, and the table of names.

use std::collections::BTreeMap;
use std::fmt::Write;

use mlx::Op;
use mlx_testdata::needs;

/// Returns the pairs of snippets in this file: what each test is called, its Python and its Rust.
fn pairs() -> Vec<(String, String, String)> {
    let mut pairs = Vec::new();
    for test in include_str!("../from_python.rs")
        .split("#[test]\nfn ")
        .skip(1)
    {
        let name = test.split('(').next().unwrap_or_default().replace('_', " ");
        let (mut python, mut rust, mut is_rust) = (String::new(), String::new(), false);
        for line in test.lines() {
            match line.trim().strip_prefix("// python: ") {
                Some(line) => {
                    let _ = writeln!(python, "{line}");
                    is_rust = true;
                }
                None if line.trim() == "// end" => break,
                None if is_rust => {
                    let _ = writeln!(rust, "{}", line.strip_prefix("    ").unwrap_or(line));
                }
                None => {}
            }
        }
        if !python.is_empty() {
            pairs.push((name, python, rust));
        }
    }
    pairs
}

/// Returns what a name of Python MLX is here, of an operation of the table.
fn spelled(name: &str, sources: &str) -> String {
    let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
    let path = match module {
        "" => "mlx".to_owned(),
        module => format!("mlx::{module}"),
    };
    let is_function =
        sources.contains(&format!("\npub fn {function}")) || is_listed(function, sources);
    let is_method = sources.contains(&format!("    pub fn {function}"));
    match (module, is_function, is_method) {
        ("", true, true) => format!("`mlx::{function}`, `x.{function}`"),
        (_, false, true) => format!("`x.{function}`"),
        _ => format!("`{path}::{function}`"),
    }
}

/// Returns whether a name is in one of the lists of functions that are made by a macro.
fn is_listed(function: &str, sources: &str) -> bool {
    let words = |line: &str| line.split([' ', '(']).any(|word| word == function);
    let listed =
        |line: &str| line.starts_with("    ") && !line.contains("fn ") && words(line.trim());
    sources.lines().any(listed)
}

fn page() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let read = |file: &str| std::fs::read_to_string(format!("{root}{file}")).unwrap_or_default();
    let functions = read("ops/functions.rs") + &read("index/functions.rs");
    let families = [
        "binary",
        "conv",
        "create",
        "dtypes",
        "join",
        "pad",
        "product",
        "quantized",
        "reduce",
        "scan",
        "shape",
        "sort",
        "unary",
    ];
    let methods: String = families
        .iter()
        .map(|family| read(&format!("ops/{family}.rs")))
        .collect();
    let sources = functions + &methods + &read("index/take.rs") + &read("index/read.rs");
    let mut names: BTreeMap<String, String> = Op::NAMES
        .iter()
        .filter(|name| !INTERNAL.contains(name))
        .map(|name| ((*name).to_owned(), spelled(name, &sources)))
        .collect();
    for line in include_str!("names.txt").lines() {
        if let Some((name, rust)) = line.split_once('\t') {
            names.insert(name.to_owned(), rust.to_owned());
        }
    }
    let mut page = INTRODUCTION.to_owned();
    for (name, python, rust) in pairs() {
        let _ = write!(page, "\n### {}{}\n", name[..1].to_uppercase(), &name[1..]);
        let _ = write!(
            page,
            "\n```python\n{python}```\n\n```rust,ignore\n{rust}```\n"
        );
    }
    page += "\n## Name by name\n\n| Python MLX | Rust |\n| --- | --- |\n";
    for (name, rust) in names {
        let _ = writeln!(page, "| `mx.{name}` | {rust} |");
    }
    page += "\n## Layers, losses and optimizers\n\n| Python MLX | Rust |\n| --- | --- |\n";
    for line in include_str!("names_nn.txt").lines() {
        if let Some((name, rust)) = line.split_once('\t') {
            let _ = writeln!(page, "| `{name}` | {rust} |");
        }
    }
    page
}

/// Operations that are forms of others under names that Python does not have.
const INTERNAL: [&str; 24] = [
    "conv_general",
    "fast.gelu",
    "fast.gelu_approx",
    "fast.linear",
    "fast.silu",
    "fast.swiglu",
    "gather",
    "linalg.norm_l2",
    "linalg.norm_matrix",
    "masked_scatter",
    "number_of_elements",
    "scatter",
    "scatter_add",
    "scatter_add_axis",
    "scatter_max",
    "scatter_min",
    "scatter_prod",
    "slice_dynamic",
    "slice_update_add",
    "slice_update_dynamic",
    "slice_update_max",
    "slice_update_min",
    "slice_update_prod",
    "split_sections",
];

const INTRODUCTION: &str = "# From Python MLX to Rust

What this page is for: you know `mlx.core`, `mlx.nn` and `mlx.optimizers` in Python and want to know how the same is written here.
It is generated: `MLX_GOLDEN=write cargo test -p mlx --test from_python`. Each Rust snippet is a test.

- Functions are in the crate's root under Python's names, and are methods of `Array` too: `mlx::softmax(&x, -1)`, `x.softmax(-1)`.
- Rust has no default arguments: the short form has Python's defaults, and the form that ends in `_with` takes options.
- Axes are a number, a list, a tuple, or `()` or `None` for all; `keepdims(-1)` keeps them. Sizes and positions are of any integer type.
- Bare decimals are `float32`, also in variables of type `f64`. On the left of an operator a number is `f32` or `i32`: write `&x * v` for a variable of another type.
- Arrays are taken by reference (`&x`). Operations never fail; what reads a value or a shape returns a `Result`.
- What is made from a function (`grad`, `vmap`, `jit`) is called as one, `grad(f)(&x, &y)?`, or by `.call((&x, &y))?`, whose errors name the line of the call; closures write the types of their arguments.

## Side by side
";

#[test]
fn the_page_is_as_generated() {
    needs!(Sources);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/from-python.md");
    let page = page();
    if std::env::var("MLX_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/from-python.md is not as generated: see its second paragraph"
    );
    assert!(pairs().len() >= 30);
}
