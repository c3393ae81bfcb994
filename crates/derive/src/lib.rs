//! `#[derive(Tree)]`, used as `mlx::Tree`: a struct or an enum of arrays becomes a tree of arrays; and
//! `#[derive(Module)]`, used as `mlx_nn::Module`: one of layers becomes a module with named parameters.

mod field;
mod module;
mod tree;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct or an enum a tree of arrays: its fields in the order they are written.
///
/// Each field must be a tree itself. A field marked `#[tree(static)]` is a setting: it holds no arrays, is cloned by
/// `map`, and tells trees apart by its `Debug` text; it needs `Clone` and `Debug`.
#[proc_macro_derive(Tree, attributes(tree))]
pub fn derive_tree(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    tree::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct or an enum of layers and arrays a module: its fields are parameters and modules under their names.
///
/// It implements `mlx_nn::Module`, `mlx::Tree`, and `IntoIterator` of a reference, over all arrays. The type needs
/// `Clone`. Fields of numbers, booleans and text are settings. Attributes of a field:
///
/// * `#[module(static)]`: a setting of another type, which needs `Clone` and `Debug`, and whose `Debug` text tells
///   modules apart when functions of them are compiled;
/// * `#[module(skip)]`: not looked at, only cloned;
/// * `#[module(buffer)]`: arrays that are saved and loaded, and never trained;
/// * `#[module(packed)]`: arrays of packed weights, which are parameters and never trained;
/// * `#[module(flatten)]`: a module whose parameters have no name of the field in front; so are those of an enum's
///   variant with one unnamed field;
/// * `#[module(rename = "name")]`: another name in the paths of parameters, which may contain dots.
///
/// `#[module(transparent)]` on a type makes what it holds part of the module around it.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    module::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
