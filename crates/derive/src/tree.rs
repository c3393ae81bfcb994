//! The generated implementation of `Tree`: a match over the variants in each of the methods.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Generics, Result, WhereClause, parse_quote};

use crate::field::{Form, Kind, Macro, forms};

/// Returns `impl Tree for ..`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let forms = forms(input, Macro::Tree)?;
    Ok(implementation(
        input,
        &forms,
        &quote!(::mlx::Tree),
        &quote!(),
    ))
}

/// Returns the implementation for these forms, with more methods, where type parameters of parts have a bound.
pub(crate) fn implementation(
    input: &DeriveInput,
    forms: &[Form],
    part: &TokenStream,
    more: &TokenStream,
) -> TokenStream {
    let (name, (impl_generics, type_generics, _)) = (&input.ident, input.generics.split_for_impl());
    let bounds = bounds(&input.generics, forms, part);
    let is_enum = matches!(input.data, Data::Enum(_));
    let place = place(forms);
    let visits = forms.iter().map(visit_arm);
    let maps = forms.iter().map(map_arm);
    let paths = forms.iter().map(path_arm);
    let structures = (0_usize..)
        .zip(forms)
        .map(|(index, form)| structure_arm(is_enum.then_some(index), form));
    quote! {
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
            fn visit_paths<'tree>(
                &'tree self,
                path: &mut ::mlx::tree::TreePath,
                visit: &mut dyn ::core::ops::FnMut(&str, &'tree ::mlx::Array),
            ) {
                let _ = (&path, &visit);
                match #place { #(#paths)* }
            }
            fn structure(&self, structure: &mut ::mlx::tree::Structure) {
                let _ = &structure;
                match #place { #(#structures)* }
            }
            #more
        }
    }
}

/// Returns what is matched on: a match over no variants needs the place itself, not a reference to it.
pub(crate) fn place(forms: &[Form]) -> TokenStream {
    if forms.is_empty() {
        quote!(*self)
    } else {
        quote!(self)
    }
}

/// Returns the pattern that binds all fields of a form.
pub(crate) fn pattern(form: &Form) -> TokenStream {
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
        if field.is_part() {
            quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::visit(#variable, visit);)
        } else {
            quote!(let _ = #variable;)
        }
    });
    quote!(#pattern => { #(#steps)* })
}

fn path_arm(form: &Form) -> TokenStream {
    let pattern = pattern(form);
    let steps = form.fields.iter().map(|field| {
        let (variable, ty, name) = (&field.variable, field.ty, field.name());
        let visit = quote_spanned! {
            field.span()=> <#ty as ::mlx::Tree>::visit_paths(#variable, path, visit)
        };
        match (field.is_part(), field.flatten) {
            (false, _) => quote!(let _ = #variable;),
            (true, true) => quote!(#visit;),
            (true, false) => quote!(path.within(#name, |path| #visit);),
        }
    });
    quote!(#pattern => { #(#steps)* })
}

fn map_arm(form: &Form) -> TokenStream {
    let (pattern, path) = (pattern(form), &form.path);
    let fields = form.fields.iter().map(|field| {
        let (member, variable, ty) = (&field.member, &field.variable, field.ty);
        let value = if field.is_part() {
            quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::map(#variable, map))
        } else {
            quote_spanned!(field.span()=> <#ty as ::core::clone::Clone>::clone(#variable))
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
        match field.kind {
            Kind::Static => quote_spanned!(field.span()=> structure.value(#variable);),
            Kind::Skip => quote!(let _ = #variable;),
            Kind::Part | Kind::Buffer | Kind::Packed => {
                quote_spanned!(field.span()=> <#ty as ::mlx::Tree>::structure(#variable, structure);)
            }
        }
    });
    quote!(#pattern => { #number #(#steps)* })
}

/// Returns the where clause: type parameters inside of parts have the bound, settings can be cloned and printed.
pub(crate) fn bounds(
    generics: &Generics,
    forms: &[Form],
    part: &TokenStream,
) -> Option<WhereClause> {
    let mut generics = generics.clone();
    let parameters: Vec<_> = generics
        .type_params()
        .map(|parameter| parameter.ident.clone())
        .collect();
    let fields = || forms.iter().flat_map(|form| &form.fields);
    let mut predicates: Vec<syn::WherePredicate> = Vec::new();
    for parameter in &parameters {
        if fields().any(|field| field.is_part() && mentions(field.ty, parameter)) {
            predicates.push(parse_quote!(#parameter: #part));
        }
    }
    for field in fields().filter(|field| !field.is_part()) {
        if parameters
            .iter()
            .any(|parameter| mentions(field.ty, parameter))
        {
            let ty = field.ty;
            predicates.push(match field.kind {
                Kind::Skip => parse_quote!(#ty: ::core::clone::Clone),
                _ => parse_quote!(#ty: ::core::clone::Clone + ::core::fmt::Debug),
            });
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
