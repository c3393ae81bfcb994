//! Layers in a row, of any types: `mlx.nn.Sequential`, and `mlx.nn.Identity`.

use std::any::{Any, TypeId};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlx::tree::{Structure, TreePath};
use mlx::{Array, Tree};

use crate::module::copy;
use crate::{Buffer, Forward, Module, ParameterVisitor};

/// Layers that are called one after the other: `mlx.nn.Sequential`.
///
/// Layers are modules with [`Forward`] from an array to an array, and functions of arrays. Parameters are named
/// `layers.0.weight`.
///
/// ```
/// use mlx_nn::{Linear, Module, Sequential, relu};
///
/// # fn main() -> mlx::Result<()> {
/// let model = Sequential::new((Linear::new(2, 8), relu, Linear::new(8, 1), |x: &mlx::Array| x * 2.0));
/// assert_eq!(model.forward(&mlx::array!([[1.0, 2.0]])).shape()?, [1, 1]);
/// assert!(model.parameters().contains_key("layers.2.bias"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, Module)]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<AnyLayer>,
}

impl Sequential {
    /// Returns layers in a row, given as a tuple, an array or a vector; `()` for none.
    pub fn new<Kind>(layers: impl IntoLayers<Kind>) -> Self {
        Self {
            layers: layers.into_layers(),
        }
    }

    /// Adds a layer at the end.
    #[must_use]
    pub fn push<Kind>(mut self, layer: impl IntoLayer<Kind>) -> Self {
        self.layers.push(layer.into_layer());
        self
    }

    /// Adds a layer at the end: [`push`](Self::push).
    #[allow(clippy::should_implement_trait)]
    #[must_use]
    pub fn add<Kind>(self, layer: impl IntoLayer<Kind>) -> Self {
        self.push(layer)
    }

    /// Calls the layers one after the other.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let first = x.clone();
        self.layers.iter().fold(first, |x, layer| layer.forward(&x))
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// A layer that gives its input: `mlx.nn.Identity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Module)]
pub struct Identity;

impl Identity {
    /// Returns the layer.
    pub fn new() -> Self {
        Self
    }

    /// Returns `x`.
    pub fn forward(&self, x: &Array) -> Array {
        x.clone()
    }
}

impl Forward for Identity {
    fn forward(&self, x: &Array) -> Array {
        x.clone()
    }
}

/// A layer of any type.
pub struct AnyLayer(Box<dyn Layer>);

impl AnyLayer {
    /// Returns this layer as one of any type.
    pub fn new<Kind>(layer: impl IntoLayer<Kind>) -> Self {
        layer.into_layer()
    }

    /// Calls the layer.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        self.0.forward_array(x)
    }

    /// Returns whether the layer is of this type.
    pub(crate) fn is<L: 'static>(&self) -> bool {
        self.0.as_any().is::<L>()
    }
}

impl Forward for AnyLayer {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.0.forward_array(x)
    }
}

impl Clone for AnyLayer {
    fn clone(&self) -> Self {
        Self(self.0.clone_layer())
    }
}

impl Module for AnyLayer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        self.0.visit_layer(visitor);
    }
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.0.visit_layer_buffers(visit);
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

impl Tree for AnyLayer {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.0.visit_arrays(visit);
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        Self(self.0.map_arrays(map))
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        self.0.visit_array_paths(path, visit);
    }
    fn structure(&self, structure: &mut Structure) {
        self.0.write_structure(structure);
    }
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        crate::visit_trainable(self, visit);
    }
}

/// What is asked of a layer whose type is not known.
trait Layer {
    fn as_any(&self) -> &dyn Any;
    fn forward_array(&self, x: &Array) -> Array;
    fn clone_layer(&self) -> Box<dyn Layer>;
    fn visit_layer<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>);
    fn visit_layer_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer));
    fn visit_arrays<'a>(&'a self, visit: &mut dyn FnMut(&'a Array));
    fn map_arrays(&self, map: &mut dyn FnMut(&Array) -> Array) -> Box<dyn Layer>;
    fn visit_array_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array));
    fn write_structure(&self, structure: &mut Structure);
}

impl<L: Forward + Module> Layer for L {
    fn as_any(&self) -> &dyn Any {
        self
    }
    #[track_caller]
    fn forward_array(&self, x: &Array) -> Array {
        self.forward(x)
    }
    fn clone_layer(&self) -> Box<dyn Layer> {
        Box::new(copy(self))
    }
    fn visit_layer<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.flatten(self);
    }
    fn visit_layer_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        self.visit_buffers(visit);
    }
    fn visit_arrays<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        self.visit(visit);
    }
    fn map_arrays(&self, map: &mut dyn FnMut(&Array) -> Array) -> Box<dyn Layer> {
        Box::new(self.map(map))
    }
    fn visit_array_paths<'a>(
        &'a self,
        path: &mut TreePath,
        visit: &mut dyn FnMut(&str, &'a Array),
    ) {
        self.visit_paths(path, visit);
    }
    fn write_structure(&self, structure: &mut Structure) {
        structure.value(&TypeId::of::<L>());
        self.structure(structure);
    }
}

