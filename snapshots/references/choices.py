"""Numbers for every choice and every branch of every loss, on small embeddings and on embeddings of 512
dimensions: the papers' equations, sample by sample where retort works on whole matrices, in PyTorch, in f64.

    apt-get install python3-torch
    python3 snapshots/references/choices.py > snapshots/references/choices.json

Inputs are formulas (`Case::example` in Rust, `values` here), so only results are kept: the loss, and of
each gradient its norm, its products with four fixed directions, and a few of its elements.
"""

import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
WRAP = (1 << 64) - 1


def values(shape, salt, scale=1.0):
    """Numbers in [-1, 1) of an xorshift generator, which 32 bits hold exactly; as `Case::example`."""
    x, out = (salt * 0x9E3779B97F4A7C15 & WRAP) | 1, []
    for _ in range(math.prod(shape)):
        x ^= x << 13 & WRAP
        x ^= x >> 7
        x ^= x << 17 & WRAP
        out.append((x >> 40) / (1 << 23) - 1.0)
    return torch.tensor(out).reshape(shape) * scale


def example(n, d, salt, views=1):
    """`Case::example(n, d, salt).with_views(views)`."""
    out = {"target": values((n, d), salt + 1), "source": values((n, d + 4), salt + 1000)}
    for name, extra, more in (("target", 2000, 0), ("source", 3000, 2)):
        shapes = [(n, 3 + more, 4, 4), (n, 4 + more, 2, 2), (n, 5 + more)]
        for level, shape in enumerate(shapes):
            out[f"{name}_features.{level}"] = values(shape, salt + extra + level)
    ids = [i % (n // views) for i in range(n)]
    return out | {"ids": ids, "labels": [i // 2 for i in ids]}


def summary(gradient):
    flat = gradient.detach().flatten()
    along = [(flat @ values(flat.shape, 900 + k)).item() for k in range(4)]
    return {"norm": flat.norm().item(), "along": along, "some": flat[:: max(1, len(flat) // 5)][:5].tolist()}


class Case:
    """One loss with its hyperparameters; `formulas` are further inputs as (salt, scale, shape)."""

    def __init__(self, name, loss, shape, formulas=None, given=None, views=1, classes=None, samples=None, **hyper):
        self.name, self.loss, self.shape, self.views, self.hyper = name, loss, shape, views, hyper
        self.formulas, self.given = formulas or {}, given or {}
        self.classes = classes or math.ceil(shape[0] / 2)
        self.samples = samples or shape[0]

    def run(self):
        n, d, salts = self.shape[0], self.shape[1], self.shape[2:]
        kept, steps = {}, []
        for salt in salts:
            inputs = example(n, d, salt, self.views)
            if any(k.startswith("target_features") for k in self.formulas):
                inputs = {k: v for k, v in inputs.items() if "_features" not in k}
            inputs |= {k: values(shape, s, scale) for k, (s, scale, shape) in self.formulas.items()}
            inputs |= {k: torch.tensor(v) for k, v in self.given.items()}
            inputs |= kept
            for name, x in inputs.items():
                if name.startswith(("target", "param.")):
                    x.requires_grad_(True)
            result = self.loss(inputs, **self.hyper)
            loss, after = result if isinstance(result, tuple) else (result, {})
            names = [k for k, x in inputs.items() if torch.is_tensor(x) and x.requires_grad]
            gradients = torch.autograd.grad(loss, [inputs[k] for k in names], allow_unused=True, retain_graph=True)
            gradients = {k: summary(g) for k, g in zip(names, gradients) if g is not None}
            made = {"example": [n, d, salt], "loss": loss.item(), "gradients": gradients}
            formulas = {k: [s, scale, *shape] for k, (s, scale, shape) in self.formulas.items() if k not in kept}
            made |= {"formulas": formulas, "inputs": self.given}
            made |= {"after": {k: x.detach().tolist() for k, x in after.items()}} if after else {}
            steps.append(made)
            kept = {k: x for k, x in inputs.items() if k.startswith("param.")} | after
        facts = {"classes": self.classes, "samples": self.samples, "views": self.views}
        return {"name": self.name, "hyperparameters": self.hyper, **facts, "steps": steps}


def cases(loss, variants, shapes=((8, 6, 1), (8, 512, 2)), formulas=lambda n, d, **_: {}, **facts):
    """A case for each variant of hyperparameters and each shape `(n, d, salt)`."""
    out = []
    for hyper in variants:
        for shape in shapes:
            words = " ".join(f"{k}={v}" for k, v in hyper.items()) or "defaults"
            made = Case(f"{words}, n {shape[0]} d {shape[1]}", loss, shape, formulas(*shape[:2], **hyper), **facts, **hyper)
            out.append(made.run())
    return out


LARGE = ((8, 6, 1), (8, 512, 2), (40, 512, 3))  # the last goes by a matrix product
unit = lambda x: x / x.norm(dim=1, keepdim=True)


def distance(x):
    """Euclidean distances, by differences; 0 without gradient where there is none."""
    squared = (x[:, None] - x[None]).pow(2).sum(2)
    zero = squared == 0
    return torch.where(zero, torch.zeros_like(squared), torch.where(zero, torch.ones_like(squared), squared).sqrt())


def positives(y):
    """Ordered pairs of one class, by the first, then by the second."""
    return [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j and y[i] == y[j]]


def mean_above_zero(terms):
    above = [t for t in terms if t > 0]
    return sum(above) / len(above) if above else sum(terms) * 0


# Metric learning.


def triplet():
    def loss(b, margin=0.2, triplets="all"):
        x, y = unit(b["target"]), b["labels"]
        d, n = distance(x), len(y)
        others = lambda i: [k for k in range(n) if y[k] != y[i]]
        if triplets == "hard":
            pairs = lambda i: [d[i, j] for j in range(n) if j != i and y[j] == y[i]]
            terms = [max(pairs(i)) - min(d[i, k] for k in others(i)) + margin for i in range(n) if pairs(i)]
        elif triplets == "distance-weighted":
            terms = []
            for (i, j), draw in zip(positives(y), b["random.0"].flatten().tolist()):
                k = drawn(d[i].tolist(), others(i), x.shape[1], draw)
                terms.append(d[i, j] - d[i, k] + margin)
        else:
            every = [(i, j, k) for i, j in positives(y) for k in others(i)]
            if triplets == "semi-hard":
                every = [(i, j, k) for i, j, k in every if d[i, k] > d[i, j]]
            terms = [d[i, j] - d[i, k] + margin for i, j, k in every]
        return mean_above_zero(terms)

    def drawn(d, others, dim, draw):
        """Wu et al.'s code: its weights, cut off at 0.5 and 1.4, as shares of their sum."""
        near = [k for k in others if d[k] < 1.4]
        if not near:
            return others[int(draw * len(others))]
        log_weight = lambda x: (2.0 - dim) * math.log(x) - (dim - 3) / 2 * math.log(1 - 0.25 * x**2)
        logs = [log_weight(max(d[k], 0.5)) for k in near]
        weights = [math.exp(x - max(logs)) for x in logs]
        total = 0.0
        for k, weight in zip(near, weights):
            total += weight / sum(weights)
            if total > draw:
                return k
        return near[-1]

    words = [{"triplets": w, "margin": m} for w in ("all", "hard", "semi-hard") for m in (0.2, 0.7)]
    out = cases(loss, words, LARGE)
    # As many draws as pairs, between 0 and 1.
    for shape in [*LARGE, (40, 6, 4), (8, 160, 5)]:
        draws = (values((shape[0],), 77 + shape[0]) * 0.5 + 0.5).reshape(-1, 1).tolist()
        hyper = {"triplets": "distance-weighted", "margin": 1.0}
        name = f"distance-weighted, n {shape[0]} d {shape[1]}"
        out.append(Case(name, loss, shape, given={"random.0": draws}, **hyper).run())
    return out


def contrastive():
    def loss(b, neg_margin=0.5, pos_margin=0.0):
        d, y = distance(unit(b["target"])), b["labels"]
        n = len(y)
        pull = [d[i, j] - pos_margin for i, j in positives(y)]
        push = [neg_margin - d[i, j] for i in range(n) for j in range(n) if y[i] != y[j]]
        return mean_above_zero(pull) + mean_above_zero(push)

    return cases(loss, [{}, {"neg_margin": 1.45}, {"neg_margin": 1.45, "pos_margin": 0.9}], LARGE)


def multi_similarity():
    def loss(b, epsilon=0.1, alpha=2.0, beta=50.0, base=0.5):
        x, y = unit(b["target"]), b["labels"]
        s, n, total, pulled, pushed = x @ x.t(), len(y), 0, 0, 0
        for i in range(n):
            p = [j for j in range(n) if j != i and y[j] == y[i]]
            q = [j for j in range(n) if y[j] != y[i]]
            if not p or not q:
                continue
            hardest, loosest = max(s[i, q]), min(s[i, p])
            p = [j for j in p if s[i, j] - epsilon < hardest]
            q = [j for j in q if s[i, j] + epsilon > loosest]
            pulled, pushed = pulled + len(p), pushed + len(q)
            total = total + torch.log1p(sum(torch.exp(-alpha * (s[i, j] - base)) for j in p) + 0 * s[i, i]) / alpha
            total = total + torch.log1p(sum(torch.exp(beta * (s[i, j] - base)) for j in q) + 0 * s[i, i]) / beta
        assert max(pulled, pushed) > 1
        return total / n

    return cases(loss, [{}, {"epsilon": 0.0, "beta": 10.0, "base": 0.1}, {"alpha": 5.0, "base": -0.2}])


def circle():
    def loss(b, margin=0.4, gamma=80.0):
        x, y = unit(b["target"]), b["labels"]
        s, n, terms = x @ x.t(), len(y), []
        for i in range(n):
            p = torch.stack([s[i, j] for j in range(n) if j != i and y[j] == y[i]])
            q = torch.stack([s[i, j] for j in range(n) if y[j] != y[i]])
            wp, wq = (1 + margin - p.detach()).clamp(min=0), (q.detach() + margin).clamp(min=0)
            pull = torch.logsumexp(-gamma * wp * (p - 1 + margin), 0)
            push = torch.logsumexp(gamma * wq * (q - margin), 0)
            terms.append(F.softplus(pull + push, threshold=1e9))
        return sum(terms) / n

    return cases(loss, [{}, {"margin": 0.1, "gamma": 16.0}])


def supcon():
    def loss(b, temperature=0.1):
        x, y = unit(b["target"]), b["labels"]
        s, n, terms = x @ x.t() / temperature, len(y), []
        for i in range(n):
            log_p = torch.log_softmax(torch.stack([s[i, j] for j in range(n) if j != i]), 0)
            own = [k for k, j in enumerate(j for j in range(n) if j != i) if y[j] == y[i]]
            terms.append(-sum(log_p[k] for k in own) / len(own))
        return sum(terms) / n

    return cases(loss, [{}, {"temperature": 0.5}])


def n_pair():
    def loss(b, l2_reg=0.0):
        x, y = b["target"], b["labels"]
        first = {c: [i for i in range(len(y)) if y[i] == c][:2] for c in sorted(set(y))}
        pairs = [v for v in first.values() if len(v) == 2]
        logits = torch.stack([torch.stack([x[a] @ x[p] for _, p in pairs]) for a, _ in pairs])
        return F.cross_entropy(logits, torch.arange(len(pairs))) + l2_reg * x.norm(dim=1).mean()

    return cases(loss, [{}, {"l2_reg": 0.02}])


def by_class(name, salt, scale=1.0):
    """A parameter with a row for each of the four classes."""
    return lambda n, d, **_: {f"param.{name}": (salt, scale, (math.ceil(n / 2), d))}


def cross_entropy():
    def loss(b, temperature=1.0, normalize=False):
        x, w = b["target"], b["param.classifier.weight"]
        logits = unit(x) @ unit(w).t() if normalize else x @ w.t() + b["param.classifier.bias"]
        return F.cross_entropy(logits / temperature, torch.tensor(b["labels"]))

    def formulas(n, d, normalize=False, **_):
        bias = {} if normalize else {"param.classifier.bias": (6, 0.5, (math.ceil(n / 2),))}
        return {"param.classifier.weight": (5, 0.25, (math.ceil(n / 2), d)), **bias}

    variants = [{}, {"temperature": 0.5}, {"normalize": True}, {"normalize": True, "temperature": 0.05}]
    return cases(loss, variants, formulas=formulas)


def arcface():
    def loss(b, margin=0.5, scale=64.0):
        cos, y = unit(b["target"]) @ unit(b["param.weight"]).t(), b["labels"]
        rows = []
        for i, row in enumerate(cos):
            angle = torch.acos(row[y[i]])
            beyond = angle > math.pi - margin
            own = row[y[i]] - margin * math.sin(margin) if beyond else torch.cos(angle + margin)
            rows.append(torch.stack([own if c == y[i] else row[c] for c in range(len(row))]))
        return F.cross_entropy(scale * torch.stack(rows), torch.tensor(y))

    # With a margin of 1.55 some angles are beyond the bend, with 2 most.
    return cases(loss, [{}, {"margin": 1.55, "scale": 8.0}, {"margin": 2.0, "scale": 16.0}], formulas=by_class("weight", 5))


def proxy_anchor():
    def loss(b, alpha=32.0, margin=0.1):
        cos, y = unit(b["target"]) @ unit(b["param.proxies"]).t(), b["labels"]
        pull, push = [], []
        for c in range(cos.shape[1]):
            own = [cos[i, c] for i in range(len(y)) if y[i] == c]
            other = [cos[i, c] for i in range(len(y)) if y[i] != c]
            if own:
                pull.append(torch.log1p(sum(torch.exp(-alpha * (s - margin)) for s in own)))
            push.append(torch.log1p(sum(torch.exp(alpha * (s + margin)) for s in other)))
        return sum(pull) / len(pull) + sum(push) / len(push)

    return cases(loss, [{}, {"alpha": 8.0, "margin": 0.3}], formulas=by_class("proxies", 5))


def proxy_nca():
    def loss(b, scale=32.0):
        x, p = unit(b["target"]), unit(b["param.proxies"])
        return F.cross_entropy(-scale * (x[:, None] - p[None]).pow(2).sum(2), torch.tensor(b["labels"]))

    return cases(loss, [{}, {"scale": 4.0}], formulas=by_class("proxies", 5))


def proxy_nca_pp():
    def loss(b, temperature=1 / 9):
        x, p = unit(b["target"]), unit(b["param.proxies"])
        return F.cross_entropy(-(x[:, None] - p[None]).pow(2).sum(2) / temperature, torch.tensor(b["labels"]))

    return cases(loss, [{}, {"temperature": 0.5}], formulas=by_class("proxies", 5))


def soft_triple():
    def loss(b, centers=10, scale=20.0, gamma=0.1, margin=0.01, tau=0.2):
        x, w, y = unit(b["target"]), unit(b["param.centers"]), b["labels"]
        classes = len(w) // centers
        by_class = [[x @ w[c * centers + k] for k in range(centers)] for c in range(classes)]
        by_class = torch.stack([torch.stack(c, 1) for c in by_class], 1)  # [n, c, k]
        s = (F.softmax(by_class / gamma, 2) * by_class).sum(2)
        moved = s - margin * F.one_hot(torch.tensor(y), classes)
        loss = F.cross_entropy(scale * moved, torch.tensor(y))
        if centers == 1:
            return loss
        spread = 0
        for c in range(classes):
            own = w[c * centers : (c + 1) * centers]
            spread = spread + sum(
                torch.sqrt(2.0 + 1e-5 - 2.0 * own[j] @ own[k]) for j in range(centers) for k in range(j)
            )
        return loss + tau * spread / (classes * centers * (centers - 1))

    formulas = lambda n, d, centers=10, **_: {"param.centers": (5, 1.0, (math.ceil(n / 2) * centers, d))}
    variants = [{"centers": 3}, {"centers": 2, "tau": 0.0, "gamma": 0.5, "margin": 0.2}, {"centers": 1}]
    return cases(loss, variants, formulas=formulas)


# Transfer.


def rkd_distance():
    def psi(x):
        d = distance(x)
        return d / (d.sum() / (len(x) * (len(x) - 1)))

    def loss(b):
        return F.smooth_l1_loss(psi(b["target"]), psi(b["source"]))

    return cases(loss, [{}])


def angles(x):
    """The cosine at i between j and k, one triplet after the other."""
    out = []
    for i in range(len(x)):
        e = [x[j] - x[i] for j in range(len(x))]
        e = torch.stack([v / v.norm() if j != i else v * 0 for j, v in enumerate(e)])
        out.append(e @ e.t())
    return torch.stack(out)


def rkd_angle():
    return cases(lambda b: F.smooth_l1_loss(angles(b["target"]), angles(b["source"])), [{}])


def rkd():
    def psi(x):
        d = distance(x)
        return d / (d.sum() / (len(x) * (len(x) - 1)))

    def loss(b, weight_distance=1.0, weight_angle=2.0):
        t, s = b["target"], b["source"]
        by_distance, by_angle = F.smooth_l1_loss(psi(t), psi(s)), F.smooth_l1_loss(angles(t), angles(s))
        return weight_distance * by_distance + weight_angle * by_angle

    only = [{"weight_angle": 0.0}, {"weight_distance": 0.0}]
    return cases(loss, [{}, {"weight_distance": 25.0, "weight_angle": 50.0}, *only])


def relaxed(b, sigma):
    """The source's weights and the target's distances in units of their row's mean."""
    s, d = unit(b["source"]), distance(b["target"])
    return torch.exp(-distance(s).pow(2) / sigma), d / d.mean(1, keepdim=True)


def relaxed_contrastive():
    def loss(b, sigma=1.0, delta=1.0):
        w, d = relaxed(b, sigma)
        n, total = len(d), 0
        for i in range(n):
            for j in range(n):
                if i != j:
                    push = (delta - d[i, j]).clamp(min=0) ** 2
                    total = total + w[i, j] * d[i, j] ** 2 + (1 - w[i, j]) * push
        return total / n

    return cases(loss, [{}, {"sigma": 0.25, "delta": 1.3}])


def relaxed_ms():
    def loss(b, sigma=1.0, delta=1.0, scale_pos=1.0, scale_neg=2.0):
        w, d = relaxed(b, sigma)
        n, total, ids = len(d), 0, b["ids"]
        for i in range(n):
            pull = push = 0
            for j in range(n):
                if i != j:
                    wij = 1.0 if ids[i] == ids[j] else w[i, j]
                    pull = pull + wij * torch.exp(scale_pos * d[i, j])
                    push = push + (1 - wij) * torch.exp(scale_neg * (delta - d[i, j]))
            total = total + torch.log1p(pull) / scale_pos + torch.log1p(push) / scale_neg
        return total / n

    out = cases(loss, [{}, {"sigma": 0.25, "delta": 1.3, "scale_pos": 2.0, "scale_neg": 4.0}])
    for views, n in ((2, 8), (3, 9)):
        more = cases(loss, [{}], ((n, 6, 7), (n, 512, 8)), views=views)
        out += [{**case, "name": f"{views} views, {case['name']}"} for case in more]
    return out


def pkt():
    def probabilities(x):
        x = x / (x.norm(dim=1, keepdim=True) + 1e-7)
        k = 0.5 * (x @ x.t() + 1)
        return k / k.sum(1, keepdim=True)

    def loss(b):
        t, s = probabilities(b["target"]), probabilities(b["source"])
        return (s * torch.log((s + 1e-7) / (t + 1e-7))).mean()

    return cases(loss, [{}])


def darkrank():
    def loss(b, alpha=3.0, beta=3.0, permute_len=4, triplet_weight=1.0, triplet_margin=0.2):
        t, s, y = unit(b["target"]), unit(b["source"]), b["labels"]
        n, dt, ds, total = len(t), distance(t), distance(s), 0
        for i in range(n):
            order = sorted((j for j in range(n) if j != i), key=lambda j: ds[i, j].item())[:permute_len]
            score = torch.stack([-alpha * dt[i, j] ** beta for j in order])
            total = total - sum(score[k] - torch.logsumexp(score[k:], 0) for k in range(len(order)))
        terms = [dt[i, j] - dt[i, k] + triplet_margin for i, j in positives(y) for k in range(n) if y[k] != y[i]]
        return total / n + triplet_weight * mean_above_zero(terms)

    variants = [{}, {"triplet_weight": 0.0}, {"permute_len": 20}, {"alpha": 2.0, "beta": 0.5, "triplet_margin": 0.5}]
    return cases(loss, variants)


def dist():
    def correlation(a, b):
        a, b = a - a.mean(), b - b.mean()
        return (a * b).sum() / (a.norm() * b.norm() + 1e-8)

    def loss(b, beta=1.0, gamma=1.0, temperature=1.0):
        def neighbours(x):
            x, n = unit(x), len(x)
            rows = []
            for i in range(n):
                p = F.softmax(torch.stack([x[i] @ x[j] / temperature for j in range(n) if j != i]), 0)
                rows.append(torch.cat([p[:i], torch.zeros(1), p[i:]]))
            return torch.stack(rows)

        t, s = neighbours(b["target"]), neighbours(b["source"])
        inter = sum(1 - correlation(t[i], s[i]) for i in range(len(t))) / len(t)
        intra = sum(1 - correlation(t[:, j], s[:, j]) for j in range(len(t))) / len(t)
        return temperature**2 * (beta * inter + gamma * intra)

    return cases(loss, [{}, {"beta": 2.0, "gamma": 0.5, "temperature": 0.2}, {"gamma": 0.0}])


def embedding_regression():
    def loss(b, measure="cosine", project=True):
        t, s = b["target"], b["source"]
        if project:
            t = t @ b["param.projection.weight"].t() + b["param.projection.bias"]
        if measure == "cosine":
            return 1 - F.cosine_similarity(t, s, dim=1).mean()
        return (t - s).pow(2).sum(1).mean()

    def formulas(n, d, project=True, **_):
        if not project:
            return {"source": (9, 1.0, (n, d))}
        return {"param.projection.weight": (5, 0.25, (d + 4, d)), "param.projection.bias": (6, 0.5, (d + 4,))}

    variants = [{"measure": m, "project": p} for m in ("cosine", "l2") for p in (True, False)]
    return cases(loss, variants, formulas=formulas)


# Feature maps: levels of one size, of different sizes, more of one network than of the other, vectors.
MAPS = {
    "wide": {"target": [(512, 2, 2)], "source": [(512, 2, 2)]},
    "other sizes": {"target": [(3, 6, 4), (4, 2, 2)], "source": [(5, 3, 4), (6, 4, 3)]},
    "more levels": {"target": [(3, 4, 4), (4, 2, 2), (5, 2, 2)], "source": [(5, 4, 4), (6, 2, 2)]},
    "vectors": {"target": [(512,)], "source": [(7,)]},
}


def maps(kind, n):
    return {
        f"{side}_features.{level}": (20 * (1 + level) + (side == "source"), 1.0, (n, *shape))
        for side, shapes in MAPS[kind].items()
        for level, shape in enumerate(shapes)
    }


def pairs_of_maps(b):
    """Both networks' maps, the deepest paired first, averaged to the smaller size of each pair."""

    def all_of(side):
        names = sorted(k for k in b if k.startswith(f"{side}_features"))
        found = [b[k] for k in names if b[k].dim() == 4]
        return found or [b[k][:, :, None, None] for k in names]

    t, s = all_of("target"), all_of("source")
    levels = min(len(t), len(s))
    out = []
    for x, y in zip(t[-levels:], s[-levels:]):
        size = [min(a, b) for a, b in zip(x.shape[2:], y.shape[2:])]
        out.append((F.adaptive_avg_pool2d(x, size), F.adaptive_avg_pool2d(y, size)))
    return out


def by_maps(loss, params, kinds, **hyper):
    """Cases of a loss of feature maps; `params(t, s, level)` are its parameters at a level."""
    out = []
    for kind in kinds:
        n = 4
        formulas = maps(kind, n) if kind else {}
        shown = example(n, 6, 1) if not kind else {k: values(shape, s) for k, (s, _, shape) in formulas.items()}
        for level, (t, s) in enumerate(pairs_of_maps(shown)):
            formulas |= params(t.shape[1], s.shape[1], level)
        words = " ".join([kind or "one size", *(f"{k}={v}" for k, v in hyper.items())])
        out.append(Case(words, loss, (n, 6, 1), formulas, **hyper).run())
    return out


def attention():
    def at(x):
        return F.normalize(x.pow(2).mean(1).flatten(1))

    def loss(b):
        return sum((at(t) - at(s)).pow(2).mean() for t, s in pairs_of_maps(b))

    return by_maps(loss, lambda *_: {}, ["", "wide", "other sizes", "more levels"])


def fitnet():
    def loss(b):
        levels = enumerate(pairs_of_maps(b))
        return sum((F.conv2d(t, b[f"param.transform.{i}.weight"]) - s).pow(2).mean() for i, (t, s) in levels)

    params = lambda t, s, i: {f"param.transform.{i}.weight": (40 + i, 0.125, (s, t, 1, 1))}
    return by_maps(loss, params, ["", *MAPS])


def vid():
    def loss(b, initial_variance=5.0):
        total = 0
        for i, (t, s) in enumerate(pairs_of_maps(b)):
            for layer in (0, 2, 4):
                t = F.conv2d(F.relu(t) if layer else t, b[f"param.regressor.{i}.{layer}.weight"])
            variance = (torch.log1p(torch.exp(b[f"param.log_scale.{i}"])) + 1e-5).reshape(1, -1, 1, 1)
            total = total + 0.5 * ((t - s).pow(2) / variance + torch.log(variance)).mean()
        return total

    def params(t, s, i):
        out = {f"param.regressor.{i}.{k}.weight": (40 + 9 * i + k, 0.125, (s, s if k else t, 1, 1)) for k in (0, 2, 4)}
        return out | {f"param.log_scale.{i}": (80 + i, 2.0, (s,))}

    return by_maps(loss, params, ["", *MAPS]) + by_maps(loss, params, [""], initial_variance=0.5)


def similarity_preserving():
    def similarity(x):
        gram = x.flatten(1) @ x.flatten(1).t()
        return unit(gram)

    def loss(b, on="feature"):
        t, s = (b["target"], b["source"]) if on == "embedding" else pairs_of_maps(b)[-1]
        return (similarity(t) - similarity(s)).pow(2).sum() / len(t) ** 2

    return by_maps(loss, lambda *_: {}, ["", *MAPS], on="feature") + cases(loss, [{"on": "embedding"}])


def crd():
    """The memories' update, too. The draw is given: `noise` says where retort draws from."""

    def loss(b, dim=4, negatives=5, temperature=0.07, momentum=0.5, on="feature", noise="other-classes"):
        def last(side):
            vectors = [k for k in sorted(b) if k.startswith(f"{side}_features") and b[k].dim() == 2]
            return b[side] if on == "embedding" else b[vectors[-1]]

        project = lambda side: unit(last(side) @ b[f"param.embed_{side}.weight"].t() + b[f"param.embed_{side}.bias"])
        t, s = project("target"), project("source")
        # The authors keep τ and the momentum in 32 bits.
        tau, momentum = (torch.tensor(x, dtype=torch.float32).item() for x in (temperature, momentum))
        picks, big_n, total, after = b["random.0"], len(b["buffer.memory_target"]), 0, {}
        n, m = len(picks), negatives / big_n
        for side, anchor, other in (("target", t, "source"), ("source", s, "target")):
            e = torch.exp((b[f"buffer.memory_{other}"][picks] * anchor[:, None]).sum(2) / tau)
            z = b.get(f"buffer.z_{side}", (e.mean() * big_n).detach())
            p = e / z
            total = total - torch.log(p[:, 0] / (p[:, 0] + m + 1e-7)).sum() / n
            total = total - torch.log(m / (p[:, 1:] + m + 1e-7)).sum() / n
            after[f"buffer.z_{side}"] = z
        for side, x in (("target", t), ("source", s)):
            memory = b[f"buffer.memory_{side}"].clone()
            for row, i in enumerate(b["ids"]):  # of a sample's views the last one counts
                memory[i] = momentum * b[f"buffer.memory_{side}"][i] + (1 - momentum) * x[row].detach()
                memory[i] = memory[i] / memory[i].norm()
            after[f"buffer.memory_{side}"] = memory
        return total, after

    out = []
    for d, shapes in ((6, {}), (512, {"target_features.0": (21, 1.0, (8, 512)), "source_features.0": (22, 1.0, (8, 516))})):
        for on in ("feature", "embedding"):
            for noise in ("other-classes", "uniform"):
                widths = (d, d + 4) if on == "embedding" or shapes else (5, 7)
                formulas = dict(shapes)
                for side, width, salt in (("target", widths[0], 5), ("source", widths[1], 7)):
                    formulas[f"param.embed_{side}.weight"] = (salt, 0.25, (4, width))
                    formulas[f"param.embed_{side}.bias"] = (salt + 1, 0.5, (4,))
                    formulas[f"buffer.memory_{side}"] = (salt + 20, 0.5, (8, 4))
                step = 1 if noise == "uniform" else 2  # uniform draws hit the own class, and the sample itself
                picks = [[i] + [(i + i % 2 * 6 + step * (1 + k)) % 8 for k in range(5)] for i in range(8)]
                hyper = {"dim": 4, "negatives": 5, "on": on, "noise": noise}
                out.append(Case(f"{on}, {noise}, d {d}", loss, (8, d, 1, 2), formulas, {"random.0": picks}, **hyper).run())
    views = [[i % 4] + [(i % 4 + 2) % 4] * 5 for i in range(8)]
    formulas = {k: v for k, v in formulas.items() if "features" not in k and "memory" not in k}
    formulas |= {f"buffer.memory_{side}": (30, 0.5, (4, 4)) for side in ("target", "source")}
    hyper = {"dim": 4, "negatives": 5, "on": "embedding"}
    out.append(Case("two views", loss, (8, 512, 1), formulas, {"random.0": views}, views=2, samples=4, **hyper).run())
    return out


def crd_batch():
    modulus = 1 << 23
    residues = lambda c: [float(c % (modulus - 1)), float(c % modulus), float(c % (modulus + 1))]

    def loss(b, dim=4, queue=5, temperature=0.07):
        project = lambda side: unit(b[side] @ b[f"param.embed_{side}.weight"].t() + b[f"param.embed_{side}.bias"])
        t, s, y, n = project("target"), project("source"), b["labels"], len(b["labels"])
        kept = list(zip(*(b.get(f"buffer.queue_{k}", []) for k in ("target", "source", "class"))))
        kept = [k for k in kept if k[2][0] >= 0]
        total = 0
        for anchor, own, side in ((t, s, 1), (s, t, 0)):
            for i in range(n):
                others = [own[j] for j in range(n) if y[j] != y[i]]
                others += [k[side] for k in kept if k[2].tolist() != residues(y[i])]
                score = torch.stack([anchor[i] @ own[i]] + [anchor[i] @ o for o in others]) / temperature
                total = total - torch.log_softmax(score, 0)[0] / n
        new = [(t[i].detach(), s[i].detach(), torch.tensor(residues(y[i]))) for i in range(n)]
        kept = (new + kept)[:queue]
        empty = (torch.zeros(dim), torch.zeros(dim), torch.full((3,), -1.0))
        kept += [empty] * (queue - len(kept))
        return total, {f"buffer.queue_{k}": torch.stack(x) for k, x in zip(("target", "source", "class"), zip(*kept))}

    def formulas(n, d, dim, **_):
        out = {}
        for side, width, salt in (("target", d, 5), ("source", d + 4, 7)):
            out[f"param.embed_{side}.weight"] = (salt, 0.25, (dim, width))
            out[f"param.embed_{side}.bias"] = (salt + 1, 0.5, (dim,))
        return out

    variants = [{"dim": 4, "queue": 5}, {"dim": 4, "queue": 12, "temperature": 0.5}]
    return cases(loss, variants, ((8, 6, 1, 2, 3), (8, 512, 2, 3)), formulas)


LOSSES = [
    relaxed_contrastive, relaxed_ms, rkd, rkd_distance, rkd_angle, pkt, darkrank, attention, fitnet, crd, crd_batch,
    similarity_preserving, vid, embedding_regression, dist, proxy_anchor, proxy_nca, proxy_nca_pp, soft_triple,
    multi_similarity, circle, contrastive, supcon, triplet, n_pair, cross_entropy, arcface,
]  # fmt: skip

if __name__ == "__main__":
    made = {f.__name__: {"how": (f.__doc__ or "the equation").strip(), "cases": f()} for f in LOSSES}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in made.items()]
    print(f'{{"made_with": "PyTorch {torch.__version__}, f64",\n"losses": {{\n' + ",\n".join(lines) + "\n}}")
