"""Pins in PyTorch are those of the repository, and comparisons find where two losses part."""

import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import retort_torch

PACK = retort_torch.Pack(os.environ["RETORT_PACK"])
PINS = Path(__file__).resolve().parents[3] / "snapshots/snapshots"


def numbers(words):
    def number(word):
        try:
            return float(word.strip("[],"))
        except ValueError:
            return word

    return [number(word) for word in words]


def same(found, wanted):
    """Whether two lines are the same, their numbers within what one machine's last digits may differ from another's."""
    found, wanted = numbers(found.split()), numbers(wanted.split())
    near = lambda a, b: a == b if isinstance(a, str) or isinstance(b, str) else abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3)  # noqa: E731
    return len(found) == len(wanted) and all(map(near, found, wanted))


@pytest.mark.parametrize("name", sorted(PACK.losses))
def test_pins_are_the_repository_s(name):
    wanted = (PINS / f"loss_{name}.snap").read_text().split("\n---\n", 1)[1].strip().splitlines()
    found = retort_torch.pin(retort_torch.Loss(PACK, name)).strip().splitlines()
    parted = [(a, b) for a, b in zip(found, wanted) if not same(a, b)]
    assert len(found) == len(wanted) and not parted, parted[:4]


def distances(x):
    return (x.unsqueeze(0) - x.unsqueeze(1)).pow(2).sum(-1).clamp(min=1e-12).sqrt()


def rkd(target, source, weight_distance=1.0, weight_angle=2.0, wrong=1.0):
    """Relational knowledge distillation as its authors write it (Park et al., CVPR 2019)."""

    def normalised(x):
        d = distances(x)
        d = d - torch.diag(torch.diag(d))
        return d / d[d > 0].mean()

    def angles(x):
        e = functional.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
        return torch.bmm(e, e.transpose(1, 2)).flatten()

    distance = functional.smooth_l1_loss(normalised(target), normalised(source))
    angle = functional.smooth_l1_loss(angles(target), angles(source))
    return weight_distance * distance + wrong * weight_angle * angle


def test_another_implementation_is_proved_right_or_wrong(capsys):
    loss = retort_torch.Loss(PACK, "rkd")
    assert retort_torch.check(rkd, loss) == []
    assert "agrees with rkd" in capsys.readouterr().out
    parted = retort_torch.check(lambda target, source: rkd(target, source, wrong=1.01), loss)
    assert len(parted) == 4 and "value" in parted[0] and "gradient of target is off by" in parted[1]
    assert "most in row" in capsys.readouterr().out


def test_a_function_is_pinned_in_the_same_text():
    loss = retort_torch.Loss(PACK, "rkd")
    text = retort_torch.pin(rkd, like=loss)
    wanted = (PINS / "loss_rkd.snap").read_text()
    value = next(line for line in wanted.splitlines() if "value.1" in line)
    assert text.startswith("# retort snapshot, format 1") and any(same(line, value) for line in text.splitlines())
    with pytest.raises(TypeError, match="like=Loss"):
        retort_torch.pin(rkd)
