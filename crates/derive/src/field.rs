//! What the macros need to know of a field: how a pattern names it, its type, and what its attributes say.

use proc_macro2::Span;
use quote::format_ident;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Member, Result, Type};

/// Which macro is at work: it has its own attribute and its own options.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Macro {
    /// `#[derive(Tree)]` with `#[tree(static)]`.
    Tree,
    /// `#[derive(Module)]` with `#[module(..)]`.
    Module,
}

impl Macro {
    fn attribute(self) -> &'static str {
        match self {
            Macro::Tree => "tree",
            Macro::Module => "module",
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Macro::Tree => "Tree: wanted `#[tree(static)]`",
            Macro::Module => {
                "Module: wanted `#[module(static)]`, `#[module(skip)]`, `#[module(buffer)]`, `#[module(packed)]`, `#[module(flatten)]` or `#[module(rename = \"..\")]`"
            }
        }
    }
}

/// What a field is to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A tree of arrays or a module.
    Part,
    /// A module whose arrays are no parameters: `#[module(buffer)]`.
    Buffer,
    /// A module whose arrays are packed parameters: `#[module(packed)]`.
    Packed,
    /// A setting, which tells trees apart by its `Debug` text.
    Static,
    /// No part of the tree: cloned, and not compared.
    Skip,
}

/// One field of a struct or of a variant.
pub(crate) struct Field<'a> {
    /// Its name, or its number in a tuple.
    pub(crate) member: Member,
    /// The variable that the generated patterns bind it to.
    pub(crate) variable: Ident,
    /// Its type.
    pub(crate) ty: &'a Type,
    /// What it is to the tree.
    pub(crate) kind: Kind,
    /// Whether its parts have no name of their own in front: `#[module(flatten)]`.
    pub(crate) flatten: bool,
    /// Its name in the paths of parameters, if not that of the field.
    pub(crate) rename: Option<String>,
}

impl Field<'_> {
    /// Returns the place that errors about this field point at.
    pub(crate) fn span(&self) -> Span {
        self.ty.span()
    }

    /// Returns whether it has arrays.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.kind, Kind::Part | Kind::Buffer | Kind::Packed)
    }

    /// Returns the name in the paths of parameters.
    pub(crate) fn name(&self) -> String {
        match (&self.rename, &self.member) {
            (Some(name), _) => name.clone(),
            (None, Member::Named(ident)) => ident.to_string().trim_start_matches("r#").to_owned(),
            (None, Member::Unnamed(index)) => index.index.to_string(),
        }
    }
}

/// One variant, or the whole of a struct.
pub(crate) struct Form<'a> {
    pub(crate) path: proc_macro2::TokenStream,
    pub(crate) fields: Vec<Field<'a>>,
}

/// What a type is marked with: `#[module(transparent)]`, `#[module(no_display)]`.
#[derive(Clone, Copy, Default)]
pub(crate) struct TypeMarks {
    /// Whether it is no module of its own in paths and tables.
    pub transparent: bool,
    /// Whether its author writes how it is displayed.
    pub no_display: bool,
}

/// Returns what the type is marked with, and refuses other marks.
pub(crate) fn type_marks(input: &DeriveInput) -> Result<TypeMarks> {
    let mut marks = TypeMarks::default();
    for attribute in &input.attrs {
        if attribute.path().is_ident(Macro::Module.attribute()) {
            let wanted =
                "Module: wanted `#[module(transparent)]` or `#[module(no_display)]` on a type";
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("transparent") {
                    marks.transparent = true;
                } else if meta.path.is_ident("no_display") {
                    marks.no_display = true;
                } else {
                    return Err(meta.error(wanted));
                }
                Ok(())
            })?;
        }
    }
    Ok(marks)
}

/// Returns the forms that a value of the type can have.
pub(crate) fn forms(input: &DeriveInput, of: Macro) -> Result<Vec<Form<'_>>> {
    if of == Macro::Tree {
        refuse_marks(&input.attrs, of, "a type")?;
    }
    match &input.data {
        Data::Struct(data) => Ok(vec![Form {
            path: quote::quote!(Self),
            fields: fields(&data.fields, of)?,
        }]),
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|variant| {
                refuse_marks(&variant.attrs, of, "a variant")?;
                let name = &variant.ident;
                let mut fields = fields(&variant.fields, of)?;
                // A variant that wraps one module has that module's names.
                if let (Fields::Unnamed(_), [field]) = (&variant.fields, fields.as_mut_slice()) {
                    field.flatten |= field.rename.is_none();
                }
                Ok(Form {
                    path: quote::quote!(Self::#name),
                    fields,
                })
            })
            .collect(),
        Data::Union(data) => Err(syn::Error::new(
            data.union_token.span,
            match of {
                Macro::Tree => "Tree: wanted a struct or an enum, got a union",
                Macro::Module => "Module: wanted a struct or an enum, got a union",
            },
        )),
    }
}

