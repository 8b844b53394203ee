"""The operations by their codes. Made from `sdk/src/op.rs`: `RETORT_BLESS=1 cargo test --workspace --test snapshots pages`
writes it."""

from typing import Final

INPUT: Final = 1
"""Input `name`: `target`, `source` `[n, d]`, `labels`, `ids` `[n]`; feature lists take attrs `[level]`."""
FACT: Final = 2
"""A number about the step, to be read at once: `classes`, `samples`, `views`, `epoch`, `progress`, …"""
PARAM: Final = 3
"""Learnable parameter `name`; attrs `[init, scale, dims…]`."""
BUFFER: Final = 4
"""Buffer `name` as it was at the start of the step; attrs `[init, scale, dims…]`."""
SET_ROWS: Final = 5
"""Sets rows `args[0]` `[n]` of buffer `name` to `args[1]` `[n, …]` when the step ends; the last of equal indices wins."""
SET_BUFFER: Final = 6
"""Sets buffer `name` to `args[0]` when the step ends."""
ONCE: Final = 7
"""The value that `args[0]` had the first time this name was seen."""
LOG: Final = 8
"""Reports scalar `args[0]` beside the loss as `name`."""
RANDOM_INDEX: Final = 9
"""Random integers below `attrs[0]`, of shape `attrs[1..]`."""
RANDOM_UNIFORM: Final = 10
"""Random floats in `[0, 1)`, of shape `attrs`."""
RANDOM_NORMAL: Final = 11
"""Random floats from the standard normal distribution, of shape `attrs`."""
CONSTANT: Final = 12
"""Floats from the plugin; attrs `[rank, dims…, values…]`."""
CONSTANT_INDEX: Final = 13
"""Integers from the plugin; attrs `[rank, dims…, values…]`."""
FAIL: Final = 14
"""Fails the step with the message `name`."""
BLAME: Final = 15
"""Names the source line (`file:line`) of the operation that failed first."""
UNDEFINED: Final = 16
"""Says that the loss isn't defined on this batch; `name` says why."""
CONTRAST: Final = 17
"""Each row's own sample id, then `attrs[0]` random ones: of other classes if `attrs[1]` is 1, of any if 0; `[n, 1 + attrs[0]]`. Views of a sample share them."""
HAS: Final = 18
"""1 if this step has the input or fact `name`, else 0, to be read at once; of feature lists their place `attrs[0]`. Never fails, whatever the name."""
ADD: Final = 20
"""`a + b`"""
SUB: Final = 21
"""`a - b`"""
MUL: Final = 22
"""`a * b`"""
DIV: Final = 23
"""`a / b`"""
MAX: Final = 24
"""The larger of `a` and `b`; where they are equal, each gets half of the gradient. NaN where either is."""
MIN: Final = 25
"""The smaller of `a` and `b`; where they are equal, each gets half of the gradient. NaN where either is."""
ADD_SCALAR: Final = 26
"""`a + x`"""
MUL_SCALAR: Final = 27
"""`a * x`"""
DIV_SCALAR: Final = 28
"""`a / x`"""
POW_SCALAR: Final = 29
"""`a ^ x`"""
GREATER: Final = 30
"""1 where `a > b`, else 0, also where either is NaN; no gradient."""
EQUAL: Final = 31
"""1 where `a == b`, else 0; no gradient. Both floats or both integers; 0 equals -0, and NaN equals nothing."""
SELECT: Final = 32
"""`a` where the mask is not 0, else `b`; args `[a, b, mask]`. The other branch gets no gradient, not even NaN."""
NEG: Final = 40
"""`-a`"""
EXP: Final = 41
"""`eᵃ`"""
LN: Final = 42
"""Natural logarithm."""
LN1P: Final = 43
"""`ln(1 + a)`, exact near 0."""
SQRT: Final = 44
"""Square root. Its gradient at 0 is infinite."""
RELU: Final = 45
"""`max(a, 0)`; no gradient at 0. NaN stays."""
ABS: Final = 46
"""`|a|`; no gradient at 0."""
CLAMP_MIN: Final = 47
"""`max(a, x)`; no gradient below, all of it at the bound. NaN stays."""
CLAMP_MAX: Final = 48
"""`min(a, x)`; no gradient above, all of it at the bound. NaN stays."""
DETACH: Final = 49
"""The same values as a constant: no gradient flows through."""
TANH: Final = 50
"""Hyperbolic tangent."""
SIGMOID: Final = 51
"""`1 / (1 + e⁻ᵃ)`"""
SIN: Final = 52
"""Sine."""
COS: Final = 53
"""Cosine."""
SUM: Final = 60
"""Sum of all elements, a scalar."""
SUM_DIM: Final = 61
"""Sum along dimension `dim`, which stays with size 1."""
MEAN_DIM: Final = 62
"""Mean along dimension `dim`, which stays with size 1."""
MAX_DIM: Final = 63
"""Largest element along dimension `dim`, which stays with size 1; of equal ones the first gets the gradient. NaN where one is, and then the first NaN gets it."""
MIN_DIM: Final = 64
"""Smallest element along dimension `dim`, which stays with size 1; of equal ones the first gets the gradient. NaN where one is, and then the first NaN gets it."""
CUM_SUM: Final = 65
"""Running sum along dimension `dim`, which keeps its size."""
MATMUL: Final = 80
"""Matrix product `[…, n, k]` by `[…, k, m]`: `[…, n, m]`; leading dimensions broadcast."""
TRANSPOSE: Final = 81
"""Exchanges the last two dimensions."""
RESHAPE: Final = 82
"""The same elements in the shape `dims`."""
SLICE: Final = 83
"""Elements `start..end` of dimension `dim`."""
CAT: Final = 84
"""`a`, then `b`, along dimension `dim`."""
ROWS: Final = 85
"""Rows `index` `[m]` of `a` `[n, …]`: `[m, …]`; args `[a, index]`."""
GATHER: Final = 86
"""`out[.., i, ..] = a[.., index[.., i, ..], ..]` along dimension `dim`; args `[a, index]`."""
SWAP_DIMS: Final = 87
"""Exchanges dimensions `dim` and `with`."""
ADAPTIVE_AVG_POOL: Final = 88
"""Average over windows of `[n, c, h, w]` that give `[n, c, height, width]`."""
ARGSORT: Final = 100
"""Positions that sort dimension `dim` upwards; equal elements (also 0 and -0) keep their order, NaNs come last in theirs. The same on every device."""
ONE_HOT: Final = 101
"""`[n]` integers below `classes`, others are refused: `[n, classes]` floats, one 1 a row."""
EYE: Final = 102
"""Identity matrix `[n, n]`."""
CAT_INDEX: Final = 103
"""`a`, then `b`, along dimension `dim`; integers."""
RESHAPE_INDEX: Final = 104
"""The same integers in the shape `dims`."""
FLOAT: Final = 105
"""Integers as floats."""
SLICE_INDEX: Final = 106
"""Elements `start..end` of dimension `dim` of integers."""
GATHER_INDEX: Final = 107
"""`out[.., i, ..] = a[.., index[.., i, ..], ..]` along dimension `dim`, of integers; args `[a, index]`."""
RANGE: Final = 108
"""Integers `start..end`."""
ADD_INDEX: Final = 109
"""`a + b` for integers."""
MOD_INDEX: Final = 110
"""`a` modulo `divisor`, never negative, for integers."""