/// A function of arrays as a layer.
#[derive(Clone)]
struct FunctionLayer {
    function: Rc<dyn Fn(&Array) -> Array>,
    /// What tells it from others: its type, and a number if it holds values.
    identity: (TypeId, u64),
}

impl FunctionLayer {
    fn new<F: Fn(&Array) -> Array + 'static>(function: F) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = match size_of::<F>() {
            0 => 0,
            _ => NEXT.fetch_add(1, Ordering::Relaxed),
        };
        Self {
            function: Rc::new(function),
            identity: (TypeId::of::<F>(), number),
        }
    }
}

impl Forward for FunctionLayer {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        (self.function)(x)
    }
}

impl Module for FunctionLayer {
    fn visit_parameters<'a>(&'a mut self, _: &mut ParameterVisitor<'a>) {}
    fn type_label() -> Option<&'static str> {
        Some("function")
    }
}

impl Tree for FunctionLayer {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Array)) {}
    fn map(&self, _: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.clone()
    }
    fn structure(&self, structure: &mut Structure) {
        structure.value(&self.identity);
    }
}

/// What can be a layer of [`Sequential`]: a module with [`Forward`], or a function from an array to an array.
///
/// `Kind` tells the two apart and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer from an array to an array",
    label = "not a layer",
    note = "a layer is a module with `impl Forward`, or a function or closure `|x: &Array| ..` that gives an `Array`",
    note = "a module must derive `Module`, so that its arrays are found"
)]
pub trait IntoLayer<Kind> {
    /// Returns the layer.
    fn into_layer(self) -> AnyLayer;
}

/// The kind of layers that are modules.
pub struct ModuleLayer;

/// The kind of layers that are functions.
pub struct ArrayFunction;

impl<L: Forward + Module> IntoLayer<ModuleLayer> for L {
    fn into_layer(self) -> AnyLayer {
        AnyLayer(Box::new(self))
    }
}

impl<F: Fn(&Array) -> Array + 'static> IntoLayer<ArrayFunction> for F {
    fn into_layer(self) -> AnyLayer {
        AnyLayer(Box::new(FunctionLayer::new(self)))
    }
}

/// Layers in a row: a tuple of up to twelve of any kinds, or an array or vector of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of layers",
    label = "wanted a tuple such as `(Linear::new(2, 8), relu, Linear::new(8, 1))`",
    note = "each layer is a module with `impl Forward`, or a function or closure `|x: &Array| ..` that gives an `Array`",
    note = "for more than twelve layers add them with `.push(layer)`"
)]
pub trait IntoLayers<Kind> {
    /// Returns the layers.
    fn into_layers(self) -> Vec<AnyLayer>;
}

impl<Kind, L: IntoLayer<Kind>> IntoLayers<Vec<Kind>> for Vec<L> {
    fn into_layers(self) -> Vec<AnyLayer> {
        self.into_iter().map(IntoLayer::into_layer).collect()
    }
}

impl<Kind, L: IntoLayer<Kind>, const N: usize> IntoLayers<[Kind; N]> for [L; N] {
    fn into_layers(self) -> Vec<AnyLayer> {
        self.into_iter().map(IntoLayer::into_layer).collect()
    }
}

impl IntoLayers<()> for () {
    fn into_layers(self) -> Vec<AnyLayer> {
        Vec::new()
    }
}

macro_rules! tuples {
    ($(($($t:ident $kind:ident $layer:ident),*);)*) => {$(
        impl<$($kind, $t: IntoLayer<$kind>),*> IntoLayers<($($kind,)*)> for ($($t,)*) {
            fn into_layers(self) -> Vec<AnyLayer> {
                let ($($layer,)*) = self;
                vec![$($layer.into_layer()),*]
            }
        }
    )*};
}

tuples! {
    (A Ka a);
    (A Ka a, B Kb b);
    (A Ka a, B Kb b, C Kc c);
    (A Ka a, B Kb b, C Kc c, D Kd d);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g, H Kh h);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g, H Kh h, I Ki i);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g, H Kh h, I Ki i, J Kj j);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g, H Kh h, I Ki i, J Kj j, K Kk k);
    (A Ka a, B Kb b, C Kc c, D Kd d, E Ke e, F Kf f, G Kg g, H Kh h, I Ki i, J Kj j, K Kk k, L Kl l);
}

impl fmt::Debug for AnyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut copy = self.clone();
        let modules = ParameterVisitor::of(&mut copy).modules;
        // The first is the place of the layer, the second the layer.
        f.write_str(modules.get(1).map_or("layer", |module| module.label))
    }
}
