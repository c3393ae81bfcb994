//! Kernels over rows: normalization, softmax, cross entropy, reductions.

mod arg_reduce;
mod cross_entropy;
mod cross_entropy_gradient;
mod exp_row;
mod norm;
mod norm_gradient;
mod reduce;
pub(crate) mod row_fold;
mod scan;
mod shape;
mod softmax;

pub use arg_reduce::{Compare, arg_reduce};
pub use cross_entropy::{cross_entropy, logsumexp};
pub(crate) use cross_entropy::{cross_entropy_instance, logsumexp_instance};
pub use cross_entropy_gradient::cross_entropy_gradient;
pub(crate) use cross_entropy_gradient::cross_entropy_gradient_instance;
pub use norm::{layer_norm, rms_norm};
pub(crate) use norm::{layer_norm_instance, rms_norm_instance};
pub use norm_gradient::{NormGradient, layer_norm_gradient, rms_norm_gradient};
pub use reduce::{
    Factor, Fold, FoldAll, FoldAllFloat, FoldAny, FoldAnyFloat, FoldComplexSum, FoldFloatMax,
    FoldFloatMin, FoldFloatSum, FoldIntegerProduct, FoldMax, FoldMin, FoldProduct, FoldSum,
    ReduceShape, Reduction, Whole, fold, reduce,
};
pub use scan::{
    Scan, ScanIntegerMax, ScanIntegerMin, ScanIntegerProduct, ScanIntegerSum, ScanLogAddExp,
    ScanMax, ScanMin, ScanOrder, ScanProduct, ScanSum, scan,
};
pub use shape::RowMajorShape;
pub use softmax::softmax;
pub(crate) use softmax::softmax_instance;
