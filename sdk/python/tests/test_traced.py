"""Traces give the numbers of the component, and refuse what they can't repeat."""

import os

import pytest
import torch

import retort_torch
from retort_torch.pins import _LAYOUTS, batch

PACK = retort_torch.Pack(os.environ["RETORT_PACK"])

#: Losses that do otherwise on another batch, and what of it is refused.
REFUSED = {
    "circle": "fact `positive_pairs`",
    "crd": "it draws anew in each step",
    "crd_batch": "it keeps this from step to step",
    "darkrank": "fact `positive_pairs`",
    "multi_similarity": "fact `positive_pairs`",
    "n_pair": "it looks at a tensor's values",
    "supcon": "fact `positive_pairs`",
    "triplet": "fact `positive_pairs`",
}

def layout(name):
    for layout in _LAYOUTS:
        try:
            retort_torch.Loss(PACK, name)(**batch(12, 6, 42, *layout))
            return layout
        except retort_torch.LossError:
            continue
    raise AssertionError(name)


def leaves(given):
    given = dict(given, target=given["target"].clone().requires_grad_())
    given["target_features"] = [t.clone().requires_grad_() for t in given["target_features"]]
    return given


def named(trace, given):
    """The trace's tensors, in its order."""
    flat = dict(given)
    for of in ("target_features", "source_features"):
        flat.update((f"{of}_{i}", t) for i, t in enumerate(given[of]))
    return [flat[name] for name in trace.names]


@pytest.mark.parametrize("name", sorted(PACK.losses))
def test_a_trace_has_the_numbers_of_the_component(name):
    shape = layout(name)
    loss = retort_torch.Loss(PACK, name)
    try:
        trace = loss.traced(**batch(12, 6, 42, *shape))
    except retort_torch.LossError as error:
        assert name in REFUSED and REFUSED[name] in str(error), error
        return
    assert name not in REFUSED
    loss.eval()
    # Another batch of these shapes than the one it was traced with.
    for salt in (42, 7):
        given, again = leaves(batch(12, 6, salt, *shape)), leaves(batch(12, 6, salt, *shape))
        value, other = loss(**given), trace(*named(trace, again))
        assert torch.equal(value, other), name
        inputs = lambda g: [g["target"], *g["target_features"], *loss.parameters()]  # noqa: E731
        of = lambda v, g: torch.autograd.grad(v, inputs(g), allow_unused=True)  # noqa: E731
        for a, b in zip(of(value, given), of(other, again)):
            assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-12, atol=1e-15), name
    example = named(trace, batch(12, 6, 42, *shape))
    jitted = torch.jit.trace(trace, tuple(example), check_trace=False)
    wanted = named(trace, batch(12, 6, 9, *shape))
    assert torch.allclose(jitted(*wanted), trace(*wanted), rtol=1e-12)


def test_a_trace_is_of_one_shape():
    loss = retort_torch.Loss(PACK, "rkd")
    trace = loss.traced(target=torch.randn(6, 3), source=torch.randn(6, 5))
    assert trace.names == ["target", "source"]
    with pytest.raises(retort_torch.LossError, match=r"target has shape \[4, 3\], and it was traced with \[6, 3\]"):
        trace(torch.randn(4, 3), torch.randn(4, 5))
    with pytest.raises(TypeError, match="its trace takes target, source, and got 1 of these"):
        trace(torch.randn(6, 3))
    with pytest.raises(TypeError, match="its trace takes no lables"):
        trace(target=torch.randn(6, 3), source=torch.randn(6, 5), lables=torch.arange(6))
    with pytest.raises(retort_torch.LossError, match="target is torch.float64, and it was traced with torch.float32"):
        trace(torch.randn(6, 3).double(), torch.randn(6, 5))
    given = dict(target=torch.randn(6, 3), source=torch.randn(6, 5))
    assert torch.equal(trace(**given), loss(**given))
    assert "wasm" not in str(type(trace.graph)).lower() and "source" in trace.graph.code


def test_parameters_of_a_trace_are_the_loss_s():
    loss = retort_torch.Loss(PACK, "proxy_anchor")
    given = dict(target=torch.randn(6, 3), labels=torch.arange(6) % 3, classes=3)
    trace = loss.traced(**given)
    assert [p.data_ptr() for p in trace.parameters()] == [p.data_ptr() for p in loss.parameters()]


def test_what_changes_is_refused_with_the_reason():
    loss = retort_torch.Loss(PACK, "crd", dim=5, negatives=7)
    given = batch(12, 6, 42)
    with pytest.raises(retort_torch.LossError, match=r"crd: .* at .*\.rs:\d+: it (draws anew|keeps this)"):
        loss.traced(**given)
