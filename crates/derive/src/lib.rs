//! `#[derive(Tree)]`: a struct or an enum of arrays becomes a tree of arrays. Used as `mlx::Tree`.

mod field;
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