/// Returns the fields with their marks.
fn fields(fields: &Fields, of: Macro) -> Result<Vec<Field<'_>>> {
    let numbered = fields.members().zip(fields).enumerate();
    numbered
        .map(|(index, (member, field))| {
            let mut made = Field {
                member,
                variable: format_ident!("field_{index}"),
                ty: &field.ty,
                kind: match of {
                    Macro::Module if is_setting(&field.ty) => Kind::Static,
                    _ => Kind::Part,
                },
                flatten: false,
                rename: None,
            };
            read_marks(&mut made, &field.attrs, of)?;
            Ok(made)
        })
        .collect()
}

/// Refuses the attribute where it means nothing.
fn refuse_marks(attributes: &[Attribute], of: Macro, place: &str) -> Result<()> {
    match attributes
        .iter()
        .find(|attribute| attribute.path().is_ident(of.attribute()))
    {
        None => Ok(()),
        Some(attribute) => Err(syn::Error::new_spanned(
            attribute,
            match of {
                Macro::Tree => format!("Tree: `#[tree(static)]` marks a field, got it on {place}"),
                Macro::Module => {
                    format!("Module: `#[module(..)]` marks a field, got it on {place}")
                }
            },
        )),
    }
}

fn read_marks(field: &mut Field, attributes: &[Attribute], of: Macro) -> Result<()> {
    for attribute in attributes {
        if !attribute.path().is_ident(of.attribute()) {
            continue;
        }
        let wanted = |span| syn::Error::new(span, of.wanted());
        let mut here = false;
        attribute
            .parse_nested_meta(|meta| {
                here = true;
                mark(field, &meta, of)
            })
            .map_err(|error| wanted(error.span()))?;
        if !here {
            return Err(wanted(attribute.span()));
        }
    }
    Ok(())
}

fn mark(field: &mut Field, meta: &ParseNestedMeta, of: Macro) -> Result<()> {
    if meta.path.is_ident("static") {
        field.kind = Kind::Static;
        return Ok(());
    }
    match (
        of,
        meta.path.get_ident().map(ToString::to_string).as_deref(),
    ) {
        (Macro::Module, Some("skip")) => field.kind = Kind::Skip,
        (Macro::Module, Some("buffer")) => field.kind = Kind::Buffer,
        (Macro::Module, Some("packed")) => field.kind = Kind::Packed,
        (Macro::Module, Some("flatten")) => field.flatten = true,
        (Macro::Module, Some("rename")) => {
            field.rename = Some(meta.value()?.parse::<LitStr>()?.value());
        }
        _ => return Err(meta.error(of.wanted())),
    }
    Ok(())
}

/// Returns whether a type is made of numbers, booleans and text only, which are settings without a mark.
fn is_setting(ty: &Type) -> bool {
    const PLAIN: [&str; 17] = [
        "bool", "char", "str", "String", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize",
        "u8", "u16", "u32", "u64", "usize",
    ];
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            if PLAIN.iter().any(|plain| last.ident == plain) {
                return last.arguments.is_empty();
            }
            let inner = ["Option", "Vec"].iter().any(|outer| last.ident == outer);
            match &last.arguments {
                syn::PathArguments::AngleBracketed(arguments) if inner => {
                    arguments.args.iter().all(
                        |argument| matches!(argument, syn::GenericArgument::Type(ty) if is_setting(ty)),
                    )
                }
                _ => false,
            }
        }),
        Type::Reference(reference) => is_setting(&reference.elem),
        // A type that a macro wrote.
        Type::Group(group) => is_setting(&group.elem),
        Type::Paren(paren) => is_setting(&paren.elem),
        Type::Array(array) => is_setting(&array.elem),
        Type::Slice(slice) => is_setting(&slice.elem),
        Type::Tuple(tuple) => !tuple.elems.is_empty() && tuple.elems.iter().all(is_setting),
        _ => false,
    }
}
