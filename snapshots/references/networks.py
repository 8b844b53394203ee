"""Numbers of the networks that the golden data doesn't have, computed by timm and PyTorch: embeddings,
feature maps and gradients, in the golden data's format (its README, sections 2 and 5), with its formulas for
weights and images. `amplitudes` are of tensors that have one in place of a gain. Beside them, `facts`:
parameters and multiplications of the published networks with their own heads, counted by PyTorch.

    pip install torch torchvision timm safetensors
    pip install --no-deps pretrainedmodels munch  # BN-Inception's facts
    python snapshots/references/networks.py snapshots/references
"""

import json
import math
import sys
import zlib

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.numpy import save
from timm.models import vision_transformer
from torch.utils.flop_counter import FlopCounterMode


def mix(x):
    x = x.astype(np.uint32)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def c(key, salt, i):
    salted = np.uint32(zlib.crc32(key.encode()) ^ (salt * 0x9E3779B9 & 0xFFFFFFFF))
    seed = mix(np.array([salted]))
    q = mix(seed ^ (np.asarray(i).astype(np.uint32) * np.uint32(0x85EBCA6B))) >> 20
    return 2.0 * q - 4095.0


def parameter(key, shape, salt, gain, amplitudes):
    values = c(key, salt, np.arange(math.prod(shape)) % 4093)
    if len(shape) >= 2:
        values *= amplitudes.get(key, math.sqrt(gain / math.prod(shape[1:]))) / 4096
    elif key.endswith("weight"):
        values = 1 + values / 16384
    else:
        values /= 32768
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def picture(class_key, instance_key, noise_key, h, w, salt, scale):
    ch, y, x = np.meshgrid(np.arange(3), np.arange(h), np.arange(w), indexing="ij")
    block = (ch * 64 + y // 8) * 64 + x // 8
    pixel = (ch * h + y) * w + x
    v = 2 * c(class_key, salt, block) + c(instance_key, salt, block) + c(noise_key, salt, pixel)
    return (v * (scale / 16384)).astype(np.float32)


# timm's resampling goes through 32 bits, whatever the network's type; this one doesn't.
def resample(posemb, new_size, old_size=None, num_prefix_tokens=1, **_):
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    side = math.isqrt(grid.shape[1])
    if list(new_size) == [side, side]:
        return posemb
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new_size, mode="bicubic", antialias=True)
    return torch.cat([prefix, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


vision_transformer.resample_abs_pos_embed = resample

TIMM = {"vit_small": "vit_small_patch16_224.dino", "vit_base": "vit_base_patch16_224.dino"}
AMPLITUDES = {"pos_embed": 0.5, "cls_token": 0.5}
GAIN = 3.0


class Embedder(torch.nn.Module):
    """The class token after the last norm, then one linear layer. Features: what
    timm's `forward_intermediates` gives for blocks 3, 6, 9 and 12, then the class token."""

    def __init__(self, arch, size, l2_norm):
        super().__init__()
        self.model = timm.create_model(TIMM[arch], num_classes=0, dynamic_img_size=True)
        self.embedding = torch.nn.Linear(self.model.embed_dim, size)
        self.l2_norm = l2_norm

    def forward(self, x):
        final, maps = self.model.forward_intermediates(x, indices=[2, 5, 8, 11], norm=False)
        pooled = self.model.forward_head(final, pre_logits=True)
        embedding = self.embedding(pooled)
        return [*maps, pooled], F.normalize(embedding) if self.l2_norm else embedding

    def named(self):
        for name, p in self.named_parameters():
            yield name.removeprefix("model."), p


def run(net, images, dtype, loss_weight):
    net.to(dtype).zero_grad()
    features, embedding = net(images.to(dtype))
    loss = (embedding**2).mean() if loss_weight is None else (embedding * loss_weight.to(dtype)).mean()
    loss.backward()
    # Copies: `to` changes gradients in place.
    grads = {name: p.grad.double().flatten().clone() for name, p in net.named() if p.grad is not None}
    return [f.detach().double() for f in features], embedding.detach().double(), loss.item(), grads


def rel(a, b):
    return ((a - b).norm() / b.norm()).item()


def case(arch, h, w, batch, size, l2_norm, salt, tensors):
    name = f"{arch}_eval_{h}x{w}_b{batch}_e{size}" + ("_l2" if l2_norm else "")
    net = Embedder(arch, size, l2_norm).eval()
    for key, p in net.named():
        p.data = parameter(key, list(p.shape), salt, GAIN, AMPLITUDES)
    keys = {kind: f"{name}/{kind.split('_')[0]}<i>" for kind in ["class_key", "instance_key", "noise_key"]}
    image = lambda i: picture(*(k.replace("<i>", str(i)) for k in keys.values()), h, w, salt, 2)
    images = torch.from_numpy(np.stack([image(i) for i in range(batch)]))
    weight = None
    if l2_norm:
        weight = torch.from_numpy(c("loss_weight", salt, np.arange(batch * size)) / 4096).reshape(batch, size)
    state = {key: p.data.clone() for key, p in net.named()}
    features, embedding, loss, grads = run(net, images, torch.float64, weight)
    for key, p in net.named():
        p.data = state[key]
    features32, embedding32, loss32, grads32 = run(net, images, torch.float32, weight)

    listed = []
    for i, (f, f32) in enumerate(zip(features, features32)):
        flat = f.flatten()
        n = flat.numel()
        first, strided = f"{name}/feature.{i}.first64", f"{name}/feature.{i}.strided64"
        tensors[first] = flat[:64].numpy().copy()
        tensors[strided] = flat[torch.tensor([j * n // 64 for j in range(64)])].numpy()
        listed.append({
            "index": i, "shape": list(f.shape), "mean": flat.mean().item(),
            "std": flat.std(correction=0).item(), "abs_max": flat.abs().max().item(),
            "first64": first, "strided64": strided, "f32_rel_l2": rel(f32, f),
        })
    tensors[f"{name}/embedding"] = embedding.numpy()
    gradients = {
        key: {"norm": g.norm().item(), "f32_norm": grads32[key].norm().item(),
              "first4": g[:4].tolist(), "f32_rel_l2": rel(grads32[key], g)}
        for key, g in grads.items()
    }
    norm_errors = sorted(abs(g["f32_norm"] - g["norm"]) / g["norm"] for g in gradients.values())
    worst = max([rel(embedding32, embedding), *(f["f32_rel_l2"] for f in listed)])
    return {
        "name": name, "arch": arch, "embedding_size": size, "l2_norm": l2_norm, "mode": "eval",
        "salt": salt, "gain": GAIN, "amplitudes": AMPLITUDES,
        "images": {"batch": batch, "height": h, "width": w, "scale": 2, "salt": salt, **keys,
                   "first_8_values": images.flatten()[:8].tolist()},
        "features": listed,
        "embedding": {"tensor": f"{name}/embedding", "shape": list(embedding.shape),
                      "f32_rel_l2": rel(embedding32, embedding)},
        "loss": {"kind": "mean(embedding * R)" if l2_norm else "mean(embedding^2)", "f64": loss, "f32": loss32},
        "gradients": gradients,
        "gradient_norm_max": max(g["norm"] for g in gradients.values()),
        # 20 times what PyTorch's own 32 bits are off; no ReLU here whose flips would move gradients.
        "tolerance": {"feature_and_embedding_rel_l2": max(2e-5, 20 * worst),
                      "gradient_norm_rel": max(1e-4, 20 * norm_errors[-1]),
                      "gradient_norm_rel_median": max(2e-5, 20 * norm_errors[len(norm_errors) // 2])},
    }


def architecture(arch):
    net = Embedder(arch, 64, False)
    keys = [{"key": key, "shape": list(p.shape), "dtype": "F32", "parameter": True} for key, p in net.named()]
    return {"num_ftrs": net.model.embed_dim, "state_dict_for_embedding_size_64": keys}


def fact(name, model, head, size=224):
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(torch.zeros(1, 3, size, size))
    parameters = sum(p.numel() for p in model.parameters())
    outputs, inputs = (0, 0) if head is None else head.weight.shape
    return {"network": name, "size": size, "parameters": parameters, "macs": counter.get_total_flops() // 2,
            "head_parameters": outputs * inputs + outputs, "head_macs": outputs * inputs}


def facts():
    for name in ["resnet18", "resnet34", "resnet50", "resnet101"]:
        model = torchvision.models.get_model(name)
        yield fact(name, model, model.fc)
    for name, full in TIMM.items():
        yield fact(name, timm.create_model(full, num_classes=0), None)
    from pretrainedmodels.models.bninception import BNInception
    model = BNInception()
    yield fact("bn_inception", model, model.last_linear)


def main(folder):
    tensors = {}
    cases = [
        case("vit_small", 224, 224, 1, 64, False, 1, tensors),
        case("vit_small", 96, 160, 2, 32, True, 2, tensors),
        case("vit_small", 256, 32, 1, 32, False, 3, tensors),
        case("vit_base", 224, 224, 1, 32, False, 4, tensors),
        case("vit_base", 64, 64, 2, 32, True, 5, tensors),
    ]
    out = {"format_version": 1, "set": "reference", "file": "networks.safetensors",
           "versions": {"torch": torch.__version__, "timm": timm.__version__},
           "architectures": {arch: architecture(arch) for arch in TIMM},
           "cases": cases, "facts": list(facts())}
    with open(f"{folder}/networks.json", "w") as file:
        json.dump(out, file, separators=(",", ":"))
    # Not `save_file`, which makes a file that only its owner may read.
    with open(f"{folder}/networks.safetensors", "wb") as file:
        file.write(save(tensors))


main(sys.argv[1])
