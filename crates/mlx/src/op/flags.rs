//! What the operation table says of an operation besides its form: the flags of its line.

use super::Op;

/// Facts about an operation that hold whatever its attributes are.
///
/// Each line of `op/table.rs` has a set of these: passes, kernels and checks ask the table instead of listing
/// operations themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpFlags(u16);

impl OpFlags {
    /// The sizes of the results follow from those of the inputs, and no attribute is a size or a position that depends
    /// on one: applied to inputs of other sizes, the operation means the same.
    pub const SIZES_FROM_INPUTS: Self = Self(1);
    /// Holds for the sizes that it was built for, as far as is known: an attribute is a size or a position (`reshape`,
    /// `slice`, `topk`), or that none is has not been checked.
    pub const FIXED_SIZES: Self = Self(1 << 1);
    /// Each element of the result is computed from the elements at the same position of the inputs, which are broadcast.
    pub const ELEMENTWISE: Self = Self(1 << 2 | Self::SIZES_FROM_INPUTS.0);
    /// The result is the input with another shape or other strides; of `slice` only with positive steps: see
    /// [`Op::is_view`].
    pub const VIEW: Self = Self(1 << 3);
    /// A view that keeps the elements in row-major order: only the shape differs.
    pub const KEEPS_ORDER: Self = Self(1 << 4);
    /// MLX gives the result the input's memory, whatever its layout: nothing is allocated, however large the shape is.
    pub const SHARES_MEMORY: Self = Self(1 << 5);
    /// Sums products along axes: with nothing to sum, the result is zeros.
    pub const CONTRACTION: Self = Self(1 << 6);
    /// Writes updates, the second input, to positions of the first.
    pub const SCATTER: Self = Self(1 << 7);
    /// A function of `mlx::fast` that some devices have a kernel for, and others compose of several operations.
    pub const FUSED: Self = Self(1 << 8);
    /// MLX has it on the CPU only, where LAPACK computes it.
    pub const CPU_ONLY: Self = Self(1 << 9);
    /// Waits for other processes: each application takes part in one communication, so that none is computed ahead of
    /// time, left out because it equals another, or moved before one.
    pub const COMMUNICATES: Self = Self(1 << 10);

    /// Returns whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns the flags of a line of the table.
    ///
    /// Evaluated by the compiler for each line: one that says nothing of sizes, or two things, does not compile.
    pub(super) const fn of_line(flags: &[Self]) -> Self {
        let (mut all, mut at) = (0, 0);
        while at < flags.len() {
            all |= flags[at].0;
            at += 1;
        }
        let flags = Self(all);
        assert!(
            flags.contains(Self::SIZES_FROM_INPUTS) != flags.contains(Self::FIXED_SIZES),
            "a line of the operation table has one of SIZES_FROM_INPUTS and FIXED_SIZES"
        );
        flags
    }
}

impl Op {
    /// Returns whether the operation computes each element of its result from the elements at the same position of its
    /// inputs.
    pub const fn is_elementwise(&self) -> bool {
        self.flags().contains(OpFlags::ELEMENTWISE)
    }

    /// Returns whether the result is the input with another shape or other, positive or zero, strides.
    pub fn is_view(&self) -> bool {
        let is_forward =
            !matches!(self, Op::Slice { strides, .. } if strides.iter().any(|&step| step <= 0));
        self.flags().contains(OpFlags::VIEW) && is_forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::table::op_table;

    macro_rules! flags_of_lines {
        ($i:ident; $(
            $name:ident $({ $($attr:ident : $type:ty),* })? $text:literal ($min:expr, $max:expr)
            [$($flag:ident)|+] $outputs:ident $function:ident ( $($argument:expr),* );
        )*) => {
            const LINES: &[(&str, OpFlags)] = &[$(($text, OpFlags::of_line(&[$(OpFlags::$flag),+]))),*];
        };
    }
    op_table!(flags_of_lines);

    fn with(flag: OpFlags) -> Vec<&'static str> {
        let has = |line: &&(&str, OpFlags)| line.1.contains(flag);
        LINES.iter().filter(has).map(|line| line.0).collect()
    }

    #[test]
    fn fused_operations_are_those_of_fast() {
        let named: Vec<&str> = Op::NAMES
            .iter()
            .copied()
            .filter(|name| name.starts_with("fast."))
            .collect();
        assert_eq!(with(OpFlags::FUSED), named);
    }

    #[test]
    fn what_only_the_cpu_has_is_linear_algebra() {
        let names = with(OpFlags::CPU_ONLY);
        assert_eq!(names.len(), 18);
        // It decomposes the covariance.
        let is_linear =
            |name: &&&str| name.starts_with("linalg.") || **name == "random.multivariate_normal";
        assert_eq!(names.iter().filter(is_linear).count(), names.len());
    }

    #[test]
    fn a_view_in_order_is_a_view_and_computes_nothing() {
        let (views, ordered) = (with(OpFlags::VIEW), with(OpFlags::KEEPS_ORDER));
        assert!(ordered.iter().all(|name| views.contains(name)));
        let elementwise = with(OpFlags::ELEMENTWISE);
        let both: Vec<_> = views
            .iter()
            .filter(|name| elementwise.contains(name))
            .collect();
        assert_eq!(both, [&"stop_gradient"]);
    }

    #[test]
    fn a_reshape_may_copy_but_a_transpose_never_does() {
        let shares = |op: &Op| op.flags().contains(OpFlags::SHARES_MEMORY);
        let reshape = Op::Reshape { shape: vec![-1] };
        let transpose = Op::Transpose { axes: vec![1, 0] };
        assert!(reshape.is_view() && !shares(&reshape));
        assert!(transpose.is_view() && shares(&transpose));
    }

    #[test]
    fn a_slice_is_a_view_with_positive_steps_only() {
        let slice = |step| Op::Slice {
            start: vec![0],
            stop: vec![2],
            strides: vec![step],
        };
        assert!(slice(1).is_view() && !slice(-1).is_view());
    }

    #[test]
    fn elementwise_operations_take_inputs_of_any_size() {
        assert!(Op::Add.flags().contains(OpFlags::SIZES_FROM_INPUTS));
        assert!(!Op::Add.flags().contains(OpFlags::FIXED_SIZES));
        assert!(Op::Add.is_elementwise() && !Op::Matmul.is_elementwise());
    }

    #[test]
    #[should_panic(expected = "one of SIZES_FROM_INPUTS and FIXED_SIZES")]
    fn a_line_that_says_nothing_of_sizes_is_refused() {
        OpFlags::of_line(&[OpFlags::VIEW]);
    }
}
