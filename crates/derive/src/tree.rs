//! The generated implementation: a match over the variants in each of the three methods.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Generics, Result, WhereClause, parse_quote};

use crate::field::{Field, fields, refuse_marks};

/// One variant, or the whole of a struct.
struct Form<'a> {
    path: TokenStream,
    fields: Vec<Field<'a>>,
}

/// Returns `impl Tree for ..`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    refuse_marks(&input.attrs, "a type")?;
    let forms = forms(input)?;
    let (name, (impl_generics, type_generics, _)) = (&input.ident, input.generics.split_for_impl());
    let bounds = bounds(&input.generics, &forms);
    let is_enum = matches!(input.data, Data::Enum(_));
    // A match over no variants needs the place itself, not a reference to it.
    let place = if forms.is_empty() {
        quote!(*self)
    } else {
        quote!(self)
    };
    let visits = forms.iter().map(visit_arm);
    let maps = forms.iter().map(map_arm);
    let structures = (0_usize..)
        .zip(&forms)
        .map(|(index, form)| structure_arm(is_enum.then_some(index), form));
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::mlx::Tree for #name #type_generics #bounds {
            fn visit<'tree>(&'tree self, visit: &mut dyn ::core::ops::FnMut(&'tree ::mlx::Array)) {
                let _ = &visit;
                match #place { #(#visits)* }
            }
            fn map(&self, map: &mut dyn ::core::ops::FnMut(&::mlx::Array) -> ::mlx::Array) -> Self {
                let _ = &map;
                match #place { #(#maps)* }
            }
            fn structure(&self, structure: &mut ::mlx::tree::Structure) {
                let _ = &structure;
                match #place { #(#structures)* }
            }
        }
    })
}

fn forms(input: &DeriveInput) -> Result<Vec<Form<'_>>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![form(quote!(Self), &data.fields)?]),
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|variant| {
                refuse_marks(&variant.attrs, "a variant")?;
                let name = &variant.ident;
                form(quote!(Self::#name), &variant.fields)
            })
            .collect(),
        Data::Union(data) => Err(syn::Error::new(
            data.union_token.span,
            "Tree: wanted a struct or an enum, got a union",
        )),
    }
}

fn form(path: TokenStream, of: &Fields) -> Result<Form<'_>> {
    let fields = fields(of)?;
    Ok(Form { path, fields })
}

fn pattern(form: &Form) -> TokenStream {
    let path = &form.path;
    let fields = form.fields.iter().map(|field| {
        let (member, variable) = (&field.member, &field.variable);
        quote!(#member: #variable)
    });
    quote!(#path { #(#fields),* })
}

fn visit_arm(form: &Form) -> TokenStream {
    let pattern = pattern(form);
    let steps = form.fields.iter().map(|field| {
        let (variable, ty) = (&field.variable, field.ty);
        if field.is_static {
            quote!(let _ = #variable;)
        } else {
            quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::visit(#variable, visit);)
        }
    });
    quote!(#pattern => { #(#steps)* })
}

fn map_arm(form: &Form) -> TokenStream {
    let (pattern, path) = (pattern(form), &form.path);
    let fields = form.fields.iter().map(|field| {
        let (member, variable, ty) = (&field.member, &field.variable, field.ty);
        let value = if field.is_static {
            quote_spanned!(field.span()=> <#ty as ::core::clone::Clone>::clone(#variable))
        } else {
            quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::map(#variable, map))
        };
        quote!(#member: #value)
    });
    quote!(#pattern => #path { #(#fields),* },)
}

fn structure_arm(index: Option<usize>, form: &Form) -> TokenStream {
    let pattern = pattern(form);
    let number = index.map(|index| quote!(structure.len(#index);));
    let steps = form.fields.iter().map(|field| {
        let (variable, ty) = (&field.variable, field.ty);
        if field.is_static {
            quote_spanned!(field.span()=> structure.value(#variable);)
        } else {
            quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::structure(#variable, structure);)
        }
    });
    quote!(#pattern => { #number #(#steps)* })
}

/// Returns the where clause: type parameters inside of trees are trees, settings can be cloned and printed.
fn bounds(generics: &Generics, forms: &[Form]) -> Option<WhereClause> {
    let mut generics = generics.clone();
    let parameters: Vec<_> = generics
        .type_params()
        .map(|parameter| parameter.ident.clone())
        .collect();
    let fields = || forms.iter().flat_map(|form| &form.fields);
    let mut predicates: Vec<syn::WherePredicate> = Vec::new();
    for parameter in &parameters {
        if fields().any(|field| !field.is_static && mentions(field.ty, parameter)) {
            predicates.push(parse_quote!(#parameter: ::mlx::Tree));
        }
    }
    for field in fields().filter(|field| field.is_static) {
        if parameters
            .iter()
            .any(|parameter| mentions(field.ty, parameter))
        {
            let ty = field.ty;
            predicates.push(parse_quote!(#ty: ::core::clone::Clone + ::core::fmt::Debug));
        }
    }
    generics.make_where_clause().predicates.extend(predicates);
    generics.where_clause
}

/// Returns whether a type is written with this parameter.
fn mentions(ty: &syn::Type, parameter: &syn::Ident) -> bool {
    fn any(tokens: TokenStream, parameter: &syn::Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => ident == *parameter,
            proc_macro2::TokenTree::Group(group) => any(group.stream(), parameter),
            _ => false,
        })
    }
    any(quote!(#ty), parameter)
}
