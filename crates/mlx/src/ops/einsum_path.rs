//! In which order an Einstein sum contracts its operands: the greedy order of `opt_einsum`, as MLX takes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Array, ArrayList, Error, Result};

const OP: &str = "einsum_path";

type Letters = BTreeSet<char>;
type Sizes = BTreeMap<char, u128>;

/// Returns the positions of the operands that each step of [`einsum`](crate::einsum()) contracts, whose result goes to the
/// end of the list, and a text about the costs.
///
/// The order is greedy: of the pairs that share a subscript, the one that frees the most elements, and of those the
/// cheapest.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (a, b, c) = (mlx::ones((10, 3)), mlx::ones((3, 20)), mlx::ones((20, 2)));
/// let (path, text) = mlx::einsum_path("ij,jk,kl", [&a, &b, &c])?;
/// assert_eq!(path, [[1, 2], [0, 1]]);
/// assert!(text.contains("Optimized FLOP count:  360"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the subscripts do not fit the operands.
#[track_caller]
pub fn einsum_path(
    subscripts: &str,
    operands: impl ArrayList,
) -> Result<(Vec<Vec<usize>>, String)> {
    let operands = operands.into_arrays();
    let shapes: Result<Vec<Vec<i32>>> = operands.iter().map(Array::shape).collect();
    let wrong = |message: String| Error::op(OP, message);
    let terms = Terms::of(subscripts, &shapes?).map_err(wrong)?;
    let naive = (terms.naive_cost(), terms.all().len());
    let naive_order = || (0..terms.inputs.len()).collect();
    let (path, optimized) = match terms.inputs.len() {
        ..3 => (vec![naive_order()], naive),
        _ => terms.greedy(naive.0),
    };
    let text = format!(
        "  Complete contraction:  {subscripts}\n         Naive scaling:  {}\n     Optimized scaling:  {}\n      Naive FLOP count:  {}\n  Optimized FLOP count:  {}\n",
        naive.1, optimized.1, naive.0, optimized.0
    );
    Ok((path, text))
}

/// The subscripts of operands and output with their sizes.
struct Terms {
    inputs: Vec<Letters>,
    output: Letters,
    sizes: Sizes,
    /// The most elements that an operand or the output has.
    largest: u128,
}

impl Terms {
    fn of(subscripts: &str, shapes: &[Vec<i32>]) -> std::result::Result<Self, String> {
        let text: String = subscripts.chars().filter(|c| *c != ' ').collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, right.to_owned()),
            None => (text.as_str(), implicit_output(&text)),
        };
        let inputs: Vec<&str> = left.split(',').collect();
        if inputs.len() != shapes.len() {
            let (wanted, got) = (inputs.len(), shapes.len());
            return Err(format!(
                "wanted {wanted} operands for {subscripts:?}, got {got}"
            ));
        }
        let unused: Vec<char> = ('a'..='z')
            .chain('A'..='Z')
            .filter(|c| !text.contains(*c))
            .collect();
        let mut longest = 0;
        let mut spelled = Vec::new();
        for (index, (input, shape)) in inputs.iter().zip(shapes).enumerate() {
            let n_hidden = shape.len().saturating_sub(letters_of(input)?);
            let input = expanded(input, n_hidden, &unused)?;
            if input.chars().count() != shape.len() {
                return Err(format!(
                    "the subscripts {:?} of input {index} must have a letter for each of {} axes",
                    inputs[index],
                    shape.len()
                ));
            }
            if inputs[index].contains("...") {
                longest = longest.max(n_hidden);
            }
            spelled.push(input);
        }
        let right = expanded(&right, longest, &unused)?;
        let output: Letters = right.chars().collect();
        if output.len() != right.chars().count() {
            return Err(format!(
                "wanted each letter of the output once, got {right:?}"
            ));
        }
        let sizes = sizes_of(&spelled, shapes)?;
        if let Some(letter) = output.iter().find(|letter| !sizes.contains_key(letter)) {
            return Err(format!("the output has {letter:?}, which no operand has"));
        }
        let elements = |term: &str| term.chars().map(|c| sizes[&c]).product::<u128>();
        let largest = spelled.iter().map(|term| elements(term)).max();
        Ok(Self {
            largest: largest.unwrap_or(1).max(elements(&right)),
            inputs: spelled.iter().map(|term| term.chars().collect()).collect(),
            output,
            sizes,
        })
    }

    fn all(&self) -> Letters {
        self.inputs.iter().flatten().copied().collect()
    }

    fn elements(&self, letters: &Letters) -> u128 {
        letters.iter().map(|c| self.sizes[c]).product()
    }

    /// Returns the operations of a product of `n` terms over these letters, of which some are summed or not.
    fn cost(&self, letters: &Letters, is_summed: bool, n: usize) -> u128 {
        let per_element = n.saturating_sub(1).max(1) + usize::from(is_summed);
        self.elements(letters) * per_element as u128
    }

    fn naive_cost(&self) -> u128 {
        let all = self.all();
        let is_summed = all.iter().any(|letter| !self.output.contains(letter));
        self.cost(&all, is_summed, self.inputs.len())
    }

    /// Returns the steps of the greedy order, and their cost and the most letters of one.
    fn greedy(mut self, most_cost: u128) -> (Vec<Vec<usize>>, (u128, usize)) {
        let (mut path, mut cost, mut scaling) = (Vec::new(), 0, 0);
        let mut candidates: Vec<Pair> = Vec::new();
        let n = self.inputs.len();
        let mut new: Vec<(usize, usize)> = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .collect();
        for _ in 1..n {
            let shares = |&&(i, j): &&(usize, usize)| !self.inputs[i].is_disjoint(&self.inputs[j]);
            let fits = |pair: &&(usize, usize)| self.pair(**pair, most_cost - cost);
            let found: Vec<Pair> = new
                .iter()
                .filter(shares)
                .filter_map(|pair| fits(&pair))
                .collect();
            candidates.extend(found);
            if candidates.is_empty() {
                candidates = new.iter().filter_map(|pair| fits(&pair)).collect();
            }
            // The first of the best ones.
            let best = candidates
                .iter()
                .min_by_key(|pair| (-pair.freed, pair.cost))
                .cloned();
            let Some(best) = best else {
                let all = self.all();
                path.push((0..self.inputs.len()).collect());
                cost += self.naive_cost();
                scaling = scaling.max(all.len());
                break;
            };
            let (i, j) = best.at;
            path.push(vec![i, j]);
            cost += best.cost;
            scaling = scaling.max(best.n_letters);
            self.inputs.remove(j);
            self.inputs.remove(i);
            self.inputs.push(best.result);
            candidates.retain(|pair| ![pair.at.0, pair.at.1].iter().any(|k| [i, j].contains(k)));
            let moved = |k: usize| k - usize::from(k > i) - usize::from(k > j);
            for pair in &mut candidates {
                pair.at = (moved(pair.at.0), moved(pair.at.1));
            }
            let last = self.inputs.len() - 1;
            new = (0..last).map(|k| (k, last)).collect();
        }
        (path, (cost, scaling))
    }

    /// Returns what contracting two terms costs; none when that is too much, or the result too large.
    fn pair(&self, at: (usize, usize), most_cost: u128) -> Option<Pair> {
        let (left, right) = (&self.inputs[at.0], &self.inputs[at.1]);
        let letters: Letters = left.union(right).copied().collect();
        let others = self.inputs.iter().enumerate();
        let others = others.filter(|(k, _)| *k != at.0 && *k != at.1);
        let wanted = others.map(|(_, term)| term).chain([&self.output]);
        let result: Letters = wanted
            .flatten()
            .filter(|letter| letters.contains(letter))
            .copied()
            .collect();
        let size = self.elements(&result);
        let cost = self.cost(&letters, letters.len() > result.len(), 2);
        if size > self.largest || cost > most_cost {
            return None;
        }
        let signed = |n: u128| i128::try_from(n).unwrap_or(i128::MAX);
        let freed = signed(self.elements(left) + self.elements(right)) - signed(size);
        Some(Pair {
            at,
            freed,
            cost,
            n_letters: letters.len(),
            result,
        })
    }
}

