"""Kim, Kim, Cho & Kwak, "Embedding Transfer with Label Relaxation for Improved Metric Learning",
CVPR 2021, equation 4."""

from typing import Annotated

from retort_sdk import Loss, Step, Tensor, above, at_least, loss, pairwise_distance


@loss
class RelaxedContrastive(Loss):
    """The contrastive loss, each pair's label relaxed to how alike the source finds it.

    L = 1/n Σᵢⱼ wᵢⱼ dᵢⱼ² + 1/n Σᵢⱼ (1 - wᵢⱼ) [δ - dᵢⱼ]₊²   over i ≠ j, where
    wᵢⱼ = exp(-‖sᵢ - sⱼ‖² / σ)  and  dᵢⱼ = ‖tᵢ - tⱼ‖ / meanₖ ‖tᵢ - tₖ‖.

    The source's embeddings are normalised here, the target's are taken as they are. As in the
    authors' code, the mean runs over the whole row, its zero diagonal included.
    """

    sigma: Annotated[float, "σ, width of the source's kernel, in squared distance of unit vectors.", above(0.0)] = 1.0
    delta: Annotated[float, "δ, margin, in units of the anchor's mean distance to the batch.", at_least(0.0)] = 1.0

    def loss(self, step: Step) -> Tensor:
        t, s = step.target(), step.source().normalize(1)  # [n, d], [n, d']

        d = pairwise_distance(t)  # [n, n]
        d = d / d.mean_dim(1).clamp_min(1e-12)
        w = (-pairwise_distance(s).square() / self.sigma).exp()

        pull = w * d.square()
        push = (1.0 - w) * (self.delta - d).relu().square()
        return (pull + push).off_diagonal().sum() / t.dim(0)
