//! What losses share that compare a target's queries with a source's gallery.

use retort_sdk::prelude::*;

/// Unit embeddings of the target and of the source, `[n, d']` both. With `project` a learnable affine map,
/// parameters `projection.weight` and `projection.bias`, brings the target to the source's width; without
/// it the widths must be equal.
pub(crate) fn unit(step: &Step, project: bool) -> (Tensor, Tensor) {
    let (t, s) = embeddings(step, project);
    (t.normalize(1), s.normalize(1))
}

/// As [`unit`], with the norms that the networks give.
pub(crate) fn embeddings(step: &Step, project: bool) -> (Tensor, Tensor) {
    let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
    if project {
        return (step.linear("projection", t, s.dim(1)), s);
    }
    step.need_same_shape(t, s, "give both networks one width, or set project = true");
    (t, s)
}
