//! Arrays with strides: copies in row-major order, and walks over their rows.

mod copy;
pub(crate) mod walk;

pub use copy::copy_strided;
