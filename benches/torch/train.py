"""The works of `cargo bench --bench train` in PyTorch, on two threads: the same networks, loss and batch.

`python train.py NAME STEPS` prints the times of one as JSON, in milliseconds: [wall, CPU] of a training step, and of an
embedding. The bench starts it."""

import json
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)
CLASSES = 48


class Pooled(nn.Module):
    """Features, their global average plus maximum, an embedding."""

    def __init__(self, features, channels, embedding):
        super().__init__()
        self.features, self.embedding = features, nn.Linear(channels, embedding)

    def forward(self, x):
        x = self.features(x).flatten(2)
        return F.normalize(self.embedding(x.mean(2) + x.amax(2)))


def conv(i, o, kernel, stride=1, bias=False):
    return nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=bias)


def convnet(width, embedding):
    widths = [width, width * 3 // 2, width * 2, width * 3]
    blocks, channels = [], 3
    for w in widths:
        blocks += [conv(channels, w, 3), nn.BatchNorm2d(w), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        channels = w
    return Pooled(nn.Sequential(*blocks), channels, embedding)


class Basic(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(i, o, 3, stride), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = conv(o, o, 3), nn.BatchNorm2d(o)
        plain = i == o and stride == 1
        self.down = nn.Identity() if plain else nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.down(x), inplace=True)


def resnet18(embedding):
    layers = [conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for o, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        layers += [Basic(channels, o, stride), Basic(o, o, 1)]
        channels = o
    return Pooled(nn.Sequential(*layers), 512, embedding)


def unit(i, o, kernel, stride=1):
    return nn.Sequential(conv(i, o, kernel, stride, bias=True), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """A block of BN-Inception: 1x1, 3x3, double 3x3 and a pool with a 1x1; without the first and the last it shrinks."""

    def __init__(self, i, one, three, double, pool, last=False):
        super().__init__()
        stride = 2 if one == 0 else 1
        branches = [unit(i, one, 1)] if one else []
        branches.append(nn.Sequential(unit(i, three[0], 1), unit(three[0], three[1], 3, stride)))
        branches.append(nn.Sequential(unit(i, double[0], 1), unit(double[0], double[1], 3), unit(double[1], double[1], 3, stride)))
        if one == 0:
            branches.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        else:
            pooling = nn.MaxPool2d(3, 1, 1) if last else nn.AvgPool2d(3, 1, 1)
            branches.append(nn.Sequential(pooling, unit(i, pool, 1)))
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def bn_inception(embedding):
    shrink = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
    blocks = [
        Inception(192, 64, (64, 64), (64, 96), 32), Inception(256, 64, (64, 96), (64, 96), 64),
        Inception(320, 0, (128, 160), (64, 96), 0),
        Inception(576, 224, (64, 96), (96, 128), 128), Inception(576, 192, (96, 128), (96, 128), 128),
        Inception(576, 160, (128, 160), (128, 160), 128), Inception(608, 96, (128, 192), (160, 192), 128),
        Inception(608, 0, (128, 192), (192, 256), 0),
        Inception(1056, 352, (192, 320), (160, 224), 128), Inception(1024, 352, (192, 320), (192, 224), 128, last=True),
    ]
    stem = [unit(3, 64, 7, 2), shrink(), unit(64, 64, 1), unit(64, 192, 3), shrink()]
    return Pooled(nn.Sequential(*stem, *blocks), 1024, embedding)


class Vit(nn.Module):
    def __init__(self, embedding, dim=384, heads=6, depth=12, patch=16, size=224):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.place = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth)
        self.norm, self.embedding = nn.LayerNorm(dim), nn.Linear(dim, embedding)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return F.normalize(self.embedding(self.norm(self.blocks(x))[:, 0]))


def proxy_anchor(x, proxies, labels, alpha=32.0, margin=0.1):
    cos = F.normalize(x) @ F.normalize(proxies).T
    same = F.one_hot(labels, len(proxies)).float()
    pull = (torch.exp(-alpha * (cos - margin)) * same).sum(0).log1p()
    push = (torch.exp(alpha * (cos + margin)) * (1 - same)).sum(0).log1p()
    return pull.sum() / (same.sum(0) > 0).sum() + push.sum() / len(proxies)


def timed(count, f):
    for _ in range(-(-count // 4)):
        f()
    walls, cpu = [], time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        f()
        walls.append(time.perf_counter() - start)
    return [1e3 * statistics.median(walls), 1e3 * (time.process_time() - cpu) / count]


# As the bench lists them: network, dimensions, size, pictures.
WORKS = {
    "demo target": (lambda d: convnet(8, d), 64, 32, 96),
    "demo source": (lambda d: convnet(24, d), 512, 32, 96),
    "ResNet-18, 64 px": (resnet18, 128, 64, 16),
    "ResNet-18, 224 px": (resnet18, 128, 224, 8),
    "BN-Inception, 224 px": (bn_inception, 64, 224, 8),
    "ViT-S, 224 px": (Vit, 128, 224, 8),
}


def main(name, steps):
    make, embedding, size, n = WORKS[name]
    net, proxies = make(embedding), nn.Parameter(torch.randn(CLASSES, embedding) * (2 / CLASSES) ** 0.5)
    groups = [{"params": net.parameters()}, {"params": [proxies], "lr": 2e-2}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, weight_decay=1e-4)
    images = (torch.arange(n * 3 * size * size) * 37 % 256).float().reshape(n, 3, size, size) / 63.75 - 2
    labels = torch.arange(n) // 2 % CLASSES

    def step():
        optimizer.zero_grad()
        loss = proxy_anchor(net(images), proxies, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def embed():
        with torch.inference_mode():
            net(images)

    times = {"step": timed(steps, step)}
    net.eval()
    times["embed"] = timed(2 * steps, embed)
    print(json.dumps(times))


main(sys.argv[1], int(sys.argv[2]))
