"""The losses of `cargo bench --bench losses` in PyTorch, on two threads: the formulas as their authors publish
them (pytorch-metric-learning where it has the loss). Prints the median step in milliseconds as JSON.

    python benches/torch/losses.py relaxed_contrastive …
"""

import json
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)
torch.manual_seed(0)
N, D, CLASSES, SAMPLES = 180, 512, 100, 5864
MAPS = [(576, 28, 28), (1056, 14, 14), (1024, 7, 7)]
labels = torch.arange(N) // 5
ids = torch.arange(N) * 31


def param(*shape, scale=0.05):
    return nn.Parameter(torch.randn(*shape) * scale)


def pdist(x):
    prod = x @ x.t()
    sq = prod.diag()
    d = (sq[:, None] + sq[None, :] - 2 * prod).clamp(min=1e-12).sqrt().clone()
    d[range(len(x)), range(len(x))] = 0
    return d


def relaxed_contrastive(t, s):
    s = F.normalize(s)
    d = pdist(t)
    d = d / d.mean(1, keepdim=True)
    with torch.no_grad():
        w = torch.exp(-pdist(s) ** 2)
    off = 1 - torch.eye(N)
    return (w * d**2 * off + (1 - w) * F.relu(1 - d) ** 2 * off).sum() / N


def relaxed_ms(t, s):
    s = F.normalize(s)
    d = pdist(t)
    d = d / d.mean(1, keepdim=True)
    with torch.no_grad():
        w = torch.exp(-pdist(s) ** 2)
    off = ~torch.eye(N, dtype=torch.bool)
    pull = torch.where(off, w * torch.exp(d - 1), 0.0).sum(1).log1p()
    push = torch.where(off, (1 - w) * torch.exp(1 - d), 0.0).sum(1).log1p()
    return (pull + push).mean()


def rkd_distance(t, s):
    with torch.no_grad():
        ds = pdist(s)
        ds = ds / ds[ds > 0].mean()
    d = pdist(t)
    return F.smooth_l1_loss(d / d[d > 0].mean(), ds)


def rkd_angle(t, s):
    def angle(x):
        e = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), p=2, dim=2)
        return torch.bmm(e, e.transpose(1, 2)).view(-1)

    with torch.no_grad():
        a = angle(s)
    return F.smooth_l1_loss(angle(t), a)


def rkd(t, s):
    return rkd_distance(t, s) + 2 * rkd_angle(t, s)


def pkt(t, s):
    def p(x):
        x = x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-7)
        k = (x @ x.t() + 1) / 2
        return k / k.sum(1, keepdim=True)

    a, b = p(s), p(t)
    return (a * torch.log((a + 1e-7) / (b + 1e-7))).mean()


def darkrank(t, s):
    ss, st = -3 * pdist(F.normalize(s)) ** 3, -3 * pdist(F.normalize(t)) ** 3
    order = ss.sort(dim=1, descending=True)[1][:, 1:5]
    st = st.gather(1, order)
    return -(st - torch.stack([torch.logsumexp(st[:, i:], 1) for i in range(4)], 1)).sum(1).mean() + triplet(t)


def at(x):
    return F.normalize(x.pow(2).mean(1).flatten(1))


def attention(ts, ss):
    return sum((at(t) - at(s)).pow(2).mean() for t, s in zip(ts, ss))


def fitnet(ts, ss, *ws):
    return sum(F.mse_loss(F.conv2d(t, w), s) for t, s, w in zip(ts, ss, ws))


def vid(ts, ss, *ps):
    total = 0
    for i, (t, s) in enumerate(zip(ts, ss)):
        w1, w2, w3, a = ps[4 * i : 4 * i + 4]
        mean = F.conv2d(F.relu(F.conv2d(F.relu(F.conv2d(t, w1)), w2)), w3)
        var = F.softplus(a).add(1e-6).view(1, -1, 1, 1)
        total = total + 0.5 * ((mean - s) ** 2 / var + torch.log(var)).mean()
    return total


memory = {k: F.normalize(torch.randn(SAMPLES, 128)) for k in "ts"}


def crd(t, s, wt, ws):
    k, T, m = 4096, 0.07, 0.5
    t, s = F.normalize(F.linear(t, wt)), F.normalize(F.linear(s, ws))
    picks = torch.randint(0, SAMPLES, (N, 1 + k))
    picks[:, 0] = ids
    total = 0
    for anchor, bank in ((t, memory["s"]), (s, memory["t"])):
        rows = bank.index_select(0, picks.view(-1)).view(N, 1 + k, 128)
        e = torch.bmm(rows, anchor.view(N, 128, 1)).div(T).exp()
        p = e / (e.detach().mean() * SAMPLES)
        n = k / SAMPLES
        total = total - ((p[:, 0] / (p[:, 0] + n + 1e-7)).log().sum() + (n / (p[:, 1:] + n + 1e-7)).log().sum()) / N
    with torch.no_grad():
        for key, x in (("t", t), ("s", s)):
            memory[key][ids] = F.normalize(m * memory[key][ids] + (1 - m) * x)
    return total


queue = {k: F.normalize(torch.randn(4096, 128)) for k in "ts"}
queue_class = torch.randint(0, CLASSES, (4096,))


def crd_batch(t, s, wt, ws):
    t, s = F.normalize(F.linear(t, wt)), F.normalize(F.linear(s, ws))
    other = labels[:, None] != torch.cat([labels, queue_class])[None]
    total = 0
    for a, b, k in ((t, s, "s"), (s, t, "t")):
        own = (a * b).sum(1, keepdim=True) / 0.07
        rest = a @ torch.cat([b, queue[k]]).t() / 0.07
        total = total + F.cross_entropy(
            torch.cat([own, rest.masked_fill(~other, -1e9)], 1), torch.zeros(N, dtype=torch.long)
        )
    return total


