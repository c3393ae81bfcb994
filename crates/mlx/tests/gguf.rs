//! Reading GGUF files: right ones, and every way of being wrong.

#[path = "support/gguf_file.rs"]
mod gguf_file;

use std::sync::Arc;

use gguf_file::{GgufWriter, Tensor, string};
use mlx::io::Source;
use mlx::io::gguf::{GgmlType, Gguf, List, Value};
use rstest::rstest;

fn read(bytes: Vec<u8>) -> mlx::Result<Gguf> {
    Gguf::read(&Arc::new(Source::from_bytes(bytes)))
}

fn refused(bytes: Vec<u8>) -> String {
    read(bytes).expect_err("a refusal").to_string()
}

/// A file with every type of metadata and tensors of both sorts.
fn small() -> GgufWriter {
    let q4: Vec<u8> = (0..2 * 18).map(|i| i * 7 % 50).collect();
    GgufWriter::default()
        .text("general.architecture", "llama")
        .raw("u8", 0, &[200])
        .raw("i8", 1, &[200])
        .raw("u16", 2, &60_000_u16.to_le_bytes())
        .raw("i16", 3, &(-3_i16).to_le_bytes())
        .u32("u32", 7)
        .raw("i32", 5, &(-7_i32).to_le_bytes())
        .f32("f32", 0.5)
        .bool("bool", true)
        .raw("u64", 10, &u64::MAX.to_le_bytes())
        .raw("i64", 11, &i64::MIN.to_le_bytes())
        .raw("f64", 12, &0.1_f64.to_le_bytes())
        .texts("texts", &["a", "", "ü"])
        .i32s("i32s", &[1, -1])
        .list("bools", 7, 2, &[0, 1])
        .list(
            "lists",
            9,
            1,
            &[
                &4_u32.to_le_bytes()[..],
                &1_u64.to_le_bytes(),
                &[9, 0, 0, 0],
            ]
            .concat(),
        )
        .floats("norm", &[3], &[1.0, 2.0, 3.0])
        .tensor("matrix", &[2, 32], GgmlType::Q4_0, q4)
}

#[rstest]
#[case(2)]
#[case(3)]
fn reads_every_type_of_metadata(#[case] version: u32) {
    let file = GgufWriter { version, ..small() }.finish();
    let gguf = read(file).unwrap();
    assert_eq!(gguf.version, version);
    let get = |key: &str| gguf.metadata.get(key).cloned().unwrap();
    assert_eq!(get("general.architecture"), Value::Text("llama".into()));
    assert_eq!(get("u8"), Value::Unsigned(200));
    assert_eq!(get("i8"), Value::Signed(-56));
    assert_eq!(get("u16"), Value::Unsigned(60_000));
    assert_eq!(get("i16"), Value::Signed(-3));
    assert_eq!(get("u32"), Value::Unsigned(7));
    assert_eq!(get("i32"), Value::Signed(-7));
    assert_eq!(get("f32"), Value::Float(0.5));
    assert_eq!(get("bool"), Value::Bool(true));
    assert_eq!(get("u64"), Value::Unsigned(u64::MAX));
    assert_eq!(get("i64"), Value::Signed(i64::MIN));
    assert_eq!(get("f64"), Value::Float(0.1));
    assert_eq!(
        gguf.metadata.texts("texts").unwrap().unwrap(),
        ["a", "", "ü"]
    );
    assert_eq!(gguf.metadata.integers("i32s").unwrap().unwrap(), [1, -1]);
    assert_eq!(get("bools"), Value::List(List::Bools(vec![false, true])));
    let inner = List::Unsigned(vec![9]);
    assert_eq!(get("lists"), Value::List(List::Lists(vec![inner])));
    assert_eq!(gguf.metadata.iter().count(), 16);
}

#[test]
fn tells_what_a_value_is_when_another_was_wanted() {
    let gguf = read(small().finish()).unwrap();
    let text = gguf.metadata.count("bool").unwrap_err().to_string();
    assert!(
        text.contains("bool: wanted a whole number") && text.contains("true"),
        "{text}"
    );
    assert_eq!(gguf.metadata.count("absent").unwrap(), None);
    let text = gguf.metadata.count("u64").unwrap_err().to_string();
    assert!(text.contains("18446744073709551615"), "{text}");
}

