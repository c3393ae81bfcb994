//! Arrays that a layer replaces while it computes: running statistics.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::Deref;

use mlx::tree::{Structure, TreePath};
use mlx::{Array, Tree};

use super::{Module, ParameterVisitor};

/// An array that a layer replaces in `forward`, as the running statistics of a batch norm. It is saved and loaded with
/// the parameters, and never trained.
///
/// [`value_and_grad`](crate::value_and_grad) hands the values on from inside the gradient to the module. In a function
/// compiled with `jit`, return the module to have them.
///
/// ```
/// let buffer = mlx_nn::Buffer::new(mlx::array!([0.0]));
/// buffer.set(mlx::array!([1.0]));
/// assert_eq!(buffer.get().item::<f32>()?, 1.0);
/// # Ok::<(), mlx::Error>(())
/// ```
pub struct Buffer {
    value: Array,
    /// What replaced the value through shared references, the last one valid. The others stay, because references to
    /// them may live, until there is a unique reference. Chunk `k` has `2^k` places, which never move.
    later: [OnceCell<Box<[OnceCell<Array>]>>; N_CHUNKS],
    n_later: Cell<usize>,
}

/// Enough for as many values as fit into an address.
const N_CHUNKS: usize = 64;

impl Buffer {
    /// Returns a buffer with this value.
    pub fn new(value: Array) -> Self {
        Self {
            value,
            later: std::array::from_fn(|_| OnceCell::new()),
            n_later: Cell::new(0),
        }
    }

    /// Returns the value.
    pub fn get(&self) -> Array {
        self.last().clone()
    }

    /// Replaces the value. The old one is kept until the module is changed through a unique reference, as an optimizer
    /// does in each step.
    pub fn set(&self, value: Array) {
        let n_later = self.n_later.get() + 1;
        let (chunk_index, offset) = place(n_later);
        let chunk = self.later[chunk_index].get_or_init(|| {
            (0..1_usize << chunk_index)
                .map(|_| OnceCell::new())
                .collect()
        });
        // The place is empty: values are only added behind the last.
        if chunk[offset].set(value).is_ok() {
            self.n_later.set(n_later);
        }
    }

    /// Returns the value for changing it, and drops what it replaced.
    pub fn get_mut(&mut self) -> &mut Array {
        if self.n_later.get() > 0 {
            *self = Self::new(self.get());
        }
        &mut self.value
    }

    fn last(&self) -> &Array {
        match self.n_later.get() {
            0 => &self.value,
            n_later => {
                let (chunk, offset) = place(n_later);
                let place = self.later[chunk].get();
                place
                    .and_then(|places| places[offset].get())
                    .unwrap_or(&self.value)
            }
        }
    }
}

/// Returns the chunk of the value with this number, from 1, and its place there.
fn place(number: usize) -> (usize, usize) {
    let chunk = number.ilog2();
    (chunk as usize, number - (1 << chunk))
}

/// A buffer is read as its array: `norm.running_mean.to_vec::<f32>()?`.
impl Deref for Buffer {
    type Target = Array;

    fn deref(&self) -> &Array {
        self.last()
    }
}

impl AsRef<Array> for Buffer {
    fn as_ref(&self) -> &Array {
        self.last()
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.last(), f)
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl From<Array> for Buffer {
    fn from(value: Array) -> Self {
        Self::new(value)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buffer").field(self.last()).finish()
    }
}

impl Module for Buffer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.buffer(self);
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        visit(self);
    }

    fn type_label() -> Option<&'static str> {
        None
    }
}

impl Tree for Buffer {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array)) {
        visit(self.last());
    }
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self {
        Self::new(map(self.last()))
    }
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        visit(path.as_str(), self.last());
    }
    fn structure(&self, _: &mut Structure) {}
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        visit(self.last(), false);
    }
}
