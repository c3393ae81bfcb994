//! Recurrent layers over whole sequences, and their gradients.

mod forward;
mod gates;
mod gates_gradient;
mod gradient;
mod product;
mod shape;

pub use forward::recurrent;
pub(crate) use forward::recurrent_instance;
pub use gradient::recurrent_gradient;
pub(crate) use gradient::recurrent_gradient_instance;
pub use shape::{
    RecurrentCell, RecurrentGradient, RecurrentInputs, RecurrentOutputs, RecurrentShape,
    RecurrentStates,
};