#[test]
fn reads_tensors_with_the_innermost_size_last() {
    let gguf = read(small().finish()).unwrap();
    assert_eq!(gguf.tensor("matrix").unwrap().shape, [2, 32]);
    assert_eq!(
        gguf.tensor("norm").unwrap().to_f32().unwrap(),
        [1.0, 2.0, 3.0]
    );
    assert_eq!(gguf.tensors().count(), 2);
    let text = gguf.tensor("none").unwrap_err().to_string();
    assert!(text.contains("none: wanted a tensor"), "{text}");
}

#[rstest]
#[case(GgmlType::F32, &1.5_f32.to_le_bytes(), mlx::Dtype::Float32)]
#[case(GgmlType::F16, &[0x00, 0x3e], mlx::Dtype::Float16)]
#[case(GgmlType::BF16, &[0xc0, 0x3f], mlx::Dtype::Bfloat16)]
#[case(GgmlType::F64, &1.5_f64.to_le_bytes(), mlx::Dtype::Float32)]
#[case(GgmlType::I8, &[253], mlx::Dtype::Int8)]
#[case(GgmlType::I16, &(-3_i16).to_le_bytes(), mlx::Dtype::Int16)]
#[case(GgmlType::I32, &(-3_i32).to_le_bytes(), mlx::Dtype::Int32)]
#[case(GgmlType::I64, &(-3_i64).to_le_bytes(), mlx::Dtype::Int64)]
fn plain_numbers_become_arrays(
    #[case] kind: GgmlType,
    #[case] bytes: &[u8],
    #[case] dtype: mlx::Dtype,
) {
    let file = GgufWriter::default().tensor("x", &[1], kind, bytes.to_vec());
    let gguf = read(file.finish()).unwrap();
    let tensor = gguf.tensor("x").unwrap();
    let wanted = if dtype.is_integer() { -3.0 } else { 1.5 };
    assert_eq!(tensor.to_f32().unwrap(), [wanted]);
    let array = tensor.to_array().unwrap();
    assert_eq!(array.dtype().unwrap(), dtype);
    assert_eq!(
        array.astype(mlx::Dtype::Float32).item::<f32>().unwrap(),
        wanted
    );
    assert!(tensor.to_quantized().unwrap().is_none());
}

/// What a tensor is changed to, and what the refusal must say.
fn broken(change: impl FnOnce(&mut Tensor)) -> Vec<u8> {
    let mut tensor = Tensor {
        name: "x".into(),
        shape: vec![2, 32],
        kind: GgmlType::Q4_0.id(),
        bytes: vec![0; 36],
        offset: None,
    };
    change(&mut tensor);
    GgufWriter::default().raw_tensor(tensor).finish()
}

#[rstest]
#[case::unknown_type(broken(|t| t.kind = 16), "x: wanted a type among")]
#[case::removed_type(broken(|t| t.kind = 4), "got 4")]
#[case::too_many_axes(broken(|t| t.shape = vec![1; 9]), "x: wanted at most 8 axes, got 9")]
#[case::absurd_size(broken(|t| t.shape = vec![1 << 40, 32]), "x: wanted sizes from 0 to 2^31 - 1, got 1099511627776")]
#[case::overflow(broken(|t| t.shape = vec![2_147_483_616; 4]), "x: wanted fewer than 2^64 bytes")]
#[case::too_large(broken(|t| t.shape = vec![2_147_483_616; 2]), "got a file of")]
#[case::part_of_a_block(broken(|t| t.shape = vec![4, 16]), "x: wanted rows of a multiple of 32")]
#[case::out_of_range(broken(|t| t.offset = Some(64)), "wanted 36 bytes at 64")]
#[case::offset_overflows(broken(|t| t.offset = Some(u64::MAX - 31)), "wanted 36 bytes at")]
#[case::misaligned(broken(|t| t.offset = Some(8)), "x: wanted bytes at a multiple of 32, got 8")]
fn refuses_wrong_tensors(#[case] file: Vec<u8>, #[case] says: &str) {
    let text = refused(file);
    assert!(text.contains(says), "{text}");
}

