//! Numbers and texts as trees: settings without arrays, which a compiled function is compiled for.

use super::{Structure, Tree};
use crate::{Array, Dtype};

/// As in Python MLX, a number that is an argument of a compiled function is a constant in it: another number compiles it
/// anew. What changes from call to call is better an array.
macro_rules! settings {
    ($($t:ty)*) => {$(
        impl Tree for $t {
            fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Array)) {}
            fn map(&self, _: &mut dyn FnMut(&Array) -> Array) -> Self {
                self.clone()
            }
            fn structure(&self, structure: &mut Structure) {
                structure.value(self);
            }
        }
    )*};
}
settings! { bool i8 i16 i32 i64 isize u8 u16 u32 u64 usize f32 f64 String &'static str Dtype }
