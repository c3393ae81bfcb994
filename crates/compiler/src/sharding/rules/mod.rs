//! How each operation of the table may be computed on split inputs: one line each.
//!
//! To add an operation, write its line: the function that lists its ways, or [`Rule::Whole`] with the reason why it has
//! none. A way is true when what the ranks compute, each of its parts of the inputs, makes the parts of the result.
//! A test fails for an operation of the table without a line.

mod elementwise;
mod fast;
mod indexing;
mod products;
mod reductions;
mod shapes;

use mlx::Op;

pub(super) use shapes::order_of;

use super::strategy::{Site, Strategy};

/// What the table says of an operation.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// It can be computed on split inputs in the ways that a function lists.
    Ways(fn(&Site<'_>) -> Vec<Strategy>),
    /// It is computed whole on every rank, for this reason.
    Whole(&'static str),
}

use Rule::{Ways, Whole};

/// Returns what the table says of an operation. A kernel of the program may have the name of any, and has no line.
pub(super) fn rule(op: &Op) -> Rule {
    if matches!(op, Op::Custom(_)) {
        return Whole("it is a kernel of the program, which the pass does not know");
    }
    let name = op.name();
    let found = TABLE.iter().find(|(names, _)| names.contains(&name));
    found.map_or(Whole("it is not in the table of rules"), |(_, rule)| *rule)
}

/// Returns the operations that are computed whole on every rank, each with its reason.
pub fn whole_operations() -> Vec<(&'static str, &'static str)> {
    let whole = TABLE.iter().filter_map(|(names, rule)| match rule {
        Whole(reason) => Some((names, *reason)),
        Ways(_) => None,
    });
    whole
        .flat_map(|(names, reason)| names.iter().map(move |name| (*name, reason)))
        .collect()
}

const RANDOM: &str = "all ranks draw the same numbers, of the same key";
const NO_INPUT: &str = "it has no input that could be split";
const MATRICES: &str = "it mixes the elements of its matrices, and has no rule for batches of them";
const MIXES: &str = "it mixes all elements along its axes, and has no rule for the others";
const EXPERTS: &str = "it chooses matrices by indices, which ranks would have to exchange";

/// Operations that share a rule.
const TABLE: &[(&[&str], Rule)] = &[
    (elementwise::NAMES, Ways(elementwise::ways)),
    (&["add", "subtract"], Ways(elementwise::sum)),
    (&["multiply"], Ways(elementwise::product)),
    (&["divide"], Ways(elementwise::quotient)),
    (
        &["negative", "positive", "copy", "contiguous"],
        Ways(elementwise::linear),
    ),
    (&["degrees", "radians"], Ways(elementwise::linear)),
    (
        &["zeros_like", "ones_like", "stop_gradient"],
        Ways(elementwise::ways),
    ),
    (&["divmod"], Ways(elementwise::ways)),
    (&["view"], Ways(shapes::all_but_last)),
    (&["sum"], Ways(reductions::sum)),
    (&["mean"], Ways(reductions::mean)),
    (&["max"], Ways(reductions::max)),
    (&["min"], Ways(reductions::min)),
    (
        &[
            "all",
            "any",
            "count_nonzero",
            "logsumexp",
            "median",
            "prod",
            "std",
            "var",
            "argmax",
            "argmin",
            "linalg.norm_l2",
        ],
        Ways(reductions::other_axes),
    ),
    (
        &[
            "softmax",
            "argpartition",
            "argsort",
            "partition",
            "sort",
            "topk",
            "cummax",
            "cummin",
            "cumprod",
            "cumsum",
            "logcumsumexp",
            "diff",
            "roll",
            "flip",
            "pad",
        ],
        Ways(reductions::other_axes),
    ),
    (&["matmul"], Ways(products::matmul)),
    (&["inner", "fast.linear"], Ways(products::inner)),
    (&["outer"], Ways(products::outer)),
    (&["tensordot"], Ways(products::tensordot)),
    (&["einsum"], Ways(products::einsum)),
    (
        &["addmm"],
        Whole("it is taken apart before the pass, so that none is left"),
    ),
    (&["quantize"], Ways(products::quantize)),
    (&["dequantize"], Ways(products::dequantize)),
    (&["quantized_matmul"], Ways(products::quantized_matmul)),
    (&["conv_general"], Ways(products::conv)),
    (
        &[
            "reshape",
            "flatten",
            "unflatten",
            "squeeze",
            "expand_dims",
            "atleast_1d",
            "atleast_2d",
            "atleast_3d",
        ],
        Ways(shapes::reshape),
    ),
    (
        &["transpose", "swapaxes", "moveaxis"],
        Ways(shapes::transpose),
    ),
    (&["broadcast_to"], Ways(shapes::broadcast_to)),
    (&["concatenate"], Ways(shapes::concatenate)),
    (&["stack"], Ways(shapes::stack)),
    (&["split", "split_sections", "unstack"], Ways(shapes::split)),
    (&["tile"], Ways(shapes::tile)),
    (&["repeat"], Ways(shapes::repeat)),
    (&["tril", "triu"], Ways(shapes::batches_of_matrices)),
    (&["slice"], Ways(indexing::slice)),
    (&["slice_dynamic"], Ways(indexing::slice_dynamic)),
    (
        &[
            "slice_update",
            "slice_update_add",
            "slice_update_max",
            "slice_update_min",
            "slice_update_prod",
        ],
        Ways(indexing::slice_update),
    ),
    (
        &["slice_update_dynamic"],
        Ways(indexing::slice_update_dynamic),
    ),
    (&["take"], Ways(indexing::take)),
    (
        &["take_along_axis", "put_along_axis", "scatter_add_axis"],
        Ways(indexing::along_axis),
    ),
    (&["gather"], Ways(indexing::gather)),
    (
        &[
            "distributed.all_sum",
            "distributed.all_max",
            "distributed.all_min",
        ],
        Ways(elementwise::all_reduce),
    ),
    (
        &["distributed.all_gather", "distributed.sum_scatter"],
        Ways(shapes::all_gather),
    ),
    (&["fast.rms_norm", "fast.layer_norm"], Ways(fast::norm)),
    (&["fast.rope"], Ways(fast::rope)),
    (
        &["fast.scaled_dot_product_attention"],
        Ways(fast::attention),
    ),
    (&["fast.cross_entropy"], Ways(fast::cross_entropy)),
    (
        &["fast.gelu", "fast.gelu_approx", "fast.silu", "fast.swiglu"],
        Ways(elementwise::ways),
    ),
    (
        &["allclose", "array_equal"],
        Whole("its one truth value is of all elements"),
    ),
    (
        &["number_of_elements"],
        Whole("it reads the sizes of the whole"),
    ),
    (&["searchsorted"], Whole("it has no rule")),
    (
        &[
            "vecdot",
            "kron",
            "trace",
            "diag",
            "diagonal",
            "hadamard_transform",
            "block_masked_mm",
            "segmented_mm",
        ],
        Whole(MATRICES),
    ),
    (&["gather_mm", "gather_qmm"], Whole(EXPERTS)),
    (&["as_strided"], Whole("its strides are of the whole")),
    (
        &["broadcast_arrays", "meshgrid"],
        Whole("its shapes come from all inputs"),
    ),
    (
        &[
            "scatter",
            "scatter_add",
            "scatter_max",
            "scatter_min",
            "scatter_prod",
            "masked_scatter",
        ],
        Whole("it writes to positions that any rank may have"),
    ),
    (
        &[
            "arange",
            "linspace",
            "zeros",
            "ones",
            "eye",
            "tri",
            "bartlett",
            "blackman",
            "hamming",
            "hanning",
            "fft.fftfreq",
            "fft.rfftfreq",
        ],
        Whole(NO_INPUT),
    ),
    (&["full"], Whole("its shape is of the whole")),
    (&["full_like"], Ways(elementwise::ways)),
    (
        &[
            "random.bernoulli",
            "random.bits",
            "random.categorical",
            "random.gumbel",
            "random.laplace",
            "random.multivariate_normal",
            "random.normal",
            "random.permutation",
            "random.randint",
            "random.split",
            "random.truncated_normal",
            "random.uniform",
        ],
        Whole(RANDOM),
    ),
    (
        &[
            "fft.fftn",
            "fft.ifftn",
            "fft.rfftn",
            "fft.irfftn",
            "fft.fftshift",
            "fft.ifftshift",
        ],
        Whole(MIXES),
    ),
    (
        &[
            "linalg.cholesky",
            "linalg.cholesky_inv",
            "linalg.cross",
            "linalg.det",
            "linalg.eig",
            "linalg.eigh",
            "linalg.eigvals",
            "linalg.eigvalsh",
            "linalg.inv",
            "linalg.lu",
            "linalg.lu_factor",
            "linalg.norm",
            "linalg.norm_matrix",
            "linalg.pinv",
            "linalg.qr",
            "linalg.slogdet",
            "linalg.solve",
            "linalg.solve_triangular",
            "linalg.svd",
            "linalg.tri_inv",
        ],
        Whole(MATRICES),
    ),
    (
        &["distributed.send", "distributed.recv"],
        Whole("its peer expects the whole"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_of_the_table_has_one_line() {
        let lines: Vec<&str> = TABLE
            .iter()
            .flat_map(|(names, _)| *names)
            .copied()
            .collect();
        let times = |name: &str| lines.iter().filter(|line| **line == name).count();
        for name in Op::NAMES {
            assert_eq!(
                times(name),
                1,
                "{name} wants one line of the table of sharding rules"
            );
        }
        for line in &lines {
            assert!(
                Op::NAMES.contains(line),
                "{line} is no operation of the table"
            );
        }
    }

    #[test]
    fn what_is_whole_has_a_reason() {
        let whole = whole_operations();
        assert!(whole.iter().all(|(_, reason)| reason.len() > 10));
        assert!(whole.len() < Op::NAMES.len() / 2, "{}", whole.len());
    }
}