#[rstest]
#[case::other_letters(b"GGML\x03\0\0\0".to_vec(), "wanted a file that begins with")]
#[case::empty(Vec::new(), "wanted 4 bytes at 0")]
#[case::version_1(GgufWriter { version: 1, ..small() }.finish(), "gguf version: wanted 2 or 3, got 1")]
#[case::big_endian(GgufWriter { version: 3 << 24, ..small() }.finish(), "a big-endian file")]
#[case::twice(small().u32("u8", 1).finish(), "metadata: wanted u8 once")]
#[case::type_of_metadata(small().raw("x", 13, &[]).finish(), "x: wanted a type of metadata")]
#[case::truth(small().raw("x", 7, &[2]).finish(), "x: wanted 0 or 1")]
#[case::not_utf8(small().raw("x", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28]).finish(), "x: wanted UTF-8")]
#[case::long_text(small().raw("x", 8, &[255; 8]).finish(), "x: wanted text of at most")]
#[case::long_list(small().list("x", 0, 1 << 60, &[]).finish(), "x: wanted at most")]
#[case::list_type(small().list("x", 99, 1, &[0; 64]).finish(), "got 99")]
#[case::alignment(small().u32("general.alignment", 24).finish(), "general.alignment: wanted a power of two, got 24")]
#[case::no_alignment(small().u32("general.alignment", 0).finish(), "got 0")]
#[case::same_name(small().floats("norm", &[1], &[0.0]).finish(), "norm: wanted one tensor of this name")]
fn refuses_wrong_headers(#[case] file: Vec<u8>, #[case] says: &str) {
    let text = refused(file);
    assert!(text.contains(says), "{text}");
}

#[test]
fn refuses_lists_in_lists_without_end() {
    let level = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let file = small().raw("x", 9, &level.repeat(10_000)).finish();
    let text = refused(file);
    assert!(text.contains("lists at most 4 deep"), "{text}");
}

#[test]
fn refuses_tensors_that_share_bytes() {
    let tensor = |name: &str, offset| Tensor {
        name: name.into(),
        shape: vec![16],
        kind: 0,
        bytes: vec![0; 64],
        offset: Some(offset),
    };
    let file = GgufWriter::default()
        .raw_tensor(tensor("a", 0))
        .raw_tensor(tensor("b", 32));
    let text = refused(file.finish());
    assert!(text.contains("b: wanted bytes behind those of a"), "{text}");
}

#[test]
fn honours_another_alignment() {
    let file = GgufWriter {
        alignment: 256,
        ..small()
    };
    let gguf = read(file.u32("general.alignment", 256).finish()).unwrap();
    assert_eq!(
        gguf.tensor("norm").unwrap().to_f32().unwrap(),
        [1.0, 2.0, 3.0]
    );
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let file = small().finish();
    for length in 0..file.len() {
        assert!(read(file[..length].to_vec()).is_err(), "cut at {length}");
    }
    assert!(read(file).is_ok());
}

#[test]
fn no_byte_can_make_it_panic() {
    let file = small().finish();
    let mut accepted = 0;
    for at in 0..file.len() {
        for change in [0x01, 0x80, 0xff, 0x20] {
            let mut file = file.clone();
            file[at] ^= change;
            if let Ok(gguf) = read(file) {
                accepted += 1;
                for tensor in gguf.tensors() {
                    tensor.to_f32().unwrap();
                }
            }
        }
    }
    // Bytes of values and padding may be anything.
    assert!(accepted > 0);
}

#[test]
fn a_count_without_end_is_not_believed() {
    for at in [8, 16] {
        let mut file = small().finish();
        file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(file).is_err());
    }
    let mut file = GgufWriter::default().finish();
    file.truncate(24);
    file[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    file.extend(string("x"));
    assert!(read(file).is_err());
}