def similarity_preserving(ts, ss):
    g = lambda x: F.normalize(x.flatten(1) @ x.flatten(1).t())
    return (g(ts) - g(ss)).pow(2).mean()


def embedding_regression(t, s, w):
    return (1 - F.cosine_similarity(F.linear(t, w), s)).mean()


def dist(t, s):
    def pearson(a, b):
        return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1).mean()

    soft = lambda x: F.softmax(F.normalize(x) @ F.normalize(x).t(), 1)
    a, b = soft(t), soft(s)
    return 2 - pearson(a, b) - pearson(a.t(), b.t())


def proxy_anchor(t, p):
    cos = F.linear(F.normalize(t), F.normalize(p))
    same = F.one_hot(labels, CLASSES)
    pos, neg = torch.exp(-32 * (cos - 0.1)), torch.exp(32 * (cos + 0.1))
    pull = torch.where(same == 1, pos, torch.zeros_like(pos)).sum(0)
    push = torch.where(same == 0, neg, torch.zeros_like(neg)).sum(0)
    return torch.log(1 + pull).sum() / 36 + torch.log(1 + push).sum() / CLASSES


def proxy_nca(t, p):
    d = torch.cdist(F.normalize(t) * 32**0.5, F.normalize(p) * 32**0.5) ** 2
    return F.cross_entropy(-d, labels)


def soft_triple(t, p):
    cos = (F.normalize(t) @ F.normalize(p).t()).view(N, CLASSES, 10)
    s = (F.softmax(cos / 0.1, 2) * cos).sum(2)
    s = s - 0.01 * F.one_hot(labels, CLASSES)
    c = F.normalize(p).view(CLASSES, 10, -1)
    reg = (2.00001 - 2 * torch.bmm(c, c.transpose(1, 2))).triu(1).clamp(min=0)
    return F.cross_entropy(20 * s, labels) + 0.2 * torch.sqrt(reg + 1e-12).sum() / (CLASSES * 90)


def library(name):
    from pytorch_metric_learning import distances, losses, miners

    if name == "multi_similarity":
        loss, miner = losses.MultiSimilarityLoss(2, 50, 0.5), miners.MultiSimilarityMiner(0.1)
        return lambda t: loss(t, labels, miner(t, labels))
    if name == "triplet":
        loss, miner = losses.TripletMarginLoss(0.2), miners.TripletMarginMiner(0.2, type_of_triplets="all")
        return lambda t: loss(t, labels, miner(t, labels))
    made = {
        "contrastive": lambda: losses.ContrastiveLoss(0, 0.5),
        "n_pair": lambda: losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False)),
        "circle": lambda: losses.CircleLoss(0.4, 80),
        "supcon": lambda: losses.SupConLoss(0.1),
        "proxy_nca_pp": lambda: losses.ProxyNCALoss(CLASSES, D, softmax_scale=9),
        "arcface": lambda: losses.ArcFaceLoss(CLASSES, D),
    }[name]()
    return lambda t: made(t, labels)


def triplet(t):
    if "triplet" not in LIBRARY:
        LIBRARY["triplet"] = library("triplet")
    return LIBRARY["triplet"](t)


LIBRARY = {}


def setup(name):
    """The loss without arguments, and its leaves."""
    t, s = torch.randn(N, D, requires_grad=True), torch.randn(N, D)
    if name in ("attention", "fitnet", "vid"):
        ts = [torch.randn(N, *m, requires_grad=True) for m in MAPS]
        ss = [torch.randn(N, *m) for m in MAPS]
        ps = []
        if name == "fitnet":
            ps = [param(c, c, 1, 1) for c, _, _ in MAPS]
        if name == "vid":
            for c, _, _ in MAPS:
                ps += [param(c, c, 1, 1), param(c, c, 1, 1), param(c, c, 1, 1), param(c)]
        return lambda: globals()[name](ts, ss, *ps), [*ts, *ps]
    if name == "crd":
        f = torch.randn(N, 1024, requires_grad=True)
        fs, a, b = torch.randn(N, 1024), param(128, 1024), param(128, 1024)
        return lambda: crd(f, fs, a, b), [f, a, b]
    if name == "similarity_preserving":
        f, fs = torch.randn(N, 1024, requires_grad=True), torch.randn(N, 1024)
        return lambda: similarity_preserving(f, fs), [f]
    if name == "crd_batch":
        a, b = param(128, D), param(128, D)
        return lambda: crd_batch(t, s, a, b), [t, a, b]
    if name == "embedding_regression":
        w = param(D, D)
        return lambda: embedding_regression(t, s, w), [t, w]
    if name in ("proxy_anchor", "proxy_nca"):
        p = param(CLASSES, D)
        return lambda: globals()[name](t, p), [t, p]
    if name == "soft_triple":
        p = param(CLASSES * 10, D)
        return lambda: soft_triple(t, p), [t, p]
    if name == "cross_entropy":
        w, b = param(CLASSES, D), param(CLASSES)
        return lambda: F.cross_entropy(F.linear(F.normalize(t), w, b) / 0.1, labels), [t, w, b]
    if name in globals() and name != "triplet":
        return lambda: globals()[name](t, s), [t]
    loss = library(name)
    return lambda: loss(t), [t]


def measure(name):
    loss, leaves = setup(name)
    times, started = [], time.perf_counter()
    while len(times) < 4 or (len(times) < 40 and time.perf_counter() - started < 4):
        step = time.perf_counter()
        for leaf in leaves:
            leaf.grad = None
        loss().backward()
        times.append(time.perf_counter() - step)
    return 1e3 * statistics.median(times[1:])


print(json.dumps({name: measure(name) for name in sys.argv[1:]}))