/// Two terms that can be contracted.
#[derive(Clone)]
struct Pair {
    at: (usize, usize),
    /// How many elements fewer there are afterwards.
    freed: i128,
    cost: u128,
    n_letters: usize,
    result: Letters,
}

/// Returns the letters that are there once, in order, behind those of an ellipsis.
fn implicit_output(text: &str) -> String {
    let dots = if text.contains("...") { "..." } else { "" };
    let letters: Letters = text.chars().filter(char::is_ascii_alphabetic).collect();
    let once = letters
        .into_iter()
        .filter(|c| text.matches(*c).count() == 1);
    dots.chars().chain(once).collect()
}

/// Returns the number of letters of a term, which may have one ellipsis.
fn letters_of(term: &str) -> std::result::Result<usize, String> {
    let plain = term.replacen("...", "", 1);
    match plain.chars().find(|c| !c.is_ascii_alphabetic()) {
        None => Ok(plain.len()),
        Some(other) => Err(format!(
            "subscripts must be letters with at most one ellipsis, got {other:?} in {term:?}"
        )),
    }
}

/// Returns a term with letters that are not used in the place of its ellipsis.
fn expanded(term: &str, n: usize, unused: &[char]) -> std::result::Result<String, String> {
    letters_of(term)?;
    if !term.contains("...") {
        return Ok(term.to_owned());
    }
    let Some(from) = unused.len().checked_sub(n) else {
        return Err(format!(
            "wanted at most {} axes for an ellipsis, got {n}",
            unused.len()
        ));
    };
    Ok(term.replacen("...", &unused[from..].iter().collect::<String>(), 1))
}

fn sizes_of(terms: &[String], shapes: &[Vec<i32>]) -> std::result::Result<Sizes, String> {
    let mut sizes = Sizes::new();
    for (index, (term, shape)) in terms.iter().zip(shapes).enumerate() {
        let mut own = Sizes::new();
        for (letter, &size) in term.chars().zip(shape) {
            let size = u128::try_from(size).unwrap_or(0);
            if *own.entry(letter).or_insert(size) != size {
                return Err(format!(
                    "input {index} must have one size for {letter:?}, got {shape:?}"
                ));
            }
            let known = sizes.entry(letter).or_insert(size);
            if *known != size && *known != 1 && size != 1 {
                return Err(format!(
                    "the size of {letter:?} in input {index} must be {known}, got {size}"
                ));
            }
            *known = size.max(*known);
        }
    }
    Ok(sizes)
}
