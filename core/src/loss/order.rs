//! Sort orders. Burn's are unstable from 21 elements on, and a loss that takes the nearest of equal
//! neighbours must take the same on every device. So the host sorts, for GPUs too: Burn reads their
//! tensors back to sort them, as well.

use super::node::Fallible;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

/// From so many elements on, threads share the rows. The order doesn't depend on it.
const SHARED: usize = 1 << 13;

/// Positions that sort dimension `d` upwards: equal elements keep their order, -0 equals 0, and NaNs are
/// last, in theirs.
pub(crate) fn argsort(a: Tensor<4>, d: usize, device: &Device) -> Fallible<Tensor<4, Int>> {
    let dims = a.dims();
    let data = a.try_into_data().map_err(|e| e.to_string())?;
    let order = if let Ok(values) = data.as_slice::<f32>() {
        // A key with its place in one number: three times as fast as sorting places by their numbers.
        orders(values, dims, d, |x, i| (u64::from(key32(x)) << 32) | u64::from(i))
    } else {
        let values: Vec<f64> = data.iter::<f64>().collect();
        orders(&values, dims, d, |x, i| (u128::from(key64(x)) << 32) | u128::from(i))
    };
    Ok(Tensor::from_data(TensorData::new(order, dims), device))
}

/// What sorts as numbers do.
fn key32(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits(); // -0 + 0 is 0
    match bits >> 31 {
        _ if x.is_nan() => u32::MAX,
        0 => bits | (1 << 31),
        _ => !bits,
    }
}

fn key64(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    match bits >> 63 {
        _ if x.is_nan() => u64::MAX,
        0 => bits | (1 << 63),
        _ => !bits,
    }
}

/// A sort key that ends with the place of what it is of, so that no two are equal.
trait Placed: Ord + Copy + Send {
    fn place(self) -> i64;
}

impl Placed for u64 {
    fn place(self) -> i64 {
        i64::from(self as u32)
    }
}

impl Placed for u128 {
    fn place(self) -> i64 {
        i64::from(self as u32)
    }
}

fn orders<E: Copy + Sync, K: Placed>(
    values: &[E],
    dims: [usize; 4],
    d: usize,
    key: impl Fn(E, u32) -> K + Sync,
) -> Vec<i64> {
    let (n, inner) = (dims[d], dims[d + 1..].iter().product::<usize>());
    let mut rows = vec![0; values.len()];
    let sort = |keys: &mut Vec<K>, (row, out): (usize, &mut [i64])| {
        let start = row / inner * inner * n + row % inner;
        let values = values[start..].iter().step_by(inner);
        keys.clear();
        keys.extend(values.zip(0..n as u32).map(|(&x, i)| key(x, i)));
        keys.sort_unstable();
        for (out, key) in out.iter_mut().zip(keys) {
            *out = key.place();
        }
    };
    if values.len() < SHARED {
        let mut keys = Vec::with_capacity(n);
        rows.chunks_mut(n).enumerate().for_each(|row| sort(&mut keys, row));
    } else {
        rows.par_chunks_mut(n).enumerate().for_each_init(|| Vec::with_capacity(n), sort);
    }
    if inner == 1 {
        return rows;
    }
    // The rows lie one after another; the tensor has them beside each other.
    let mut out = vec![0; rows.len()];
    for (block, rows) in out.chunks_mut(n * inner).zip(rows.chunks(n * inner)) {
        for (j, row) in rows.chunks(n).enumerate() {
            for (i, &place) in row.iter().enumerate() {
                block[i * inner + j] = place;
            }
        }
    }
    out
}
