//! What a function that holds for all sizes runs for some of them: its graph as it would have been traced for these, kept by size.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use mlx::compiler_api::{TracedArray, type_of};
use mlx::{Array, ArrayType};

use crate::Result;
use crate::execute::Executor;
use crate::execute::guards::take_failure;
use crate::graph::Graph;
use crate::trace::record;

/// Returns the graph as it would have been traced for inputs of these types, without the function that it was traced from.
///
/// The graph must be as it was traced: its operations are applied again, and give the types of what they compute.
///
/// # Errors
/// When an operation refuses these sizes, as it does eagerly, or a guard does not hold for them.
pub(crate) fn retyped(graph: &Graph, types: &[ArrayType]) -> Result<Graph> {
    let executor = Executor::resizing(graph.clone())?;
    let recorded = record(graph.name(), types, |inputs| {
        let inputs: Vec<&Array> = inputs.iter().collect();
        Ok((executor.run(&inputs)?, ()))
    })?;
    Ok(recorded.graph)
}

/// The maximum number of sizes, for which guards do not hold, that are remembered.
const MAX_EXCLUDED: usize = 64;

/// The forms of a function by the types of its inputs, the most recently used first.
pub(crate) struct SizedForms<T> {
    forms: RefCell<VecDeque<SizedForm<T>>>,
    /// Types for which guards of the trace do not hold.
    excluded: RefCell<VecDeque<Vec<ArrayType>>>,
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
    /// The guards hold for these sizes, for which this is the graph.
    Checked(Graph),
    /// These sizes came once; the graph for them, where it was made to check the guards.
    Seen(Option<Graph>),
    /// The function cannot be brought to these sizes.
    None,
    Made(Rc<T>),
}

impl<T> SizedForms<T> {
    pub(crate) fn new(limit: usize, at_once: bool) -> Self {
        Self {
            forms: RefCell::default(),
            excluded: RefCell::default(),
            limit: limit.max(1),
            at_once,
        }
    }

    /// Returns whether the guards of a traced graph hold for these inputs.
    ///
    /// # Errors
    /// When an input carries an error.
    pub(crate) fn holds(&self, graph: &Graph, inputs: &[&Array]) -> Result<bool> {
        if let Some(form) = self.take(inputs) {
            self.put_in_front(form);
            return Ok(true);
        }
        let fits = |types: &Vec<ArrayType>| fits(inputs, types);
        if self.excluded.borrow().iter().any(fits) {
            return Ok(false);
        }
        let types = types_of(inputs)?;
        take_failure();
        match retyped(graph, &types) {
            Ok(graph) => self.put_in_front(SizedForm {
                types,
                state: FormState::Checked(graph),
            }),
            Err(_) if take_failure().is_some() => {
                let mut excluded = self.excluded.borrow_mut();
                excluded.push_front(types);
                excluded.truncate(MAX_EXCLUDED);
                return Ok(false);
            }
            // All guards before it hold, so it is the function itself that fails.
            Err(_) => {}
        }
        Ok(true)
    }

    /// Returns the form for these inputs, made by `make` where they come for the second time; it gets the graph for them, if that
    /// was made before.
    ///
    /// # Errors
    /// When `make` returns one.
    pub(crate) fn find(
        &self,
        inputs: &[&Array],
        make: impl FnOnce(&[ArrayType], Option<Graph>) -> Result<Option<T>>,
    ) -> Result<Option<Rc<T>>> {
        let (mut form, is_known) = match self.take(inputs) {
            Some(mut form) => match form.state {
                FormState::Checked(graph) => {
                    form.state = FormState::Seen(Some(graph));
                    (form, false)
                }
                _ => (form, true),
            },
            None => {
                let types = types_of(inputs)?;
                let state = FormState::Seen(None);
                (SizedForm { types, state }, false)
            }
        };
        if let FormState::Seen(graph) = &mut form.state
            && (is_known || self.at_once)
        {
            let graph = graph.take();
            // Nothing is borrowed here: what is compiled may call the function again.
            match make(&form.types, graph) {
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
            _ => None,
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
        let place = forms.iter().position(|form| fits(inputs, &form.types))?;
        forms.remove(place)
    }

    /// Returns the form that was used last, if one was made.
    pub(crate) fn latest(&self) -> Option<Rc<T>> {
        let forms = self.forms.borrow();
        forms.iter().find_map(|form| match &form.state {
            FormState::Made(made) => Some(Rc::clone(made)),
            _ => None,
        })
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

fn fits(inputs: &[&Array], types: &[ArrayType]) -> bool {
    let mut pairs = inputs.iter().zip(types);
    pairs.all(|(input, wanted)| input.matches_type(wanted))
}

fn types_of(inputs: &[&Array]) -> Result<Vec<ArrayType>> {
    let types = inputs.iter().map(|input| type_of(input));
    Ok(types.collect::<mlx::Result<_>>()?)
}
