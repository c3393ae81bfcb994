//! Runs a plan: its steps one after the other, and the plans inside them.

use mlx::ArrayType;
use mlx::cpu::{HostArray, MemoryPool};

use super::apply::{apply, reshape};
use super::plan::{Plan, Step, Work};

impl Plan {
    /// Runs the plan.
    ///
    /// # Errors
    /// When inputs have other types, or a step fails: the error names its operation.
    pub(super) fn run(
        &self,
        inputs: Vec<HostArray>,
        pool: &MemoryPool,
    ) -> Result<Vec<HostArray>, String> {
        check_types("inputs", self.input_types(), &inputs)?;
        let mut values: Vec<Option<HostArray>> = vec![None; self.n_values];
        for (value, array) in &self.constants {
            values[*value] = Some(array.clone());
        }
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = Some(input);
        }
        for step in &self.steps {
            let inputs = taken(step, &mut values)?;
            let outputs = step.run(inputs, pool)?;
            check_types(step.name(), &step.types, &outputs)?;
            for (value, output) in step.outputs.iter().zip(outputs) {
                match step.last.contains(value) {
                    true => pool.give_back(output),
                    false => values[*value] = Some(output),
                }
            }
        }
        let outputs = self.outputs.iter();
        outputs.map(|value| defined(&values, *value)).collect()
    }
}

fn defined(values: &[Option<HostArray>], value: usize) -> Result<HostArray, String> {
    let found = values.get(value).and_then(Option::clone);
    found.ok_or_else(|| "wanted a value that is defined, got none".to_owned())
}

/// The inputs of a step; those that are not needed any more without another owner.
fn taken(step: &Step, values: &mut [Option<HostArray>]) -> Result<Vec<HostArray>, String> {
    let mut inputs = Vec::with_capacity(step.inputs.len());
    for (place, &value) in step.inputs.iter().enumerate() {
        let is_last = step.last.contains(&value) && !step.inputs[place + 1..].contains(&value);
        inputs.push(match is_last {
            true => {
                let found = values.get_mut(value).and_then(Option::take);
                found.ok_or("wanted a value that is defined, got none")?
            }
            false => defined(values, value)?,
        });
    }
    Ok(inputs)
}

fn check_types(what: &str, wanted: &[ArrayType], got: &[HostArray]) -> Result<(), String> {
    let types = got.iter().map(HostArray::array_type);
    if types.clone().eq(wanted) {
        return Ok(());
    }
    let text = |types: &[String]| types.join(", ");
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let got: Vec<String> = types.map(ToString::to_string).collect();
    Err(format!(
        "{what}: wanted ({}), got ({})",
        text(&wanted),
        text(&got)
    ))
}

fn is_true(values: &[HostArray]) -> Result<bool, String> {
    let first = values.first().map(HostArray::to_bytes);
    let bytes = first.ok_or("wanted a condition, got none")?;
    Ok(bytes.iter().any(|&byte| byte != 0))
}

impl Step {
    fn name(&self) -> &str {
        match &self.work {
            Work::Op(op, _) => op.name(),
            Work::Cond(_) => "cond",
            Work::While { .. } => "while_loop",
            Work::Scan { .. } => "scan",
        }
    }

    fn run(&self, mut inputs: Vec<HostArray>, pool: &MemoryPool) -> Result<Vec<HostArray>, String> {
        match &self.work {
            Work::Op(op, is_checked) => apply(op, *is_checked, inputs, &self.types, pool)
                .map_err(|text| named(op.name(), text)),
            Work::Cond([then, otherwise]) => {
                let arguments = inputs.split_off(1.min(inputs.len()));
                let branch = if is_true(&inputs)? { then } else { otherwise };
                branch.run(arguments, pool)
            }
            Work::While {
                condition,
                body,
                n_state,
            } => {
                let captures = inputs.split_off((*n_state).min(inputs.len()));
                let mut state = inputs;
                loop {
                    let arguments = state.iter().chain(&captures).cloned().collect();
                    if !is_true(&condition.run(arguments, pool)?)? {
                        return Ok(state);
                    }
                    state.extend(captures.iter().cloned());
                    state = body.run(state, pool)?;
                }
            }
            Work::Scan {
                body,
                n_carry,
                n_sequences,
                length,
                reverse,
            } => {
                let mut sequences = inputs.split_off((*n_carry).min(inputs.len()));
                let captures = sequences.split_off((*n_sequences).min(sequences.len()));
                let scan = Scan {
                    body,
                    sequences,
                    captures,
                    types: &self.types,
                    pool,
                };
                let rows = 0..*length;
                match reverse {
                    true => scan.run(inputs, rows.rev()),
                    false => scan.run(inputs, rows),
                }
            }
        }
    }
}

/// An error with the operation's name, which a kernel may have said.
fn named(name: &str, text: String) -> String {
    match text.starts_with(&format!("{name}: ")) {
        true => text,
        false => format!("{name}: {text}"),
    }
}

/// A loop over the first axis of some arrays.
struct Scan<'a> {
    body: &'a Plan,
    sequences: Vec<HostArray>,
    captures: Vec<HostArray>,
    types: &'a [ArrayType],
    pool: &'a MemoryPool,
}

impl Scan<'_> {
    fn run(
        &self,
        mut carry: Vec<HostArray>,
        rows: impl DoubleEndedIterator<Item = usize>,
    ) -> Result<Vec<HostArray>, String> {
        let n_carry = carry.len();
        let mut stacked: Vec<HostArray> = Vec::new();
        for array_type in &self.types[n_carry..] {
            stacked.push(self.pool.array(array_type)?);
        }
        for row in rows {
            for sequence in &self.sequences {
                carry.push(element(sequence, row, self.pool)?);
            }
            carry.extend(self.captures.iter().cloned());
            let mut outputs = self.body.run(carry, self.pool)?;
            let made = outputs.split_off(n_carry.min(outputs.len()));
            for (stack, made) in stacked.iter_mut().zip(made) {
                stack
                    .set_row(row, &made)
                    .map_err(|error| error.to_string())?;
                self.pool.give_back(made);
            }
            carry = outputs;
        }
        carry.extend(stacked);
        Ok(carry)
    }
}

/// One element along the first axis, without it.
fn element(x: &HostArray, row: usize, pool: &MemoryPool) -> Result<HostArray, String> {
    let mut part = x.shape().to_vec();
    let first = part.first_mut().ok_or("wanted sequences, got a scalar")?;
    *first = 1;
    let mut start = vec![0; part.len()];
    start[0] = row;
    let cut = mlx::cpu::slice_at(x, &start, &part);
    let cut = cut.ok_or_else(|| format!("wanted a row {row}, got {}", x.array_type()))?;
    reshape(&cut, &part[1..], pool)
}
