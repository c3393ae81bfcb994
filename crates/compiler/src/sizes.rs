//! What a function that holds for all sizes runs for some of them: its graph as it would have been traced for these, kept by size.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use mlx::compiler_api::{TracedArray, type_of};
use mlx::{Array, ArrayType};

use crate::Result;
use crate::execute::Executor;
use crate::graph::Graph;
use crate::trace::record;

/// Returns the graph as it would have been traced for inputs of these types, without the function that it was traced from.
///
/// The graph must contain no size: its operations are applied again, and give the types of what they compute.
///
/// # Errors
/// When an operation refuses these sizes, as it does eagerly.
pub(crate) fn retyped(graph: &Graph, types: &[ArrayType]) -> Result<Graph> {
    let executor = Executor::new(graph.clone())?;
    let recorded = record(graph.name(), types, |inputs| {
        let inputs: Vec<&Array> = inputs.iter().collect();
        Ok((executor.run(&inputs)?, ()))
    })?;
    Ok(recorded.graph)
}

/// The forms of a function by the types of its inputs, the most recently used first.
pub(crate) struct SizedForms<T> {
    forms: RefCell<VecDeque<SizedForm<T>>>,
    /// The maximum number that is kept.
    limit: usize,
    /// Whether a form is made at the first call of these sizes, and not at the second.
    at_once: bool,
}

struct SizedForm<T> {
    types: Vec<ArrayType>,
    state: FormState<T>,
}

enum FormState<T> {
    /// These sizes came once.
    Seen,
    /// The function cannot be brought to these sizes.
    None,
    Made(Rc<T>),
}

impl<T> SizedForms<T> {
    pub(crate) fn new(limit: usize, at_once: bool) -> Self {
        Self {
            forms: RefCell::default(),
            limit: limit.max(1),
            at_once,
        }
    }

    /// Returns the form for these inputs, made by `make` where they come for the second time.
    ///
    /// # Errors
    /// When `make` returns one.
    pub(crate) fn find(
        &self,
        inputs: &[&Array],
        make: impl FnOnce(&[ArrayType]) -> Result<Option<T>>,
    ) -> Result<Option<Rc<T>>> {
        let found = self.take(inputs);
        let is_known = found.is_some();
        let mut form = match found {
            Some(form) => form,
            None => SizedForm {
                types: inputs
                    .iter()
                    .map(|input| type_of(input))
                    .collect::<mlx::Result<_>>()?,
                state: FormState::Seen,
            },
        };
        if matches!(form.state, FormState::Seen) && (is_known || self.at_once) {
            // Nothing is borrowed here: what is compiled may call the function again.
            match make(&form.types) {
                Ok(Some(made)) => form.state = FormState::Made(Rc::new(made)),
                Ok(None) => form.state = FormState::None,
                Err(error) => {
                    self.put_in_front(form);
                    return Err(error);
                }
            }
        }
        let made = match &form.state {
            FormState::Made(made) => Some(Rc::clone(made)),
            FormState::Seen | FormState::None => None,
        };
        self.put_in_front(form);
        Ok(made)
    }

    fn put_in_front(&self, form: SizedForm<T>) {
        let mut forms = self.forms.borrow_mut();
        forms.push_front(form);
        let kept = self.limit.min(forms.len());
        let dropped = forms.split_off(kept);
        // What is dropped may be the last owner of a function.
        drop(forms);
        drop(dropped);
    }

    /// Takes the form for these inputs out, to be put in front.
    fn take(&self, inputs: &[&Array]) -> Option<SizedForm<T>> {
        let mut forms = self.forms.borrow_mut();
        let place = forms.iter().position(|form| {
            let mut pairs = inputs.iter().zip(&form.types);
            pairs.all(|(input, wanted)| input.matches_type(wanted))
        })?;
        forms.remove(place)
    }

    /// Returns the types of the inputs that forms were made for, the most recently used first.
    pub(crate) fn types(&self) -> Vec<Vec<ArrayType>> {
        let forms = self.forms.borrow();
        let made = forms
            .iter()
            .filter(|form| matches!(form.state, FormState::Made(_)));
        made.map(|form| form.types.clone()).collect()
    }
}
