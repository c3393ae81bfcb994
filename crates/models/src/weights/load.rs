//! Loading: named arrays become the parameters of a network, the same way for every model.

use mlx_nn::{Module, WeightMap};

use crate::{Error, Result};

/// What happens to weights that no parameter has the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    /// They are left out: a folder may hold heads for other tasks.
    Allow,
    /// They are an error: the weights belong to another network.
    Refuse,
}

/// Loads weights into all parameters of a network, and evaluates them.
///
/// # Errors
/// [`Error::Weights`] when a weight is missing, has the wrong shape, or is unused and that is refused.
pub(crate) fn load_weights(
    network: &mut impl Module,
    weights: WeightMap,
    unused: Unused,
) -> Result<()> {
    let report = network.load(weights);
    let checked = match unused {
        Unused::Allow => report.require_all(),
        Unused::Refuse => report.require_exact(),
    };
    checked.map_err(|error| Error::Weights(error.to_string()))?;
    mlx::eval(network.parameters().values()).map_err(Error::model)
}
