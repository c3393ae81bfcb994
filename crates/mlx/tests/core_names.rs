//! Smaller names and options of `mlx.core`, with Python MLX's answers.

use mlx::{Array, CumulativeOptions, Dtype, Result, array};

#[test]
fn running_sums_and_products_take_a_dtype() -> Result<()> {
    let x = array!([200_u8, 100, 50]);
    let along = |dtype| CumulativeOptions {
        dtype: Some(dtype),
        ..CumulativeOptions::along(0)
    };
    assert_eq!(
        x.cumsum(along(Dtype::Int32)).to_vec::<i32>()?,
        [200, 300, 350]
    );
    assert_eq!(
        x.cumprod(along(Dtype::Float32)).to_vec::<f32>()?,
        [200.0, 2e4, 1e6]
    );
    assert_eq!(x.cumsum(0).to_vec::<u8>()?, [200, 44, 94]);
    Ok(())
}

#[test]
fn arrays_like_another_take_a_dtype() -> Result<()> {
    let x = array!([[1, 2], [3, 4]]);
    for (like, wanted) in [
        (mlx::zeros_like_with(&x, Dtype::Float16), [0.0; 4]),
        (mlx::ones_like_with(&x, Dtype::Float16), [1.0; 4]),
        (mlx::full_like_with(&x, 2.5, Dtype::Float16), [2.5; 4]),
    ] {
        assert_eq!(like.array_type()?.to_string(), "float16[2, 2]");
        assert_eq!(like.astype(Dtype::Float32).to_vec::<f32>()?, wanted);
    }
    let turned = x.t().contiguous_with(true);
    assert_eq!(turned.to_vec::<i32>()?, [1, 3, 2, 4]);
    let (least, most) = x.minmax(0);
    assert_eq!(
        (least.to_vec::<i32>()?, most.to_vec::<i32>()?),
        (vec![1, 2], vec![3, 4])
    );
    Ok(())
}

#[test]
fn distinct_elements_are_those_of_python() -> Result<()> {
    let x = array!([5, 1, 2, 3, 1, 7]);
    assert_eq!(x.unique(8).to_vec::<i32>()?, [1, 2, 3, 5, 7, 1, 1, 1]);
    let all = x.reshape((2, 3)).unique_with(8, None)?;
    assert_eq!(all.values.to_vec::<i32>()?, [1, 2, 3, 5, 7, 1, 1, 1]);
    assert_eq!(all.index.to_vec::<u32>()?, [1, 2, 3, 0, 5, 1, 1, 1]);
    assert_eq!(
        (all.inverse.shape()?, all.inverse.to_vec::<u32>()?),
        (vec![2, 3], vec![3, 0, 1, 2, 0, 4])
    );
    assert_eq!(all.counts.to_vec::<i32>()?, [2, 1, 1, 1, 1, 0, 0, 0]);
    let two = x.unique_with(2, None)?;
    assert_eq!(
        (two.values.to_vec::<i32>()?, two.index.to_vec::<u32>()?),
        (vec![1, 2], vec![1, 2])
    );
    assert_eq!(two.inverse.to_vec::<u32>()?, [1, 0, 1, 1, 0, 1]);
    assert_eq!(two.counts.to_vec::<i32>()?, [2, 1]);
    let filled = x.unique_with(6, Some(9.into()))?;
    assert_eq!(filled.values.to_vec::<i32>()?, [1, 2, 3, 5, 7, 9]);
    assert_eq!(x.unique(0).shape()?, [0]);
    // A NaN is like no other.
    let floats = array!([f32::NAN, 1.0, f32::NAN, -0.0, 0.0]).unique_with(6, None)?;
    assert_eq!(floats.counts.to_vec::<i32>()?, [2, 1, 1, 1, 0, 0]);
    assert_eq!(floats.index.to_vec::<u32>()?, [3, 1, 0, 2, 3, 3]);
    assert_eq!(
        array!([true, false, true]).unique(2).to_vec::<bool>()?,
        [false, true]
    );
    Ok(())
}

#[test]
fn distinct_elements_of_nothing_need_a_fill_value() -> Result<()> {
    let nothing = mlx::zeros(0);
    let filled = nothing.unique_with(2, Some(3.0.into()))?;
    assert_eq!(filled.values.to_vec::<f32>()?, [3.0, 3.0]);
    assert_eq!(
        (filled.index.to_vec::<u32>()?, filled.inverse.shape()?),
        (vec![0, 0], vec![0])
    );
    let error = |x: Array| x.eval().unwrap_err().to_string();
    let text = error(nothing.unique(2));
    assert!(
        text.contains("unique: an empty array needs a fill_value, got none"),
        "{text}"
    );
    let text = error(nothing.unique(-1));
    assert!(
        text.contains("unique: size must be at least 0, got -1"),
        "{text}"
    );
    Ok(())
}

#[test]
fn metal_captures_need_metal() -> Result<()> {
    if mlx::metal::is_available() {
        return Ok(());
    }
    for error in [
        mlx::metal::start_capture("x.gputrace"),
        mlx::metal::stop_capture(),
    ] {
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("capture: wanted the Metal backend, got another"),
            "{text}"
        );
    }
    Ok(())
}
