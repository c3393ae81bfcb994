//! Convolutions: input `[batch, spatial.., channels]`, weight `[out, spatial.., in / groups]`.

use mlx::Op;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::Number;
use crate::tensor::{Tensor, coordinates, count, flat_index};

/// Sums products of the weight with the windows of the padded and spread input.
pub(crate) fn conv(op: &Op, call: &Call<'_>) -> Result<Vec<Tensor>> {
    let Op::Conv {
        stride,
        padding_lo,
        kernel_dilation,
        input_dilation,
        groups,
        flip,
        ..
    } = op
    else {
        return Err(call.refuse());
    };
    let dtype = call.dtype()?;
    let (x, w) = (
        call.input(0)?.astype(dtype, call.rounding),
        call.input(1)?.astype(dtype, call.rounding),
    );
    let shape = call.shape()?;
    let ([_, spatial @ .., channels], [out, kernel @ .., per_group]) = (x.shape(), w.shape())
    else {
        return Err(call.error("wanted an input and a weight of at least 3 axes"));
    };
    let groups = usize::try_from(*groups).unwrap_or(1).max(1);
    if spatial.len() != kernel.len() || per_group * groups != *channels || shape.len() != x.ndim() {
        return Err(call.error(format!(
            "wanted a weight that fits {:?}, got {:?}",
            x.shape(),
            w.shape()
        )));
    }
    let get = |list: &[i32], k: usize, or: i64| {
        // One number holds for all axes.
        list.get(if list.len() == 1 { 0 } else { k })
            .map_or(or, |&n| i64::from(n))
    };
    let wide = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let taps = count(kernel)?;
    let of = |k: usize| {
        let at = coordinates(k, &shape);
        let (batch, feature) = (at[0], at[at.len() - 1]);
        let group = feature / (out / groups).max(1);
        let mut total = Number::zero(dtype);
        'taps: for tap in 0..taps {
            let offsets = coordinates(tap, kernel);
            let mut source = vec![batch];
            for (d, &offset) in offsets.iter().enumerate() {
                let spread = get(input_dilation, d, 1).max(1);
                let position = wide(at[d + 1]) * get(stride, d, 1)
                    + wide(offset) * get(kernel_dilation, d, 1)
                    - get(padding_lo, d, 0);
                match usize::try_from(position / spread) {
                    Ok(k) if position >= 0 && position % spread == 0 && k < spatial[d] => {
                        source.push(k)
                    }
                    _ => continue 'taps,
                }
            }
            let mut weight = vec![feature];
            weight.extend(
                offsets
                    .iter()
                    .zip(kernel)
                    .map(|(&k, &n)| if *flip { n - 1 - k } else { k }),
            );
            for c in 0..*per_group {
                let from = [source.as_slice(), &[group * per_group + c]].concat();
                let by = [weight.as_slice(), &[c]].concat();
                total = total.add(
                    x.at(flat_index(&from, x.shape()))
                        .multiply(w.at(flat_index(&by, w.shape()))),
                );
            }
        }
        total
    };
    call.one((0..count(&shape)?).map(of).collect())
}
