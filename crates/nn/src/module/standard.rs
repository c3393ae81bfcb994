//! Which types of `mlx` and of the standard library are modules: arrays, and containers of modules.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};
use std::hash::{BuildHasher, Hash};

use mlx::Array;

use super::{Buffer, Module, ParameterVisitor};

/// A parameter, under the name of the field that holds it.
impl Module for Array {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.array(self);
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl<M: Module> Module for Option<M> {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        if let Some(module) = self {
            visitor.flatten(module);
        }
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.iter().for_each(|module| module.visit_buffers(visit));
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl<M: Module> Module for Box<M> {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.flatten(&mut **self);
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        M::visit_buffers(self, visit);
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.items(self);
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.iter().for_each(|module| module.visit_buffers(visit));
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.items(self);
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.iter().for_each(|module| module.visit_buffers(visit));
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl<K: Ord + Clone + Debug + Display + 'static, M: Module> Module for BTreeMap<K, M> {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        for (key, module) in self {
            visitor.module(&key.to_string(), module);
        }
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.values().for_each(|module| module.visit_buffers(visit));
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

/// Modules in the order of their keys.
impl<K, M, S> Module for HashMap<K, M, S>
where
    K: Ord + Hash + Clone + Debug + Display + 'static,
    M: Module,
    S: BuildHasher + Default + 'static,
{
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        let mut modules: Vec<(&K, &mut M)> = self.iter_mut().collect();
        modules.sort_by_key(|(key, _)| *key);
        for (key, module) in modules {
            visitor.module(&key.to_string(), module);
        }
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        let mut modules: Vec<(&K, &M)> = self.iter().collect();
        modules.sort_by_key(|(key, _)| *key);
        modules
            .into_iter()
            .for_each(|(_, module)| module.visit_buffers(visit));
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

macro_rules! tuples {
    ($(($($t:ident $index:tt),*);)*) => {$(
        impl<$($t: Module),*> Module for ($($t,)*) {
            fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
                $(visitor.module(stringify!($index), &mut self.$index);)*
            }
            fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
                $(self.$index.visit_buffers(visit);)*
            }
            fn type_label() -> Option<&'static str> {
                None
            }
        }
    )*};
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}
