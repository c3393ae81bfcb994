//! Which types of the standard library are trees, and the wrapper for settings.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::rc::Rc;

use super::{Structure, Tree, TreePath};
use crate::Array;

impl Tree for Array {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        visit(self);
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        map(self)
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        visit(path.as_str(), self);
    }
    fn structure(&self, _: &mut Structure) {}
}

macro_rules! tuples {
    ($(($($t:ident $index:tt),*);)*) => {$(
        impl<$($t: Tree),*> Tree for ($($t,)*) {
            fn visit<'a>(&'a self, _visit: &mut dyn FnMut(&'a Array)) {
                $(self.$index.visit(_visit);)*
            }
            #[allow(clippy::unused_unit)]
            fn map(&self, _map: &mut dyn FnMut(&Array) -> Array) -> Self {
                ($(self.$index.map(_map),)*)
            }
            fn visit_paths<'a>(&'a self, _path: &mut TreePath, _visit: &mut dyn FnMut(&str, &'a Array)) {
                $(_path.within($index, |path| self.$index.visit_paths(path, _visit));)*
            }
            fn structure(&self, _structure: &mut Structure) {
                $(self.$index.structure(_structure);)*
            }
            fn visit_trainable<'a>(&'a self, _visit: &mut dyn FnMut(&'a Array, bool)) {
                $(self.$index.visit_trainable(_visit);)*
            }
        }
    )*};
}

tuples! {
    ();
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
}

impl<T: Tree> Tree for Vec<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.iter().for_each(|tree| tree.visit(visit));
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.iter().map(|tree| tree.map(map)).collect()
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        for (index, tree) in self.iter().enumerate() {
            path.within(index, |path| tree.visit_paths(path, visit));
        }
    }
    fn structure(&self, structure: &mut Structure) {
        structure.len(self.len());
        self.iter().for_each(|tree| tree.structure(structure));
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.iter().for_each(|tree| tree.visit_trainable(visit));
    }
}

/// Behind a reference, as the arrays of `&[a, b][..]`.
impl<T: Tree> Tree for [T] {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.iter().for_each(|tree| tree.visit(visit));
    }
    fn structure(&self, structure: &mut Structure) {
        structure.len(self.len());
        self.iter().for_each(|tree| tree.structure(structure));
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.iter().for_each(|tree| tree.visit_trainable(visit));
    }
}

impl<T: Tree, const N: usize> Tree for [T; N] {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.iter().for_each(|tree| tree.visit(visit));
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.each_ref().map(|tree| tree.map(map))
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        for (index, tree) in self.iter().enumerate() {
            path.within(index, |path| tree.visit_paths(path, visit));
        }
    }
    fn structure(&self, structure: &mut Structure) {
        self.iter().for_each(|tree| tree.structure(structure));
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.iter().for_each(|tree| tree.visit_trainable(visit));
    }
}

impl<T: Tree> Tree for Option<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.iter().for_each(|tree| tree.visit(visit));
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.as_ref().map(|tree| tree.map(map))
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        self.iter().for_each(|tree| tree.visit_paths(path, visit));
    }
    fn structure(&self, structure: &mut Structure) {
        structure.tag(u8::from(self.is_some()));
        self.iter().for_each(|tree| tree.structure(structure));
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.iter().for_each(|tree| tree.visit_trainable(visit));
    }
}

macro_rules! pointers {
    ($($pointer:ident)*) => {$(
        impl<T: Tree> Tree for $pointer<T> {
            fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
                T::visit(self, visit);
            }
            fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
                $pointer::new(T::map(self, map))
            }
            fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
                T::visit_paths(self, path, visit);
            }
            fn structure(&self, structure: &mut Structure) {
                T::structure(self, structure);
            }
            fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
                T::visit_trainable(self, visit);
            }
        }
    )*};
}

pointers! { Box Rc }

/// Keys tell maps apart by their `Debug` text.
impl<K: Ord + Clone + Debug, T: Tree> Tree for BTreeMap<K, T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.values().for_each(|tree| tree.visit(visit));
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.iter()
            .map(|(key, tree)| (key.clone(), tree.map(map)))
            .collect()
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        for (key, tree) in self {
            path.within_key(key, |path| tree.visit_paths(path, visit));
        }
    }
    fn structure(&self, structure: &mut Structure) {
        structure.len(self.len());
        for (key, tree) in self {
            structure.value(key);
            tree.structure(structure);
        }
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.values().for_each(|tree| tree.visit_trainable(visit));
    }
}

/// In the order of the keys, which tell maps apart by their `Debug` text.
impl<K, T, S> Tree for HashMap<K, T, S>
where
    K: Ord + Hash + Clone + Debug,
    T: Tree,
    S: BuildHasher + Default,
{
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        for (_, tree) in by_key(self) {
            tree.visit(visit);
        }
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        by_key(self)
            .into_iter()
            .map(|(key, tree)| (key.clone(), tree.map(map)))
            .collect()
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        for (key, tree) in by_key(self) {
            path.within_key(key, |path| tree.visit_paths(path, visit));
        }
    }
    fn structure(&self, structure: &mut Structure) {
        structure.len(self.len());
        for (key, tree) in by_key(self) {
            structure.value(key);
            tree.structure(structure);
        }
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        for (_, tree) in by_key(self) {
            tree.visit_trainable(visit);
        }
    }
}

/// Returns the entries of a map in the order of their keys.
fn by_key<K: Ord, T, S>(map: &HashMap<K, T, S>) -> Vec<(&K, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// A setting inside of a tree: it holds no arrays, and trees with different settings differ in structure.
///
/// Settings are told apart by their `Debug` text.
///
/// ```
/// use mlx::tree::{Static, structure};
/// assert_ne!(structure(&Static(0.1_f32)), structure(&Static(0.2_f32)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Static<T>(pub T);

impl<T: Clone + Debug> Tree for Static<T> {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Array)) {}
    fn map(&self, _: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.clone()
    }
    fn structure(&self, structure: &mut Structure) {
        structure.value(&self.0);
    }
}

impl<T> Deref for Static<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
