//! The operations: one enum from one table, with names, attributes, printing and parsing.
//!
//! Every primitive is a variant of [`Op`] with its attributes; [`bind`](crate::bind) applies it to
//! arrays, whether they are MLX's or traced. The table is in `op/table.rs`.

mod attr;
mod custom;
mod encode;
mod flags;
mod range;
mod sizes;
pub(crate) mod table;

pub use attr::{
    AttrValue, FftNorm, MaskMode, MeshIndexing, OpAttr, OpString, PadMode, QuantizationMode,
    SearchSide, Triangle,
};
pub(crate) use custom::CustomKernel;
pub use custom::CustomOp;
pub use flags::OpFlags;

use crate::Dtype;
use table::op_table;

macro_rules! define_op {
    ($i:ident; $(
        $name:ident $({ $($attr:ident : $type:ty),* })? $text:literal ($least:expr, $most:expr)
        [$($flag:ident)|+] $outputs:ident $function:ident ( $($argument:expr),* );
    )*) => {
        /// A primitive operation with its attributes.
        ///
        /// Variants, attributes and their meaning are those of the function of the same name in Python's
        /// `mlx.core`; optional inputs are told by a flag (`mask: true`) or by the number of inputs.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs)]
        pub enum Op {
            $(#[doc = concat!("`", $text, "`.")] $name $({ $($attr: $type),* })?,)*
            /// A kernel given by the user: see [`fast::host_kernel`](crate::fast::host_kernel).
            Custom(CustomOp),
        }

        impl Op {
            /// The names of all operations of the table, in its order.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// Returns the operation's name in Python MLX: `add`, `fast.rms_norm`.
            pub fn name(&self) -> &str {
                match self {
                    $(Op::$name $({ $($attr: _),* })? => $text,)*
                    Op::Custom(custom) => custom.name(),
                }
            }

            /// Returns the minimum and the maximum number of inputs.
            pub fn arity(&self) -> (usize, usize) {
                match self {
                    $(Op::$name $({ $($attr: _),* })? => ($least, $most),)*
                    Op::Custom(_) => (0, usize::MAX),
                }
            }

            /// Returns what the table says of the operation.
            pub const fn flags(&self) -> OpFlags {
                match self {
                    $(Op::$name $({ $($attr: _),* })? => const { OpFlags::of_line(&[$(OpFlags::$flag),+]) },)*
                    Op::Custom(custom) => custom.flags(),
                }
            }

            /// Returns the attributes with their names, in the table's order.
            pub fn attrs(&self) -> Vec<(&'static str, AttrValue)> {
                match self {
                    $(Op::$name $({ $($attr),* })? => vec![$($((stringify!($attr), $attr.to_value())),*)?],)*
                    Op::Custom(_) => Vec::new(),
                }
            }

            /// Appends the operation as bytes, with which it crosses the language border. Returns false for a custom one,
            /// which has none.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) -> bool {
                match self {
                    $(Op::$name $({ $($attr),* })? => {
                        out.extend_from_slice(&ids::$name.to_le_bytes());
                        $($(encode::Encode::encode($attr, out);)*)?
                        true
                    })*
                    Op::Custom(_) => false,
                }
            }

            /// Reads what [`encode`](Op::encode) wrote; `None` for other bytes.
            pub(crate) fn decode(bytes: &[u8]) -> Option<Op> {
                let bytes = &mut { bytes };
                let op = match u16::from_le_bytes(encode::take(bytes)?) {
                    $(ids::$name => Op::$name $({ $($attr: encode::Encode::decode(bytes)?),* })?,)*
                    _ => return None,
                };
                bytes.is_empty().then_some(op)
            }

            /// Returns the operation with this name and these attributes, if there is one.
            ///
            /// `attr` is asked once for each attribute by name.
            pub fn from_parts(name: &str, mut attr: impl FnMut(&str) -> Option<AttrValue>) -> Option<Op> {
                // An operation without attributes asks for none.
                let _ = &mut attr;
                match name {
                    $($text => Some(Op::$name $({ $($attr: OpAttr::from_value(&attr(stringify!($attr))?)?),* })?),)*
                    _ => None,
                }
            }
        }

        /// The places of operations in the table.
        #[allow(non_upper_case_globals)]
        mod ids {
            #[allow(dead_code)]
            enum Place { $($name),* }
            $(pub(super) const $name: u16 = Place::$name as u16;)*
        }

        /// A number that changes with the names, order and attributes of operations, and with the order of an enum's cases:
        /// the native library's must be the same.
        pub(crate) const FINGERPRINT: u64 = {
            let hash = encode::FNV_START;
            $(
                let hash = encode::fnv(hash, $text);
                $($(
                    let hash = encode::fnv(encode::fnv(hash, stringify!($attr)), stringify!($type));
                    let hash = encode::fnv_hash(hash, <$type as encode::Encode>::LAYOUT);
                )*)?
            )*
            hash
        };

        /// `ffi::table_op` shares operations of the table between threads.
        const _: () = {
            const fn is_shared<T: Send + Sync>() {}
            $($(is_shared::<($($type,)*)>();)?)*
        };

        /// The rows of the table: variant, name, and attributes with their types in C++.
        #[cfg(test)]
        const TABLE: &[Row] = &[
            $((stringify!($name), $text, &[$($((stringify!($attr), <$type as encode::Encode>::cpp_type)),*)?])),*
        ];
    };
}

#[cfg(test)]
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, fn() -> String)],
);

op_table!(define_op);

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        for (name, value) in self.attrs() {
            match value {
                AttrValue::None | AttrValue::Bool(false) => {}
                AttrValue::Bool(true) => write!(f, " {name}")?,
                value => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_name_and_attributes_that_are_set() {
        let op = Op::Sum {
            axes: vec![-1],
            keepdims: true,
        };
        assert_eq!(op.to_string(), "sum axes=[-1] keepdims");
        assert_eq!(
            Op::RmsNorm { eps: 1e-5 }.to_string(),
            "fast.rms_norm eps=1e-5"
        );
    }

    #[test]
    fn is_read_back_from_its_parts() {
        let op = Op::Conv {
            stride: vec![2],
            padding_lo: vec![1],
            padding_hi: vec![1],
            kernel_dilation: vec![1],
            input_dilation: vec![1],
            groups: 1,
            flip: false,
        };
        let attrs = op.attrs();
        let find = |name: &str| {
            attrs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.clone())
        };
        assert_eq!(Op::from_parts(op.name(), find), Some(op.clone()));
        assert_eq!(Op::from_parts("no such op", find), None);
    }

    #[test]
    fn names_are_unique() {
        let mut names = Op::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Op::NAMES.len());
    }
}
