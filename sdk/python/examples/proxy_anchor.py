"""Kim, Kim, Cho & Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, equation 4."""

from math import sqrt
from typing import Annotated

from retort_sdk import Init, Loss, Step, Tensor, above, at_least, ln_1p_sum_exp, loss


@loss
class ProxyAnchor(Loss):
    """One learnable proxy a class; each proxy is the anchor, the whole batch its pairs.

    L = 1/|P⁺| Σ_{p∈P⁺} log(1 + Σ_{x∈X⁺} e^{-α(cos(x,p) - δ)})
      + 1/|P|  Σ_{p∈P}  log(1 + Σ_{x∈X⁻} e^{ α(cos(x,p) + δ)})

    P⁺ are the proxies whose class is in the batch. The logarithms are taken so that no α
    overflows, which the authors' code does in f32 from α = 81 on.
    """

    alpha: Annotated[float, "α, sharpness.", above(0.0)] = 32.0
    margin: Annotated[float, "δ, margin, in cosine.", at_least(0.0)] = 0.1

    def loss(self, step: Step) -> Tensor:
        classes = step.classes()
        x = unit(step.target())  # [n, d]
        init = Init.normal(sqrt(2.0 / classes))
        p = unit(step.param("proxies", [classes, x.dim(1)], init))  # [c, d]

        cos = x @ p.t()  # [n, c]
        same = step.labels().one_hot(classes)  # [n, c]
        pull = ln_1p_sum_exp(-self.alpha * (cos - self.margin), same, 0)  # [1, c]
        push = ln_1p_sum_exp(self.alpha * (cos + self.margin), 1.0 - same, 0)

        present = same.max_dim(0).sum()  # |P⁺|
        return pull.sum() / present + push.sum() / classes


def unit(x: Tensor) -> Tensor:
    """Unit rows, as the authors divide: x / √(‖x‖² + 1e-12)."""
    return x / (x.square().sum_dim(1) + 1e-12).sqrt()
