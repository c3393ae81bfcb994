//! Arrays of `ndarray` and tensors of DLPack, in and out: `cargo test --features ndarray,dlpack`.

use mlx::dlpack::ManagedTensor;
use mlx::{Array, Dtype, Result, array};

#[test]
fn arrays_of_ndarray_keep_shape_and_order() -> Result<()> {
    let x = ndarray::Array3::from_shape_fn((2, 3, 4), |(a, b, c)| (a * 100 + b * 10 + c) as f32);
    for view in [
        x.view().into_dyn(),
        x.t().into_dyn(),
        x.slice(ndarray::s![.., ..;-1, 1..;2]).into_dyn(),
    ] {
        let array = Array::from(&view);
        assert_eq!(array.shape()?.len(), 3);
        assert_eq!(array.to_ndarray::<f32>()?, view);
    }
    let doubles = Array::from(ndarray::arr1(&[0.1_f64]));
    assert_eq!(
        (doubles.dtype()?, doubles.item::<f64>()?),
        (Dtype::Float64, 0.1)
    );
    assert_eq!(Array::from(ndarray::arr0(7_u8)).shape()?, [0_i32; 0]);
    assert_eq!(array!([1, 2]).t().to_ndarray::<i64>()?.shape(), [2]);
    assert!(array!([1.5]).to_ndarray::<i32>().is_err());
    Ok(())
}

#[test]
fn tensors_come_back_with_every_dtype() -> Result<()> {
    for dtype in Dtype::ALL {
        let x = mlx::arange(6).reshape((2, 3)).astype(dtype);
        for x in [
            x.t(),
            x.clone(),
            mlx::zeros_with((0, 2), dtype),
            x.reshape(6).take(array!(1), 0),
        ] {
            let back = Array::from_dlpack(&x.to_dlpack()?)?;
            assert_eq!(back.array_type()?, x.array_type()?);
            assert!(back.array_equal(&x).item::<bool>()?, "{dtype}");
        }
    }
    Ok(())
}

/// The structs of DLPack's header, as another library has them.
mod elsewhere {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub static DELETED: AtomicUsize = AtomicUsize::new(0);

    #[repr(C)]
    pub struct Managed {
        pub data: *mut c_void,
        pub device: [i32; 2],
        pub ndim: i32,
        pub code: u8,
        pub bits: u8,
        pub lanes: u16,
        pub shape: *mut i64,
        pub strides: *mut i64,
        pub byte_offset: u64,
        pub manager: *mut c_void,
        pub deleter: Option<unsafe extern "C" fn(*mut Managed)>,
    }

    pub unsafe extern "C" fn delete(_: *mut Managed) {
        DELETED.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn tensors_of_others_are_read_by_their_strides_and_deleted_once() -> Result<()> {
    use elsewhere::{DELETED, Managed, delete};
    use std::sync::atomic::Ordering;
    let mut elements: Vec<f32> = (0..6_u8).map(f32::from).collect();
    let (mut shape, mut strides) = (vec![3_i64, 2], vec![-1_i64, 3]);
    let mut managed = Managed {
        data: elements.as_mut_ptr().cast(),
        device: [1, 0],
        ndim: 2,
        code: 2,
        bits: 32,
        lanes: 1,
        shape: shape.as_mut_ptr(),
        strides: strides.as_mut_ptr(),
        byte_offset: 8,
        manager: std::ptr::null_mut(),
        deleter: Some(delete),
    };
    let raw: *mut Managed = &raw mut managed;
    // SAFETY: the tensor outlives the value, and only that deletes it.
    let take = || unsafe { ManagedTensor::from_raw(raw.cast()) };
    let x = {
        let tensor = take();
        let x = Array::from_dlpack(&tensor)?;
        assert_eq!(DELETED.load(Ordering::SeqCst), 0);
        x
    };
    assert_eq!(DELETED.load(Ordering::SeqCst), 1);
    assert_eq!(x.to_vec::<f32>()?, [2.0, 5.0, 1.0, 4.0, 0.0, 3.0]);
    let says = |text: &str| {
        let error = Array::from_dlpack(&take()).err().unwrap().to_string();
        assert!(
            error.starts_with("from_dlpack: ") && error.contains(text),
            "{error}"
        );
    };
    // SAFETY: the tensor is alive, and nothing else refers to it here.
    let set = |change: fn(&mut Managed)| change(unsafe { &mut *raw });
    set(|tensor| tensor.device = [2, 0]);
    says("wanted a tensor on the CPU, got device type 2");
    set(|tensor| tensor.device = [1, 0]);
    set(|tensor| tensor.lanes = 4);
    says("wanted a dtype of MLX, got code 2 of 32 bits, 4 lanes");
    set(|tensor| (tensor.lanes, tensor.ndim) = (1, -1));
    says("wanted 0 to 64 axes, got -1");
    assert_eq!(DELETED.load(Ordering::SeqCst), 4);
    let given = ManagedTensor::into_raw(take());
    assert_eq!((given, DELETED.load(Ordering::SeqCst)), (raw.cast(), 4));
    Ok(())
}
