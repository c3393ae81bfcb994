//! What is written is read back, and the C++ header is what the table generates.

use std::fmt::Write;
use std::path::PathBuf;

use super::*;
use crate::op::{
    FINGERPRINT, FftNorm, MaskMode, MeshIndexing, Op, PadMode, QuantizationMode, SearchSide, TABLE,
    Triangle,
};

fn encoded(op: &Op) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(op.encode(&mut bytes));
    bytes
}

fn samples() -> Vec<Op> {
    vec![
        Op::Abs,
        Op::RmsNorm { eps: 1e-5 },
        Op::NanToNum {
            nan: 0.0,
            posinf: Some(1.0),
            neginf: None,
        },
        Op::Sum {
            axes: vec![-1, 0],
            keepdims: true,
        },
        Op::AsStrided {
            shape: vec![2],
            strides: vec![-3],
            offset: 7,
        },
        Op::Einsum {
            subscripts: OpString::new("ij,jk->ik"),
        },
        Op::Arange {
            start: 0.5,
            stop: 3.0,
            step: 1.0,
            dtype: Dtype::Bfloat16,
        },
        Op::ScaledDotProductAttention {
            scale: 0.125,
            mask: MaskMode::Array,
            sinks: true,
            force_fused: false,
        },
        Op::Linear,
    ]
}

#[test]
fn an_operation_is_read_back_from_its_bytes() {
    for op in samples() {
        assert_eq!(Op::decode(&encoded(&op)), Some(op));
    }
}

#[test]
fn the_bytes_are_the_place_in_the_table_and_the_attributes() {
    let id = Op::NAMES.iter().position(|name| *name == "fast.rms_norm");
    let id = u16::try_from(id.unwrap()).unwrap();
    let want = [id.to_le_bytes().as_slice(), &1.0_f32.to_le_bytes()].concat();
    assert_eq!(encoded(&Op::RmsNorm { eps: 1.0 }), want);
}

#[test]
fn the_fingerprint_changes_with_the_order_of_cases() {
    let layout = |cases: [&str; 2]| {
        let name = fnv(FNV_START, "SearchSide");
        cases.iter().fold(name, |hash, case| fnv(hash, case))
    };
    assert_eq!(SearchSide::LAYOUT, layout(["Left", "Right"]));
    assert_ne!(SearchSide::LAYOUT, layout(["Right", "Left"]));
    assert_ne!(<Vec<i32>>::LAYOUT, <Vec<i64>>::LAYOUT);
    assert_ne!(<Option<i32>>::LAYOUT, <Vec<i32>>::LAYOUT);
}

/// Bytes that C++ never writes are no operation, and none of them panics or allocates what it says.
#[test]
fn other_bytes_are_refused() {
    for op in samples() {
        let bytes = encoded(&op);
        for end in 0..bytes.len() {
            assert_eq!(Op::decode(&bytes[..end]), None, "{op}: cut off at {end}");
        }
        assert_eq!(Op::decode(&[bytes, vec![0]].concat()), None, "{op}: longer");
    }
    assert_eq!(Op::decode(&[0xFF, 0xFF]), None);
    let length = encoded(&Op::Sum {
        axes: vec![],
        keepdims: false,
    });
    let huge = [&length[..2], &[0xFF; 4]].concat();
    assert_eq!(Op::decode(&huge), None);
}

fn enumeration(out: &mut String, name: &str, cases: &[(&str, &str)]) {
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    let texts: Vec<String> = cases
        .iter()
        .map(|(_, text)| format!("\"{text}\""))
        .collect();
    let (names, texts) = (names.join(", "), texts.join(", "));
    writeln!(out, "enum class {name} : uint8_t {{ {names} }};").unwrap();
    writeln!(out, "inline const char* text({name} value) {{").unwrap();
    writeln!(out, "  constexpr const char* kTexts[] = {{{texts}}};").unwrap();
    writeln!(out, "  return kTexts[static_cast<size_t>(value)];\n}}").unwrap();
}

/// `mlx_ops.h`, as the table makes it.
fn header() -> String {
    let mut out = String::from(
        "// Generated from crates/mlx/src/op/table.rs by `cargo xtask golden`. Do not edit.\n\
         //\n\
         // The operations as C++ names them: `op_bytes.h` writes and reads them.\n\
         #ifndef MLX_NATIVE_MLX_OPS_H\n\
         #define MLX_NATIVE_MLX_OPS_H\n\n\
         #include \"op_bytes.h\"\n\n\
         namespace ops {\n\n",
    );
    macro_rules! enumerations {
        ($($name:ident),*) => { $(enumeration(&mut out, stringify!($name), $name::CASES);)* };
    }
    enumerations!(
        SearchSide,
        QuantizationMode,
        PadMode,
        MeshIndexing,
        Triangle,
        MaskMode,
        FftNorm
    );
    write!(
        out,
        "\n// Of the table: what Rust was built with must be the same.\n\
         inline constexpr uint64_t kFingerprint = {FINGERPRINT:#018x};\n\n"
    )
    .unwrap();
    for (id, (variant, _, fields)) in TABLE.iter().enumerate() {
        write!(
            out,
            "struct {variant} {{ static constexpr uint16_t id = {id};"
        )
        .unwrap();
        for (name, cpp_type) in *fields {
            write!(out, " {} {name};", cpp_type()).unwrap();
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        writeln!(out, " auto fields() {{ return std::tie({names}); }} }};").unwrap();
    }
    out.push_str("\n// The names, by number.\ninline constexpr const char* kNames[] = {\n");
    for names in TABLE.chunks(6) {
        let names: Vec<String> = names.iter().map(|row| format!("\"{}\"", row.1)).collect();
        writeln!(out, "    {},", names.join(", ")).unwrap();
    }
    out.push_str("};\n\n} // namespace ops\n\n#endif\n");
    out
}

#[test]
fn the_header_for_cpp_is_what_the_table_generates() {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("../mlx-sys/native/mlx_ops.h");
    let want = header();
    if std::env::var("MLX_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &want).unwrap();
    }
    let got = std::fs::read_to_string(&path).unwrap();
    assert!(
        got == want,
        "native/mlx_ops.h is not what op/table.rs generates: run `cargo xtask golden`"
    );
}
