//! Position embeddings of vision transformers for pictures of another size.

use crate::backbone::bicubic;
use burn::store::bridge;
use burn::store::burn_pack::Tensor;
use burn::tensor::{DType, TensorData};

/// The key of a vision transformer's position embeddings.
pub(super) const KEY: &str = "pos_embed";

/// Position embeddings `[1, 1 + g², width]` resampled to another number of patches along a side, as timm's
/// `resample_abs_pos_embed` does: bicubic, widened when shrinking; the class token keeps its own. And the
/// patches along a side before and after. None if they aren't a class token's and a square's of this width.
pub(super) fn resampled(tensor: &Tensor, want: &[usize]) -> Option<(Tensor, [usize; 2])> {
    let (&[1, has, width], &[1, needs, same]) = (&*tensor.shape, want) else { return None };
    let side = |tokens: usize| {
        let patches = tokens.checked_sub(1)?;
        let side = patches.isqrt();
        (side > 0 && side * side == patches).then_some(side)
    };
    let (from, to) = (side(has)?, side(needs)?);
    if width != same || from == to {
        return None;
    }
    let (source, shape) = (tensor.clone(), want.to_vec());
    let read = move || {
        let data = bridge::to_data(&source)?;
        let values: Vec<f64> = data.iter::<f64>().collect();
        Ok(TensorData::new(grid(&values, width, from, to), shape.clone()))
    };
    let name = tensor.name.clone();
    let resampled = bridge::deferred(name, DType::F32, want.to_vec().into(), None, read);
    Some((resampled, [from, to]))
}

/// The class token's numbers, and those of `to` x `to` patches made of `from` x `from`.
fn grid(values: &[f64], width: usize, from: usize, to: usize) -> Vec<f32> {
    let (class, patches) = values.split_at(width);
    let weights = bicubic(from, to);
    // Along the rows, then along the columns.
    let mut rows = vec![0.0; from * to * width];
    for y in 0..from {
        for x in 0..to {
            let row = &mut rows[(y * to + x) * width..][..width];
            for i in 0..from {
                let weight = weights[x * from + i];
                let source = &patches[(y * from + i) * width..][..width];
                row.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    let mut all: Vec<f32> = class.iter().map(|&v| v as f32).collect();
    for y in 0..to {
        for x in 0..to {
            let mut sum = vec![0.0; width];
            for i in 0..from {
                let weight = weights[y * from + i];
                let source = &rows[(i * to + x) * width..][..width];
                sum.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
            all.extend(sum.into_iter().map(|v| v as f32));
        }
    }
    all
}
