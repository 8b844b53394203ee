//! What losses share that order the batch by its similarity to each sample.

use retort_sdk::prelude::*;

/// By how much sample j is nearer to query q than sample i: similarities `[q, n]` give `[q, i, j]`, sᵩⱼ - sᵩᵢ.
pub(crate) fn leads(similarity: Tensor) -> Tensor {
    similarity.unsqueeze(1) - similarity.unsqueeze(2)
}

/// The sigmoid of x / τ, a smooth step; flat beyond 50 τ, as the authors of all of these losses have it.
pub(crate) fn soft_step(x: Tensor, tau: f64) -> Tensor {
    (x / tau).clamp(-50.0, 50.0).sigmoid()
}

/// 1 from 0 on, without gradient.
pub(crate) fn hard_step(x: Tensor) -> Tensor {
    1.0 - x.below(0.0)
}

/// The upper bound of the step by which a loss of Ramzi et al. counts who is wrongly ahead: a sigmoid of
/// width `TAU` up to 0, and half a step higher up to `DELTA`; from there on a line of slope `RHO`, which pulls
/// as hard however far ahead.
pub(crate) fn steep_step(lead: Tensor) -> Tensor {
    let sigmoid = soft_step(lead, TAU);
    let near = sigmoid + 0.5 * lead.above(0.0);
    let far = RHO * (lead - DELTA) + OFFSET;
    far.select(lead.above(DELTA), near)
}

const TAU: f64 = 0.01;
const RHO: f64 = 100.0;
const DELTA: f64 = 0.05;
/// Where the line begins; a little below the sigmoid's 1.4933, as in the authors' code.
const OFFSET: f64 = 1.44;

/// 1 plus the sum of what `ahead` `[q, i, j]` says of all j but i itself: i's rank for q, `[q, i]`.
pub(crate) fn rank(ahead: Tensor) -> Tensor {
    let others = 1.0 - ahead.eye(ahead.dim(2));
    1.0 + (ahead * others).sum_dim(2).squeeze(2)
}

/// Mean pull of pairs of one class below a cosine, and mean push of pairs of two classes above another,
/// each over the pairs that violate it.
pub(crate) fn margins(cos: Tensor, same: Tensor, positive: f64, negative: f64) -> Tensor {
    let pull = (positive - cos).relu() * same;
    let push = (cos - negative).relu() * (1.0 - same);
    mean_where(pull, pull.above(0.0)) + mean_where(push, push.above(0.0))
}
