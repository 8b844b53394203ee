"""The training steps of `cargo bench --bench train` in PyTorch, on two threads: the same networks, loss and batch."""

import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)


class ConvNet(nn.Module):
    def __init__(self, width, embedding):
        super().__init__()
        widths = [width, width * 3 // 2, width * 2, width * 3]
        blocks, channels = [], 3
        for w in widths:
            blocks += [nn.Conv2d(channels, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU(), nn.MaxPool2d(2)]
            channels = w
        self.blocks, self.embedding = nn.Sequential(*blocks), nn.Linear(channels, embedding)

    def forward(self, x):
        x = self.blocks((x - 127.5) / 63.75).flatten(2)
        return F.normalize(self.embedding(x.mean(2) + x.amax(2)))


def proxy_anchor(x, proxies, labels, alpha=32.0, margin=0.1):
    cos = F.normalize(x) @ F.normalize(proxies).T
    same = F.one_hot(labels, len(proxies)).float()
    pull = (torch.exp(-alpha * (cos - margin)) * same).sum(0).log1p()
    push = (torch.exp(alpha * (cos + margin)) * (1 - same)).sum(0).log1p()
    return pull.sum() / (same.sum(0) > 0).sum() + push.sum() / len(proxies)


def measure(name, width, embedding):
    net, classes = ConvNet(width, embedding), 48
    proxies = nn.Parameter(torch.randn(classes, embedding) * (2 / classes) ** 0.5)
    optimizer = torch.optim.AdamW([{"params": net.parameters()}, {"params": [proxies], "lr": 1e-2}], lr=1e-3)
    images, labels = torch.randint(0, 256, (96, 3, 32, 32)).float(), torch.arange(96) // 2
    times = []
    for _ in range(60):
        start = time.perf_counter()
        optimizer.zero_grad()
        proxy_anchor(net(images), proxies, labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    median = statistics.median(times[10:])
    print(f"  {name:24} {1e6 * median:>12.1f} us   {96 / median:>6.0f} images/s")


print("training step of 96 pictures, PyTorch", torch.__version__)
measure("target, width 8, 64-d", 8, 64)
measure("source, width 24, 512-d", 24, 512)
