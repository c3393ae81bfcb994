//! The sweep: 129 operations a user calls at ordinary sizes, small calls, growth with size, and training, against PyTorch.

mod calls;
mod dtypes;
mod float32;
mod growth;
mod training;

use serde_json::json;

use super::{Benchmark, Cost, Group, Target, by};
use crate::harness::check::Check;
use crate::harness::inputs::{Draw, Input};

/// The rival of every row here.
pub const PYTORCH: &str = "pytorch";
/// The element types of the rows that are measured in each of them, `float32` first.
const DTYPES: [&str; 3] = ["float32", "bfloat16", "float16"];
const NORMAL: Draw = Draw::Normal(1.0);

/// Returns every row: `sweep/<name>/<dtype>/cpu`, `growth/<name>/<size>/cpu` and `training/<name>/float32/cpu`.
pub(super) fn rows() -> Vec<Benchmark> {
    let mut rows = dtypes::rows();
    rows.extend(float32::rows());
    rows.extend(calls::rows());
    rows.extend(growth::rows());
    rows.extend(training::rows());
    rows
}

/// How near the results of both must be to each other.
#[derive(Clone, Copy)]
enum Agreement {
    /// Nothing is rounded: elements are moved, ordered or compared.
    Same,
    /// Each element is rounded a few times.
    Rounded,
    /// Each element is a sum of up to four million numbers around zero, added in `float32` in another order.
    Summed,
    /// Each element is a sum of some thousand products, added in `float32` in another order.
    Products,
    /// Relative and absolute.
    Within(f32, f32),
    /// The results may differ, for this reason.
    Free(&'static str),
}

impl Agreement {
    /// Returns the check. One unit of the last place is 0.8 percent of a `bfloat16` and 0.1 percent of a `float16`.
    fn check(self, dtype: &str) -> Check {
        let of_dtype = |float32, bfloat16, float16| {
            let (relative, absolute) = match dtype {
                "bfloat16" => bfloat16,
                "float16" => float16,
                _ => float32,
            };
            Check::close(relative, absolute)
        };
        match self {
            Agreement::Same => Check::close(0.0, 0.0),
            Agreement::Rounded => of_dtype((1e-4, 1e-5), (0.02, 0.01), (4e-3, 2e-3)),
            Agreement::Summed => of_dtype((1e-3, 0.05), (0.02, 0.1), (4e-3, 0.1)),
            Agreement::Products => of_dtype((1e-3, 2e-3), (0.02, 0.2), (5e-3, 0.1)),
            Agreement::Within(relative, absolute) => Check::close(relative, absolute),
            Agreement::Free(_) => Check::Unchecked,
        }
    }
}

/// A row before it has its element type.
struct Operation {
    /// As both runners know it.
    name: &'static str,
    inputs: Vec<Input>,
    /// The shape of the result.
    result: Vec<usize>,
    agreement: Agreement,
    /// Floating-point operations of products of matrices.
    flops: f64,
}

/// Returns an operation that multiplies no matrices.
fn operation(
    name: &'static str,
    inputs: &[&[usize]],
    result: &[usize],
    agreement: Agreement,
) -> Operation {
    let inputs = inputs.iter().map(|shape| Input::new(shape, NORMAL));
    Operation {
        name,
        inputs: inputs.collect(),
        result: result.to_vec(),
        agreement,
        flops: 0.0,
    }
}

/// Returns an operation whose elements are sums of `depth` products each.
fn products(name: &'static str, inputs: &[&[usize]], result: &[usize], depth: usize) -> Operation {
    let flops = 2.0 * (result.iter().product::<usize>() * depth) as f64;
    Operation {
        flops,
        ..operation(name, inputs, result, Agreement::Products)
    }
}

impl Operation {
    /// Draws the input at this place otherwise.
    fn draw(mut self, place: usize, draw: Draw) -> Self {
        if let Some(input) = self.inputs.get_mut(place) {
            input.draw = draw;
        }
        self
    }

    /// Has the results agree otherwise.
    fn agree(self, agreement: Agreement) -> Self {
        Self { agreement, ..self }
    }

    /// Returns the row of the sweep with this element type.
    fn row(&self, dtype: &'static str, group: Group) -> Benchmark {
        let shape = self.inputs.first().map_or(&self.result, |one| &one.shape);
        let is_target = group == Group::Operations;
        let target = Target {
            against: Some(PYTORCH),
            ..Target::ratio(1.5)
        };
        Benchmark {
            id: format!("sweep/{}/{dtype}/cpu", self.name),
            op: "sweep",
            shape: by(shape),
            dtype,
            group,
            params: json!({"name": self.name, "dtype": dtype}),
            inputs: self.inputs.clone(),
            check: self.agreement.check(dtype),
            cost: self.cost(dtype),
            target: if is_target { target } else { Target::default() },
            rivals: &[PYTORCH],
            forms: &[],
            left_out: &[],
            quick: true,
            note: match self.agreement {
                Agreement::Free(why) => why,
                _ => "",
            },
        }
    }

    fn cost(&self, dtype: &str) -> Cost {
        let size = if dtype == "float32" { 4.0 } else { 2.0 };
        let bytes = |input: &Input| {
            let count = input.shape.iter().product::<usize>() as f64;
            match input.draw {
                Draw::Whole(..) => 4.0 * count,
                _ => size * count,
            }
        };
        Cost {
            read: self.inputs.iter().map(bytes).sum(),
            written: size * self.result.iter().product::<usize>() as f64,
            flops: self.flops,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweep_has_129_rows_with_a_target() {
        let rows = rows();
        let operations = rows.iter().filter(|row| row.group == Group::Operations);
        let targets: Vec<_> = operations.map(|row| row.target.ratio).collect();
        assert_eq!(targets, [Some(1.5); 129]);
    }

    #[test]
    fn a_row_whose_values_are_not_compared_says_why() {
        for row in rows() {
            assert_eq!(
                row.check == Check::Unchecked,
                !row.note.is_empty(),
                "{}",
                row.id
            );
        }
    }
}
