"""Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, equations 17 to 19."""

from enum import Enum
from math import sqrt
from typing import Annotated

from retort_sdk import (
    Buffer,
    Index,
    Init,
    Loss,
    Negatives,
    Step,
    Tensor,
    at_least,
    between,
    last_feature,
    loss,
    single,
)


class On(Enum):
    """What the loss looks at."""

    FEATURE = "feature"
    """The last feature vector, before the embedding layer."""
    EMBEDDING = "embedding"
    """The embedding."""


@loss
class Crd(Loss):
    """Tells a sample's own entry in the other network's memory from k random ones.

    L = -1/n Σᵢ [ log h(i, i) + Σⱼ log(1 - h(i, j)) ]  over k noise samples j, once for either anchor,
    where h(i, j) = p / (p + k/N),  p = e^{aᵢ·mⱼ/τ} / Z,  N is the size of the training set, and Z is
    N times the mean of the first batch's exponentials.

    As in the authors' code: memories of all samples, updated with momentum after each step; noise
    from other classes; 1e-7 beside k/N. Of a sample's views the last one is remembered.
    """

    dim: Annotated[int, "Width of the space that both networks are projected to.", at_least(1)] = 128
    negatives: Annotated[int, "k, noise samples for each sample.", at_least(1)] = 4096
    temperature: Annotated[float, "τ; below 0.012 the exponentials leave the range of 32 bits.", at_least(0.012)] = 0.07
    momentum: Annotated[float, "Share of the old entry that a memory update keeps.", between(0.0, 1.0)] = 0.5
    on: Annotated[On, "What the projections see."] = On.FEATURE
    noise: Annotated[Negatives, "Where noise samples come from."] = Negatives.OTHER_CLASSES

    def loss(self, step: Step) -> Tensor:
        embedding = self.on is On.EMBEDDING
        t = step.target() if embedding else last_feature(step.target_features())
        s = step.source() if embedding else last_feature(step.source_features())
        if t is None or s is None:
            return step.fail('the networks return no feature vector: set on = "embedding"')
        t = step.linear("embed_target", t, self.dim).normalize(1)  # [n, dim]
        s = step.linear("embed_source", s, self.dim).normalize(1)  # [n, dim]

        picks = step.contrast(self.negatives, self.noise)  # [n, 1 + k]
        init = Init.uniform(sqrt(3.0 / self.dim))
        memory_t = step.buffer("memory_target", [step.samples(), self.dim], init)
        memory_s = step.buffer("memory_source", [step.samples(), self.dim], init)

        loss = self.contrast(step, "z_target", t, memory_s, picks) + self.contrast(step, "z_source", s, memory_t, picks)
        self.remember(memory_t, step.ids(), t)
        self.remember(memory_s, step.ids(), s)
        return loss

    def contrast(self, step: Step, z: str, anchor: Tensor, memory: Buffer, picks: Index) -> Tensor:
        """How well `anchor` tells column 0 of `picks` from the rest."""
        n, k, samples = anchor.dim(0), self.negatives, step.samples()
        # The authors keep τ in 32 bits.
        score = anchor @ memory.get().t() / single(self.temperature)  # [n, N]
        e = score.gather(1, picks).exp()  # [n, 1 + k]
        p = e / step.once(z, e.mean() * samples)

        m = k / samples
        own, other = p.slice(1, 0, 1), p.slice(1, 1, 1 + k)
        log_h = (own / (own + (m + 1e-7))).ln().sum()
        log_not_h = (m / (other + (m + 1e-7))).ln().sum()
        return -(log_h + log_not_h) / n

    def remember(self, memory: Buffer, ids: Index, x: Tensor) -> None:
        """Moves the batch's entries towards the new embeddings."""
        momentum = single(self.momentum)  # as τ
        mixed = momentum * memory.rows(ids) + (1.0 - momentum) * x.detach()
        memory.set_rows(ids, mixed.normalize(1))
