//! The generated implementations of `Module`: parameters by name, the tree of arrays, and iteration over them.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Result, parse_quote};

use crate::field::{Field, Form, Kind, Macro, forms, type_marks};
use crate::tree::{bounds, implementation, pattern, place};

/// Returns `impl Module`, `impl Tree` and `impl IntoIterator for &..`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let forms = forms(input, Macro::Module)?;
    let part = quote!(::mlx_nn::Module);
    let marks = type_marks(input)?;
    let module = module(input, &forms, &part, marks.transparent);
    let display = (!marks.no_display).then(|| display(input, &forms, &part));
    let iteration = iteration(input, &forms, &part);
    let tree = implementation(
        input,
        &forms,
        &part,
        &quote! {
            fn visit_trainable<'tree>(
                &'tree self,
                visit: &mut dyn ::core::ops::FnMut(&'tree ::mlx::Array, bool),
            ) {
                ::mlx_nn::visit_trainable(self, visit);
            }
        },
    );
    Ok(quote!(#module #tree #iteration #display))
}

/// Returns the implementation of `Display`, which writes the summary, so that `println!("{model}")` works.
fn display(input: &DeriveInput, forms: &[Form], part: &TokenStream) -> TokenStream {
    let (name, (impl_generics, type_generics, _)) = (&input.ident, input.generics.split_for_impl());
    let bounds = bounds(&input.generics, forms, part);
    quote! {
        #[automatically_derived]
        impl #impl_generics ::core::fmt::Display for #name #type_generics #bounds {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&::mlx_nn::Module::summary(self), f)
            }
        }
    }
}

fn module(
    input: &DeriveInput,
    forms: &[Form],
    part: &TokenStream,
    is_transparent: bool,
) -> TokenStream {
    let (name, (impl_generics, type_generics, _)) = (&input.ident, input.generics.split_for_impl());
    let bounds = bounds(&input.generics, forms, part);
    let place = place(forms);
    let visits = forms.iter().map(|form| arm(form, visit_field));
    let buffers = forms.iter().map(|form| arm(form, buffers_field));
    // An enum whose variants hold one module each is whichever of them it holds.
    let is_plain = |form: &Form| match form.fields.as_slice() {
        [] => true,
        [field] => field.flatten || !field.is_part(),
        _ => false,
    };
    let is_wrapper = matches!(input.data, syn::Data::Enum(_)) && forms.iter().all(is_plain);
    let label = (is_wrapper || is_transparent).then(|| {
        quote! {
            fn type_label() -> ::core::option::Option<&'static str> {
                ::core::option::Option::None
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::mlx_nn::Module for #name #type_generics #bounds {
            fn visit_parameters<'module>(
                &'module mut self,
                visitor: &mut ::mlx_nn::ParameterVisitor<'module>,
            ) {
                let _ = &visitor;
                match #place { #(#visits)* }
            }
            fn visit_buffers<'module>(
                &'module self,
                visit: &mut dyn ::core::ops::FnMut(&'module ::mlx_nn::Buffer),
            ) {
                let _ = &visit;
                match #place { #(#buffers)* }
            }
            #label
        }
    }
}

/// Returns the implementation of iteration over all arrays, so that `mlx::eval(&model)` works.
fn iteration(input: &DeriveInput, forms: &[Form], part: &TokenStream) -> TokenStream {
    let name = &input.ident;
    let (_, type_generics, _) = input.generics.split_for_impl();
    let mut generics = input.generics.clone();
    generics.params.insert(0, parse_quote!('module));
    let (impl_generics, _, _) = generics.split_for_impl();
    let bounds = bounds(&input.generics, forms, part);
    quote! {
        #[automatically_derived]
        impl #impl_generics ::core::iter::IntoIterator for &'module #name #type_generics #bounds {
            type Item = &'module ::mlx::Array;
            type IntoIter = ::std::vec::IntoIter<&'module ::mlx::Array>;
            fn into_iter(self) -> Self::IntoIter {
                ::mlx::tree::arrays(self).into_iter()
            }
        }
    }
}

fn arm(form: &Form, step: impl Fn(&Field) -> TokenStream) -> TokenStream {
    let pattern = pattern(form);
    let steps = form.fields.iter().map(step);
    quote!(#pattern => { #(#steps)* })
}

fn visit_field(field: &Field) -> TokenStream {
    let (variable, name) = (&field.variable, field.name());
    match (field.kind, field.flatten) {
        (Kind::Static | Kind::Skip, _) => quote!(let _ = #variable;),
        (Kind::Part, true) => quote_spanned!(field.span()=> visitor.flatten(#variable);),
        (Kind::Part, false) => quote_spanned!(field.span()=> visitor.module(#name, #variable);),
        (Kind::Buffer, _) => quote_spanned!(field.span()=> visitor.buffers(#name, #variable);),
        (Kind::Packed, _) => quote_spanned!(field.span()=> visitor.packed(#name, #variable);),
    }
}

fn buffers_field(field: &Field) -> TokenStream {
    let (variable, ty) = (&field.variable, field.ty);
    match field.kind {
        Kind::Static | Kind::Skip => quote!(let _ = #variable;),
        Kind::Part | Kind::Buffer | Kind::Packed => {
            quote_spanned!(field.span()=> <#ty as ::mlx_nn::Module>::visit_buffers(#variable, visit);)
        }
    }
}
