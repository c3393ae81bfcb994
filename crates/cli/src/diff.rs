//! Two graphs side by side: where they differ first, and how often each operation occurs in both.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use mlx_compiler::{CompileOptions, Compiled, Graph, import_function};

use crate::arguments::DiffArguments;
use crate::output;

/// Pairs of lines that are compared at most: a gigabyte of numbers.
const MOST_PAIRS: usize = 1 << 28;

/// The most characters of a line that are shown.
const WIDTH: usize = 72;

/// Prints the comparison. The status is 1 when the graphs differ, as that of `diff`.
pub fn run(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let (left, right) = (read(&arguments.left)?, read(&arguments.right)?);
    let (texts_of_left, texts_of_right) = (left.to_string(), right.to_string());
    let (a, b): (Vec<&str>, Vec<&str>) = (
        texts_of_left.lines().collect(),
        texts_of_right.lines().collect(),
    );
    let n_first = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (rest_of_a, rest_of_b) = (&a[n_first..], &b[n_first..]);
    let n_last = rest_of_a.iter().rev().zip(rest_of_b.iter().rev());
    let n_last = n_last.take_while(|(a, b)| a == b).count();
    let (middle_of_a, middle_of_b) = (
        &rest_of_a[..rest_of_a.len() - n_last],
        &rest_of_b[..rest_of_b.len() - n_last],
    );
    if middle_of_a.len().saturating_mul(middle_of_b.len()) > MOST_PAIRS {
        let (a, b) = (middle_of_a.len(), middle_of_b.len());
        bail!("diff: wanted at most {MOST_PAIRS} pairs of lines that differ, got {a} x {b}");
    }
    let both = |lines: &[&str]| -> Vec<String> {
        let lines = lines.iter().map(|line| text_of(&(Some(line), Some(line))));
        lines.collect()
    };
    for line in both(&a[..n_first]) {
        output::line(format_args!("{line}"));
    }
    for row in align(middle_of_a, middle_of_b) {
        output::line(format_args!("{}", text_of(&row)));
    }
    for line in both(&rest_of_a[rest_of_a.len() - n_last..]) {
        output::line(format_args!("{line}"));
    }
    let first = a.iter().zip(&b).position(|(a, b)| a != b);
    let first = first.or((a.len() != b.len()).then_some(a.len().min(b.len())));
    match first {
        None => output::line(format_args!(
            "\nthe graphs are the same; values of constants are not compared"
        )),
        Some(line) => output::line(format_args!("\nthey differ first in line {}", line + 1)),
    }
    print_counts(&left, &right);
    Ok(ExitCode::from(u8::from(first.is_some())))
}

/// Reads a graph: its text, a saved function, or the first function of a file of MLX's.
fn read(path: &Path) -> anyhow::Result<Graph> {
    let is = |extension: &str| path.extension().is_some_and(|own| own == extension);
    if is("mlxfn") {
        let function = import_function(path)?;
        let graph = function.graphs().next().cloned();
        return graph.with_context(|| format!("{}: wanted a function, got none", path.display()));
    }
    if is("safetensors") {
        let function = Compiled::open(path, &CompileOptions::default())?;
        return Ok(function.lowered().optimized().clone());
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.parse().with_context(|| path.display().to_string())
}

/// A line of one graph or of both.
type Row<'a> = (Option<&'a str>, Option<&'a str>);

/// A line without the numbers of its values, by which lines of both graphs are matched.
fn key(line: &str) -> String {
    let mut key = String::new();
    let mut is_number = false;
    for c in line.chars() {
        is_number = c == '%' || (is_number && c.is_ascii_digit());
        if !is_number || c == '%' {
            key.push(c);
        }
    }
    key
}

/// Puts lines beside each other that are alike: the longest sequence of them that both graphs have in order.
fn align<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Row<'a>> {
    let keys = |lines: &[&str]| lines.iter().map(|line| key(line)).collect::<Vec<_>>();
    let (keys_a, keys_b) = (keys(a), keys(b));
    // How many lines are alike from these on.
    let width = b.len() + 1;
    let mut alike = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            alike[i * width + j] = if keys_a[i] == keys_b[j] {
                alike[(i + 1) * width + j + 1] + 1
            } else {
                alike[(i + 1) * width + j].max(alike[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut rows = Vec::new();
    while i < a.len() || j < b.len() {
        let is_match = i < a.len() && j < b.len() && keys_a[i] == keys_b[j];
        let from_a =
            j == b.len() || (i < a.len() && alike[(i + 1) * width + j] >= alike[i * width + j + 1]);
        if is_match {
            rows.push((Some(a[i]), Some(b[j])));
        } else if from_a {
            rows.push((Some(a[i]), None));
        } else {
            rows.push((None, Some(b[j])));
        }
        i += usize::from(is_match || from_a);
        j += usize::from(is_match || !from_a);
    }
    rows
}

fn text_of((a, b): &Row<'_>) -> String {
    let sign = match (a, b) {
        (Some(a), Some(b)) if a == b => ' ',
        // The same but for the numbers of values.
        (Some(_), Some(_)) => '~',
        (Some(_), None) => '<',
        _ => '>',
    };
    let short = |line: &Option<&str>| -> String {
        let line = line.unwrap_or_default();
        match line.chars().count() > WIDTH {
            true => line.chars().take(WIDTH - 1).chain(['…']).collect(),
            false => line.to_owned(),
        }
    };
    let row = format!("{:WIDTH$} {sign} {}", short(a), short(b));
    row.trim_end().to_owned()
}

fn print_counts(left: &Graph, right: &Graph) {
    let (left, right) = (left.op_frequencies(), right.op_frequencies());
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    output::line(format_args!(
        "\n{:32} {:>6} {:>6}",
        "operation", "left", "right"
    ));
    for name in names {
        let count = |counts: &std::collections::BTreeMap<String, usize>| {
            counts.get(name).copied().unwrap_or(0)
        };
        let (left, right) = (count(&left), count(&right));
        let sign = if left == right { "" } else { "  <>" };
        output::line(format_args!("{name:32} {left:>6} {right:>6}{sign}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_alike_stand_beside_each_other() {
        let a = ["%0 = exp x", "%1 = add %0, x", "return %1"];
        let b = ["%0 = sin x", "%1 = exp x", "%2 = add %1, x", "return %2"];
        let rows = align(&a, &b);
        let signs: Vec<char> = rows
            .iter()
            .map(|row| text_of(row).chars().nth(WIDTH + 1).unwrap_or(' '))
            .collect();
        assert_eq!(signs, ['>', '~', '~', '~']);
        assert_eq!(rows[1], (Some(a[0]), Some(b[1])));
    }
}
