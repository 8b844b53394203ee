"""What lies beside the weights in checkpoints of the world, as PyTorch itself saves it.

Writes `beside_zip.pth` and `beside_legacy.pth` (a network among objects of many classes), `quantised.pth` (a
network one of whose tensors is quantised), `wrapped.pth` (a network that only its author's program can read) and
`positions.json` (position embeddings resampled by PyTorch's `interpolate` as timm does it). Needs PyTorch 1.11 or
later with NumPy; the classes of EasyDict, yacs, OmegaConf and the like are stood in for under their names, and
pickled as they are.

    python3 beside.py
"""

import argparse
import collections
import json
import math
import sys
import types

import numpy as np
import torch


def value(key, shape):
    """Multiples of 1/16 that depend on the key and the place alone; variances are positive."""
    count, middle = math.prod(shape), 16 if key.endswith("running_var") else 0
    flat = [((31 * len(key) + j) % 23 - 11 + middle) / 16 for j in range(count)]
    return torch.tensor(flat, dtype=torch.float32).reshape(shape)


def network(prefix, embedding="embedding"):
    """retort's convnet of width 2 with 5 dimensions."""
    widths, channels, state = [2, 3, 4, 6], 3, collections.OrderedDict()
    for i, width in enumerate(widths):
        state[f"blocks.{i}.conv.weight"] = (width, channels, 3, 3)
        for part in ["weight", "bias", "running_mean", "running_var"]:
            state[f"blocks.{i}.bn.{part}"] = (width,)
        channels = width
    state["embedding.weight"] = (5, channels)
    state["embedding.bias"] = (5,)
    named = ((key.replace("embedding", embedding), (key, shape)) for key, shape in state.items())
    return collections.OrderedDict((prefix + new, value(*old)) for new, old in named)


def stand_in(module, name, base=object, **members):
    """A class under another module's name."""
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(parts[i]))
    made = type(name, (base,), {"__module__": module, **members})
    setattr(sys.modules[module], name, made)
    return made


def beside():
    EasyDict = stand_in("easydict", "EasyDict", dict)
    CfgNode = stand_in("yacs.config", "CfgNode", dict)
    DictConfig = stand_in(
        "omegaconf.dictconfig",
        "DictConfig",
        __getstate__=lambda self: self.__dict__,
        __setstate__=lambda self, state: self.__dict__.update(state),
    )
    Config = stand_in("code.configs", "Config")
    Scheduler = stand_in("warmup.schedule", "Scheduler")
    easy = EasyDict(lr=0.1, depth=EasyDict(n=3))
    easy.__dict__.update(easy)
    node = CfgNode(SOLVER=CfgNode(BASE_LR=0.1))
    node.__dict__["__immutable__"] = True
    omega = DictConfig()
    omega._content = {"lr": DictConfig(), "name": "x"}
    omega._parent = omega
    counts = collections.defaultdict(list)
    counts["a"].append(torch.ones(2))
    counts[("a", 1)].append(torch.ones(3))
    nested = collections.defaultdict(int, {"b": 1})
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    scheduler = Scheduler()
    scheduler.optimizer = optimizer
    scheduler.itself = scheduler
    config = Config()
    config.weights = torch.ones(4)
    return {
        "epoch": 3,
        "best": np.float64(0.75),
        "rng": np.random.RandomState(0).get_state(),
        "torch_rng": torch.get_rng_state(),
        "counts": counts,
        "nested": nested,
        "easy": easy,
        "cfg": node,
        "omega": omega,
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), dtype=torch.float16, size=torch.Size([2, 3])),
        "optimizer": optimizer.state_dict(),
        "whole_optimizer": optimizer,
        "scheduler": scheduler,
        "config": config,
        "complex": torch.ones(3, dtype=torch.complex64),
        "complex128": torch.ones(3, dtype=torch.complex128),
        "sparse": torch.eye(3).to_sparse(),
        "quantised": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "queue": collections.deque([1, 2], maxlen=2),
        "none": None,
        "big": 2**200,
        "set": {1, 2},
        "function": math.sqrt,
    }


def positions():
    """`[1, 1 + g², 3]` for several g, resampled to 14."""
    out = []
    for grid in [7, 24, 37]:
        full = torch.tensor([math.sin(0.37 * i) for i in range(3 * (1 + grid * grid))], dtype=torch.float64)
        full = full.reshape(1, 1 + grid * grid, 3).float()
        head, patches = full[:, :1], full[:, 1:]
        patches = patches.reshape(1, grid, grid, 3).permute(0, 3, 1, 2)
        patches = torch.nn.functional.interpolate(patches, size=(14, 14), mode="bicubic", antialias=True)
        patches = patches.permute(0, 2, 3, 1).reshape(1, -1, 3)
        out.append({"grid": grid, "values": torch.cat([head, patches], dim=1).flatten().tolist()})
    return out


if __name__ == "__main__":
    torch.save({"model": network("module._orig_mod."), **beside()}, "beside_zip.pth")
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"model": network("module._orig_mod."), **beside()}, "beside_legacy.pth", **old)
    state = network("")
    state["blocks.1.conv.weight"] = torch.quantize_per_tensor(state["blocks.1.conv.weight"], 0.1, 0, torch.qint8)
    torch.save(state, "quantised.pth")
    Wrapper = stand_in("models.wrapper", "Wrapper")
    wrapper = Wrapper()
    wrapper.net = network("")
    torch.save({"model": wrapper, "epoch": 3}, "wrapped.pth")
    with open("positions.json", "w") as file:
        json.dump(positions(), file)
