//! Einstein summation: letters name axes, those that are not in the result are summed over.

use std::collections::BTreeMap;

use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, promote};
use crate::tensor::{Tensor, coordinates, count};

/// Computes a product of several tensors, summed over the letters that are not in the result.
///
/// An ellipsis represents the leading axes that have no letter.
pub(crate) fn einsum(call: &Call<'_>, subscripts: &str) -> Result<Vec<Tensor>> {
    let letters = Letters::parse(subscripts, call.inputs);
    let sizes = sizes_of(call, &letters.operands, subscripts)?;
    let summed: Vec<char> = sizes
        .keys()
        .copied()
        .filter(|letter| !letters.output.contains(letter))
        .collect();
    let dtype = call
        .inputs
        .iter()
        .map(|x| x.dtype())
        .reduce(promote)
        .unwrap_or(mlx::Dtype::Float32);
    let inputs: Vec<Tensor> = call
        .inputs
        .iter()
        .map(|x| x.astype(dtype, call.rounding))
        .collect();
    let all: Vec<char> = letters.output.iter().chain(&summed).copied().collect();
    let shape_of = |letters: &[char]| -> Vec<usize> {
        let sizes = letters.iter().map(|l| sizes.get(l).copied());
        sizes.map(|size| size.unwrap_or(1)).collect()
    };
    let (outer, inner) = (shape_of(&letters.output), shape_of(&summed));
    let terms = count(&inner)?;
    count(&shape_of(&all))?;
    let term = |at: &[usize]| {
        let factors = letters
            .operands
            .iter()
            .zip(&inputs)
            .map(|(letters, input)| input.at(flat_index(letters, input.shape(), &all, at)));
        factors.reduce(Number::multiply).unwrap_or(Number::Int(1))
    };
    let of = |k: usize| {
        let mut at = coordinates(k, &outer);
        let lead = at.len();
        let sum = (0..terms).map(|t| {
            at.truncate(lead);
            at.extend(coordinates(t, &inner));
            term(&at)
        });
        sum.reduce(Number::add).unwrap_or(Number::zero(dtype))
    };
    call.one((0..count(&outer)?).map(of).collect())
}

/// The letters of each operand and of the result, with some in place of an ellipsis.
struct Letters {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

impl Letters {
    fn parse(subscripts: &str, inputs: &[&Tensor]) -> Self {
        let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, right.to_owned()),
            None => (text.as_str(), implied(&text)),
        };
        let leading: Vec<(&str, usize)> = left
            .split(',')
            .zip(inputs)
            .map(|(letters, x)| {
                let n_leading = (x.ndim() + 3).saturating_sub(letters.chars().count());
                (letters, n_leading)
            })
            .collect();
        let max_leading = leading
            .iter()
            .filter(|(letters, _)| letters.contains("..."))
            .map(|(_, n)| *n)
            .max();
        Self {
            operands: leading
                .iter()
                .map(|(letters, n)| spelled(letters, *n))
                .collect(),
            output: spelled(&right, max_leading.unwrap_or(0)),
        }
    }
}

/// The size of each letter's axis; one of size 1 is broadcast.
fn sizes_of(
    call: &Call<'_>,
    operands: &[Vec<char>],
    subscripts: &str,
) -> Result<BTreeMap<char, usize>> {
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (letters, input) in operands.iter().zip(call.inputs) {
        if letters.len() != input.ndim() {
            return Err(call.error(format!("wanted a letter for each axis, got {subscripts:?}")));
        }
        for (&letter, &size) in letters.iter().zip(input.shape()) {
            let known = sizes.entry(letter).or_insert(size);
            if *known == 1 {
                *known = size;
            }
        }
    }
    Ok(sizes)
}

/// The row-major index of an operand's element, where the letters `all` have the indices `at`.
fn flat_index(letters: &[char], shape: &[usize], all: &[char], at: &[usize]) -> usize {
    letters
        .iter()
        .zip(shape)
        .fold(0, |flat_index, (letter, &size)| {
            let k = all
                .iter()
                .position(|l| l == letter)
                .and_then(|k| at.get(k))
                .copied()
                .unwrap_or(0);
            flat_index * size + if size == 1 { 0 } else { k }
        })
}

/// Without an arrow, the letters that occur once, in alphabetical order.
fn implied(left: &str) -> String {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for letter in left.chars().filter(|c| *c != ',') {
        *counts.entry(letter).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .filter(|(_, n)| *n == 1)
        .map(|(letter, _)| letter)
        .collect()
}

/// Letters that no subscripts have, in place of an ellipsis; the last axes are common to all.
const LEADING: [char; 6] = ['\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{5}', '\u{6}'];

fn spelled(letters: &str, n_leading: usize) -> Vec<char> {
    let n = n_leading.min(LEADING.len());
    let leading: String = LEADING[LEADING.len() - n..].iter().collect();
    letters.replace("...", &leading).chars().collect()
}
