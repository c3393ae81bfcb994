//! What the macro needs to know of a field: how a pattern names it, its type, and whether it is a setting.

use proc_macro2::Span;
use quote::format_ident;
use syn::spanned::Spanned;
use syn::{Attribute, Fields, Ident, Member, Result, Type};

/// One field of a struct or of a variant.
pub(crate) struct Field<'a> {
    /// Its name, or its number in a tuple.
    pub(crate) member: Member,
    /// The variable that the generated patterns bind it to.
    pub(crate) variable: Ident,
    /// Its type.
    pub(crate) ty: &'a Type,
    /// Whether it is marked `#[tree(static)]`.
    pub(crate) is_static: bool,
}

impl Field<'_> {
    /// Returns the place that errors about this field point at.
    pub(crate) fn span(&self) -> Span {
        self.ty.span()
    }
}

/// Returns the fields with their marks.
pub(crate) fn fields(fields: &Fields) -> Result<Vec<Field<'_>>> {
    let numbered = fields.members().zip(fields).enumerate();
    numbered
        .map(|(index, (member, field))| {
            Ok(Field {
                member,
                variable: format_ident!("field_{index}"),
                ty: &field.ty,
                is_static: is_static(&field.attrs)?,
            })
        })
        .collect()
}

/// Refuses `#[tree(..)]` where it means nothing.
pub(crate) fn refuse_marks(attributes: &[Attribute], place: &str) -> Result<()> {
    match attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("tree"))
    {
        None => Ok(()),
        Some(attribute) => Err(syn::Error::new_spanned(
            attribute,
            format!("Tree: `#[tree(static)]` marks a field, got it on {place}"),
        )),
    }
}

fn is_static(attributes: &[Attribute]) -> Result<bool> {
    let mut found = false;
    for attribute in attributes {
        if !attribute.path().is_ident("tree") {
            continue;
        }
        let wanted = |span| syn::Error::new(span, "Tree: wanted `#[tree(static)]`");
        let mut here = false;
        attribute
            .parse_nested_meta(|meta| {
                here = meta.path.is_ident("static");
                if here {
                    Ok(())
                } else {
                    Err(wanted(meta.path.span()))
                }
            })
            .map_err(|error| wanted(error.span()))?;
        if !here {
            return Err(wanted(attribute.span()));
        }
        found = true;
    }
    Ok(found)
}
