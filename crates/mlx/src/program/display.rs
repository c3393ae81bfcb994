//! A program as text, to be read by people.

use std::fmt;

use super::{Elementwise, InstructionKind, Operand, Place, Program, View};
use crate::shape::row_major_strides;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_inputs = self.inputs.len() - self.n_constants;
        f.write_str("program(")?;
        for (index, array_type) in self.inputs.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match index.checked_sub(n_inputs) {
                None => write!(f, "{comma}in{index}: {array_type}")?,
                Some(constant) => write!(f, "{comma}const{constant}: {array_type}")?,
            }
        }
        writeln!(f, ") {{")?;
        let mut is_defined = vec![false; self.buffers.len()];
        for instruction in &self.instructions {
            f.write_str("  ")?;
            for (number, write) in instruction.writes.iter().enumerate() {
                if number > 0 {
                    f.write_str(", ")?;
                }
                f.write_str(&self.name(write.buffer))?;
                if !std::mem::replace(&mut is_defined[write.buffer], true) {
                    self.define(write.buffer, f)?;
                }
            }
            write!(f, " = {}", instruction.kind)?;
            for (number, read) in instruction.reads.iter().enumerate() {
                f.write_str(if number > 0 { ", " } else { " " })?;
                self.view(read, f)?;
            }
            writeln!(f)?;
        }
        let outputs: Vec<String> = (0..self.outputs.len()).map(|i| format!("out{i}")).collect();
        writeln!(f, "  return {}", outputs.join(", "))?;
        writeln!(f, "}} with {} bytes of scratch", self.scratch_bytes)
    }
}

impl Program {
    /// `in0`, `const0`, `tmp5`, `out1`: temporary buffers by their number among all.
    fn name(&self, buffer: usize) -> String {
        let n_inputs = self.inputs.len() - self.n_constants;
        match self.buffers[buffer].place {
            Place::Input(index) => match index.checked_sub(n_inputs) {
                None => format!("in{index}"),
                Some(constant) => format!("const{constant}"),
            },
            Place::Output { index, .. } => format!("out{index}"),
            Place::Scratch(_) => format!("tmp{}", buffer - self.inputs.len()),
        }
    }

    /// The type of a buffer that an instruction fills for the first time, and where it is.
    fn define(&self, buffer: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let defined = &self.buffers[buffer];
        write!(f, ": {}", defined.array_type)?;
        match defined.place {
            Place::Scratch(offset) => write!(f, " @{offset}"),
            Place::Output {
                donated: Some(input),
                ..
            } => write!(f, " in place of in{input}"),
            Place::Output { .. } | Place::Input(_) => Ok(()),
        }
    }

    /// A buffer, and how it is seen where that is not the whole of it.
    fn view(&self, view: &View, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name(view.buffer))?;
        let whole = &self.buffers[view.buffer].array_type;
        let strides = row_major_strides(&view.array_type.shape);
        if view.array_type == *whole && view.offset == 0 && view.strides == strides {
            return Ok(());
        }
        write!(f, "[{}", view.array_type)?;
        if view.strides != strides {
            write!(f, " strides={:?}", view.strides)?;
        }
        if view.offset > 0 {
            write!(f, " offset={}", view.offset)?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for InstructionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => op.fmt(f),
            Self::Elementwise(elementwise) => elementwise.fmt(f),
            Self::Copy => f.write_str("copy"),
            Self::Update(update) => update.fmt(f),
        }
    }
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elementwise {")?;
        for (number, step) in self.steps.iter().enumerate() {
            let operands: Vec<String> = step.operands.iter().map(ToString::to_string).collect();
            write!(f, " %{number} = {} {};", step.op, operands.join(", "))?;
        }
        let outputs: Vec<String> = self.outputs.iter().map(ToString::to_string).collect();
        write!(f, " {} }}", outputs.join(", "))
    }
}

/// `a` is the first input, `b` the second and so on, as far as there are letters.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(input) => match u8::try_from(*input) {
                Ok(input @ 0..26) => write!(f, "{}", char::from(b'a' + input)),
                _ => write!(f, "input{input}"),
            },
            Self::Number(number, _) => write!(f, "{number:?}"),
            Self::Step(step) => write!(f, "%{step}"),
        }
    }
}
