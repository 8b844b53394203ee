"""Checkpoints between retort and PyTorch, both ways, with the program and torch, torchvision, safetensors:

    python snapshots/references/load_in_torch.py target/debug/retort

Each network is saved by PyTorch (zip and legacy, bare and wrapped, 32 and 16 bits), imported, exported,
loaded again with strict=True; every value must be the same, and so must the embeddings that PyTorch
computes with them. The golden checkpoint, exported by retort, must give the golden embeddings. A network
trained by retort is loaded into PyTorch and must embed as `retort embed` does.
"""

import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file

RETORT = sys.argv[1] if len(sys.argv) > 1 else "retort"
HERE = Path(__file__).resolve().parent
GOLDEN = Path(os.environ.get("RETORT_GOLDEN", HERE / "../../../shared/golden"))


def retort(*args):
    """Runs the program on the CPU; its JSON."""
    done = subprocess.run(
        [RETORT, *map(str, args), "--device=cpu", "--json"], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"retort {args}: {done.stderr}")
    return json.loads(done.stdout)


class Embedding(torch.nn.Module):
    """A torchvision ResNet with average and maximum pooling and a linear embedding."""

    def __init__(self, name, size):
        super().__init__()
        net = getattr(torchvision.models, name)()
        self.width = net.fc.in_features
        for part, module in net.named_children():
            if part not in ("avgpool", "fc"):
                self.add_module(part, module)
        self.embedding = torch.nn.Linear(self.width, size)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.embedding(x.mean((2, 3)) + x.amax((2, 3)))


class Block(torch.nn.Module):
    """Of retort's convnet."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x)))
        return torch.nn.functional.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x


class ConvNet(torch.nn.Module):
    """retort's convnet."""

    def __init__(self, width, size):
        super().__init__()
        widths = [3] + [-(-width * k // 2) for k in (2, 3, 4, 6)]
        self.blocks = torch.nn.Sequential(*map(Block, widths, widths[1:]))
        self.embedding = torch.nn.Linear(widths[-1], size)

    def forward(self, x):
        x = self.blocks(x)
        x = self.embedding(x.mean((2, 3)) + x.amax((2, 3)))
        return torch.nn.functional.normalize(x, dim=1)


def disturbed(net):
    """With running statistics and scales that aren't the first ones."""
    for key, value in net.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1)
        elif key.endswith(("running_var", "bn1.weight", "bn2.weight")):
            value.uniform_(0.5, 1.5)
    return net.eval()


def there_and_back(folder):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 96)
    for name in ["resnet18", "resnet50"]:
        net = disturbed(Embedding(name, 48))
        state = net.state_dict()
        fc = {"fc.weight": torch.randn(1000, net.width), "fc.bias": torch.randn(1000)}
        saved = {
            "bare.pth": ({**state, **fc}, {}),
            "legacy.pth": (state, {"_use_new_zipfile_serialization": False}),
            "wrapped.pth": (
                {"epoch": 3, "state_dict": {f"module.model.{k}": v for k, v in state.items()}},
                {},
            ),
            "half.pth": ({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, {}),
        }
        if name == "resnet18":
            saved["module.pth"] = (net, {})
        for file, (content, options) in saved.items():
            torch.save(content, folder / file, **options)
            own, plain = folder / f"{name}-{file}.own", folder / f"{name}-{file}.safetensors"
            retort("checkpoint", "import", folder / file, "--out", own)
            retort("checkpoint", "export", own, "--out", plain)
            other = Embedding(name, 48).eval()
            other.load_state_dict(load_file(plain), strict=True)
            for key, value in other.state_dict().items():
                want = state[key].half().float() if file == "half.pth" else state[key]
                assert key.endswith("num_batches_tracked") or torch.equal(value, want), key
            if file != "half.pth":
                with torch.no_grad():
                    assert torch.equal(net(images), other(images)), name
            own.unlink()
            plain.unlink()
        print(f"{name}: {len(saved)} files, every value the same")


def golden(folder):
    """The reference's embeddings of formula images, from weights that went through retort."""
    listed = json.loads((GOLDEN / "checkpoints/checkpoints.json").read_text())
    about = listed["expected_embeddings"]
    expected = load_file(GOLDEN / "checkpoints" / about["file"])
    images = about["images"]
    for file in listed["files"]:
        want = expected.get(file["file"].removesuffix(".pth") + "/embedding")
        if want is None or "embedding_size" not in file:
            continue
        plain = folder / "golden.safetensors"
        retort("checkpoint", "export", GOLDEN / "checkpoints" / file["file"], "--out", plain)
        net = Embedding(file["arch"], file["embedding_size"]).eval()
        net.load_state_dict(load_file(plain), strict=True)
        x = formula_images(images, images["scale"][file["arch"]])
        with torch.no_grad():
            exact, single = net.double()(x), net.float()(x.float())
        errors = [((e.double() - want).abs().max() / want.abs().max()).item() for e in (exact, single)]
        assert errors[0] < 1e-12 and errors[1] < 1e-5, errors
        print(f"golden {file['file']}: {errors[0]:.1e} in 64 bits, {errors[1]:.1e} in 32")


@np.errstate(over="ignore")
def mix(x):
    x = np.asarray(x, np.uint32)
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def formula_images(about, scale):
    """Section 2 of the golden data's README."""
    h, w, salt = about["height"], about["width"], about["salt"]
    ch, y, x = np.meshgrid(np.arange(3), np.arange(h), np.arange(w), indexing="ij")
    block, pixel = (ch * 64 + y // 8) * 64 + x // 8, (ch * h + y) * w + x

    def c(key, i):
        seed = mix(np.uint32(zlib.crc32(key.encode()) ^ (salt * 0x9E3779B9 & 0xFFFFFFFF)))
        return 2.0 * (mix(seed ^ (i.astype(np.uint32) * np.uint32(0x85EBCA6B))) >> 20) - 4095

    batch = []
    for i in range(about["batch"]):
        keys = [about[k].replace("<i>", str(i)) for k in ("class_key", "instance_key", "noise_key")]
        batch.append((2 * c(keys[0], block) + c(keys[1], block) + c(keys[2], pixel)) * (scale / 16384))
    return torch.tensor(np.stack(batch))


def trained_here(folder):
    run = folder / "run"
    retort(
        "train", "source", "--dataset=glyphs", "--loss=proxy_anchor", "--width=8", "--embedding=32",
        "--epochs=2", "--set=data.classes=16", "--set=data.images=8", "--batch=32", "--out", run,
    )  # fmt: skip
    plain = folder / "trained.safetensors"
    retort("checkpoint", "export", run, "--out", plain)
    net = ConvNet(8, 32).eval()
    net.load_state_dict(load_file(plain), strict=True)
    images = torch.randn(4, 3, 32, 32)
    save_file({"images": images}, folder / "images.safetensors")
    out = folder / "embedded.safetensors"
    retort("embed", "--checkpoint", run, "--input", folder / "images.safetensors", "--out", out)
    with torch.no_grad():
        error = (net(images) - load_file(out)["embeddings"]).abs().max().item()
    assert error < 1e-6, error
    print(f"trained by retort: PyTorch embeds within {error:.1e}")


with tempfile.TemporaryDirectory() as name:
    there_and_back(Path(name))
    golden(Path(name))
    trained_here(Path(name))
