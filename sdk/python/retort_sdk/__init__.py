"""Write a loss once: one short file that reads like the paper's equation, which retort runs sandboxed, as a WASM
component.

```python
\"\"\"Author, "Title of the paper", venue and year, equation.\"\"\"

from typing import Annotated

from retort_sdk import Loss, Step, Tensor, above, loss


@loss
class Follow(Loss):
    \"\"\"Pulls the target's embeddings towards the source's.

    L = ω/n Σᵢ ‖tᵢ - sᵢ‖²
    \"\"\"

    omega: Annotated[float, "ω, weight.", above(0.0)] = 1.0

    def loss(self, step: Step) -> Tensor:
        t, s = step.target(), step.source()  # [n, d]
        return self.omega * (t - s).square().sum() / t.dim(0)
```

State lives in the host: parameters and buffers by name (`Step.param`, `Step.buffer`).
"""

from .distance import (
    binary_cross_entropy,
    cdist,
    cosine_similarity,
    cross_entropy,
    euclidean_distance,
    feature_pairs,
    huber,
    kl_divergence,
    last_feature,
    ln_1p_sum_exp,
    log_softmax_where,
    log_sum_exp,
    mean_where,
    pairwise_distance,
    row_cosine,
    softplus,
)
from .einsum import einsum
from .hyper import Loss, above, at_least, between, loss, single
from .step import Buffer, Init, Negatives, Step
from .tensor import Index, Tensor

__version__ = "0.1.0"

__all__ = [
    "Buffer",
    "Index",
    "Init",
    "Loss",
    "Negatives",
    "Step",
    "Tensor",
    "above",
    "at_least",
    "between",
    "binary_cross_entropy",
    "cdist",
    "cosine_similarity",
    "cross_entropy",
    "einsum",
    "euclidean_distance",
    "feature_pairs",
    "huber",
    "kl_divergence",
    "last_feature",
    "ln_1p_sum_exp",
    "log_softmax_where",
    "log_sum_exp",
    "loss",
    "mean_where",
    "pairwise_distance",
    "row_cosine",
    "single",
    "softplus",
]
