//! Operations of our own in Burn's graph of gradients.

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::ops::{Backward, NodeGuard, OpsKind};
use burn::backend::{Autodiff, Backend, BackendTypes};

/// The result of an operation whose gradient is `step`, with its operands' nodes; what the gradient needs is kept where
/// one is wanted.
pub(super) fn recorded<B: Backend, S: Backward<B, N>, const N: usize>(
    step: S,
    nodes: [NodeGuard; N],
    saved: S::State,
    out: B::FloatTensorPrimitive,
) -> <Autodiff<B> as BackendTypes>::FloatTensorPrimitive {
    match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(ready) => ready.finish(saved, out),
        OpsKind::UnTracked(ready) => ready.finish(out),
    }
}
