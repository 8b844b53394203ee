"""Numbers for the losses that the golden data doesn't have, from computations that share nothing with
retort: pytorch-metric-learning where it has the loss, otherwise the authors' published code, copied
here and named, or the paper's equation written out in PyTorch. All in f64.

    pip install torch pytorch-metric-learning
    python snapshots/references/make.py > snapshots/references/losses.json
"""

import json
import math

import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml

torch.set_default_dtype(torch.float64)


def randn(seed, *shape, scale=1.0):
    """Random numbers that 32 bits hold exactly."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float32) * scale).double()


def leaf(x):
    return x.clone().requires_grad_(True)


def tolist(x):
    return x.detach().tolist()


def step(loss, inputs, leaves, after=None):
    """One step: `leaves` are the inputs that gradients are taken of."""
    gradients = torch.autograd.grad(loss, [inputs[name] for name in leaves], allow_unused=True)
    zero = lambda name, g: torch.zeros_like(inputs[name]) if g is None else g
    return {
        "inputs": {name: tolist(x) for name, x in inputs.items()},
        "loss": loss.item(),
        "gradients": {name: tolist(zero(name, g)) for name, g in zip(leaves, gradients)},
        "after": {name: tolist(x) for name, x in (after or {}).items()},
    }


def case(name, steps, hyper=None, **facts):
    steps = steps if isinstance(steps, list) else [steps]
    return {"name": name, "hyperparameters": hyper or {}, **facts, "steps": steps}


# Batches: embeddings and labels.
def batches(d=6):
    duplicate = randn(3, 9, d)
    duplicate[4] = duplicate[3]
    return {
        "plain": (randn(1, 8, d), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])),
        "uneven": (randn(2, 9, d, scale=3.0), torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3])),
        "duplicate rows": (duplicate, torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3])),
        "near": (randn(5, 1, d) + randn(6, 8, d, scale=0.05), torch.tensor([0, 1, 2, 3] * 2)),
    }


def by_label(loss_of, hypers):
    """Cases of a loss of embeddings and labels."""
    out = []
    for number, hyper in enumerate(hypers):
        for name, (x, y) in batches().items():
            inputs = {"target": leaf(x), "labels": y}
            loss = loss_of(inputs["target"], y, **hyper)
            out.append(case(f"{name} {number}", step(loss, inputs, ["target"]), hyper, classes=4))
    return out


def by_proxy(param, shape_of, loss_of, hypers):
    """Cases of a loss with a parameter."""
    out = []
    for number, hyper in enumerate(hypers):
        for name, (x, y) in batches().items():
            weight = randn(77 + number, *shape_of(x.shape[1], **hyper))
            inputs = {"target": leaf(x), "labels": y, f"param.{param}": leaf(weight)}
            loss = loss_of(inputs["target"], y, inputs[f"param.{param}"], **hyper)
            made = step(loss, inputs, ["target", f"param.{param}"])
            out.append(case(f"{name} {number}", made, hyper, classes=4))
    return out


def with_weight(module, attribute, weight):
    """A module whose parameter is a tensor that gradients flow to."""
    delattr(module, attribute)
    setattr(module, attribute, weight)
    module.cast_types = lambda *_: None
    return module


def proxy_nca_pp():
    def loss(x, y, proxies, temperature=1 / 9):
        module = pml.ProxyNCALoss(4, x.shape[1], softmax_scale=1 / temperature)
        return with_weight(module, "proxies", proxies)(x, y)

    shape = lambda d, **_: (4, d)
    return by_proxy("proxies", shape, loss, [{}, {"temperature": 0.5}])


def soft_triple():
    """github.com/idstcv/SoftTriple, loss/SoftTriple.py, with the embedding normalised first."""

    def loss(x, y, weight, *, centers=10, scale=20.0, gamma=0.1, margin=0.01, tau=0.2):
        k, fc, classes = centers, weight.t(), 4
        centers = F.normalize(fc, p=2, dim=0)
        similarity = F.normalize(x, dim=1).matmul(centers).reshape(-1, classes, k)
        prob = F.softmax(similarity / gamma, dim=2)
        by_class = torch.sum(prob * similarity, dim=2)
        moved = torch.zeros_like(by_class)
        moved[torch.arange(len(x)), y] = margin
        classify = F.cross_entropy(scale * (by_class - moved), y)
        if tau > 0 and k > 1:
            weight = torch.zeros(classes * k, classes * k, dtype=torch.bool)
            for i in range(classes):
                for j in range(k):
                    weight[i * k + j, i * k + j + 1 : (i + 1) * k] = 1
            between = centers.t().matmul(centers)
            reg = torch.sum(torch.sqrt(2.0 + 1e-5 - 2.0 * between[weight])) / (classes * k * (k - 1.0))
            return classify + tau * reg
        return classify

    shape = lambda d, **hyper: (4 * hyper.get("centers", 10), d)
    hypers = [{"centers": 2}, {"centers": 3, "tau": 0.0, "gamma": 0.5, "margin": 0.2}, {"centers": 1}]
    return by_proxy("centers", shape, loss, hypers)


def circle():
    def loss(x, y, margin=0.4, gamma=80.0):
        return pml.CircleLoss(m=margin, gamma=gamma)(x, y)

    return by_label(loss, [{}, {"margin": 0.25, "gamma": 16.0}])


def supcon():
    def loss(x, y, temperature=0.1):
        return pml.SupConLoss(temperature=temperature)(x, y)

    return by_label(loss, [{}, {"temperature": 0.5}])


def arcface():
    def loss(x, y, weight, margin=0.5, scale=64.0):
        module = pml.ArcFaceLoss(4, x.shape[1], margin=math.degrees(margin), scale=scale)
        return with_weight(module, "W", weight.t())(x, y)

    shape = lambda d, **_: (4, d)
    return by_proxy("weight", shape, loss, [{}, {"margin": 0.2, "scale": 8.0}])


def crd_batch():
    """The equation in the loss's doc, with a loop over samples; three steps fill the queue."""
    out = []
    for name, queue, t_queue in [("queue of 5", 5, 0.07), ("queue of 20", 20, 0.5)]:
        d, e, dim = 6, 7, 4
        param = {
            "param.embed_target.weight": randn(1, dim, d),
            "param.embed_target.bias": randn(2, dim),
            "param.embed_source.weight": randn(3, dim, e),
            "param.embed_source.bias": randn(4, dim),
        }
        kept = []  # newest first: (target, source, class)
        steps = []
        for number in range(3):
            inputs = {k: leaf(v) for k, v in param.items()} if number == 0 else inputs_kept
            y = torch.tensor([0, 0, 1, 2, 3, 3])
            given = {"target": leaf(randn(10 + number, 6, d)), "source": randn(20 + number, 6, e), "labels": y}
            t = given["target"] @ inputs["param.embed_target.weight"].t() + inputs["param.embed_target.bias"]
            s = given["source"] @ inputs["param.embed_source.weight"].t() + inputs["param.embed_source.bias"]
            t, s = t / t.norm(dim=1, keepdim=True), s / s.norm(dim=1, keepdim=True)
            loss = 0
            for i in range(6):
                for anchor, own, side in ((t, s, 1), (s, t, 0)):
                    others = [own[j] for j in range(6) if y[j] != y[i]]
                    others += [row[side] for row in kept if row[2] != y[i]]
                    score = torch.stack([anchor[i] @ own[i]] + [anchor[i] @ o for o in others]) / t_queue
                    loss = loss - torch.log_softmax(score, 0)[0] / 6
            new = [(t[i].detach(), s[i].detach(), int(y[i])) for i in range(6)]
            kept = (new + kept)[:queue]
            pad = queue - len(kept)
            after = {
                "buffer.queue_target": torch.stack([k[0] for k in kept] + [torch.zeros(dim)] * pad),
                "buffer.queue_source": torch.stack([k[1] for k in kept] + [torch.zeros(dim)] * pad),
                # Remainders by 2²³ - 1, 2²³ and 2²³ + 1: the class itself, for small ones.
                "buffer.queue_class": torch.tensor([[float(k[2])] * 3 for k in kept] + [[-1.0] * 3] * pad),
            }
            leaves = ["target", *param]
            made = step(loss, {**given, **inputs}, leaves, after)
            if number > 0:
                made["inputs"] = {k: v for k, v in made["inputs"].items() if k not in param}
            steps.append(made)
            inputs_kept = inputs
        hyper = {"dim": dim, "queue": queue, "temperature": t_queue}
        out.append(case(name, steps, hyper, classes=4))
    return out


def features(seed, n, shapes):
    return [leaf(randn(seed + i, n, *shape)) for i, shape in enumerate(shapes)]


def similarity_preserving():
    """HobbitLong/RepDistiller, distiller_zoo/SP.py."""

    def similarity_loss(f_s, f_t):
        bsz = f_s.shape[0]
        f_s, f_t = f_s.view(bsz, -1), f_t.view(bsz, -1)
        G_s = F.normalize(torch.mm(f_s, torch.t(f_s)))
        G_t = F.normalize(torch.mm(f_t, torch.t(f_t)))
        return ((G_t - G_s) * (G_t - G_s)).view(-1, 1).sum(0) / (bsz * bsz)

    out = []
    for number, n in enumerate((4, 7)):
        t, s = features(number, n, [(3, 4, 4), (5, 2, 2)]), features(50 + number, n, [(4, 4, 4), (6, 2, 2)])
        inputs = {f"target_features.{i}": x for i, x in enumerate(t)}
        inputs |= {f"source_features.{i}": x for i, x in enumerate(s)}
        loss = similarity_loss(t[-1], s[-1].detach())[0]
        out.append(case(f"deepest map {n}", step(loss, inputs, ["target_features.1", "target_features.0"])))
    t, s = leaf(randn(7, 6, 5)), randn(8, 6, 9)
    made = step(similarity_loss(t, s)[0], {"target": t, "source": s}, ["target"])
    out.append(case("embedding", made, {"on": "embedding"}))
    return out


def vid():
    """HobbitLong/RepDistiller, distiller_zoo/VID.py."""
    out = []
    for number, start in enumerate((5.0, 0.5)):
        t, s = features(number, 3, [(3, 4, 4), (5, 2, 2)]), features(60 + number, 3, [(4, 4, 4), (6, 2, 2)])
        inputs = {f"target_features.{i}": x for i, x in enumerate(t)}
        inputs |= {f"source_features.{i}": x for i, x in enumerate(s)}
        leaves = ["target_features.0", "target_features.1"]
        total, eps = 0, 1e-5
        for level, (x, y) in enumerate(zip(t, s)):
            c, mid = x.shape[1], y.shape[1]
            shapes = [(mid, c, 1, 1), (mid, mid, 1, 1), (mid, mid, 1, 1)]
            weights = [leaf(randn(90 + i, *shape, scale=0.5)) for i, shape in enumerate(shapes)]
            log_scale = leaf((torch.log(torch.exp(torch.tensor(start - eps)) - 1.0) + randn(99, mid)).float().double())
            mean = x
            for i, weight in enumerate(weights):
                mean = F.conv2d(mean if i == 0 else F.relu(mean), weight)
                inputs[f"param.regressor.{level}.{2 * i}.weight"] = weight
                leaves.append(f"param.regressor.{level}.{2 * i}.weight")
            inputs[f"param.log_scale.{level}"] = log_scale
            leaves.append(f"param.log_scale.{level}")
            var = (torch.log(1.0 + torch.exp(log_scale)) + eps).view(1, -1, 1, 1)
            total = total + torch.mean(0.5 * ((mean - y.detach()) ** 2 / var + torch.log(var)))
        hyper = {"initial_variance": start}
        out.append(case(f"two levels {number}", step(total, inputs, leaves), hyper))
    return out


def embedding_regression():
    out = []
    for measure in ("cosine", "l2"):
        for n, d, e in ((5, 4, 6), (8, 6, 3)):
            t, s = leaf(randn(n, n, d)), randn(n + 1, n, e)
            weight, bias = leaf(randn(n + 2, e, d)), leaf(randn(n + 3, e))
            projected = F.linear(t, weight, bias)
            l2 = ((projected - s) ** 2).sum(1).mean()
            loss = (1 - F.cosine_similarity(projected, s)).mean() if measure == "cosine" else l2
            inputs = {"target": t, "source": s, "param.projection.weight": weight, "param.projection.bias": bias}
            leaves = ["target", "param.projection.weight", "param.projection.bias"]
            out.append(case(f"{measure} {n}", step(loss, inputs, leaves), {"measure": measure}))
        t, s = leaf(randn(31, 6, 5)), randn(32, 6, 5)
        l2 = ((t - s) ** 2).sum(1).mean()
        loss = (1 - F.cosine_similarity(t, s)).mean() if measure == "cosine" else l2
        made = step(loss, {"target": t, "source": s}, ["target"])
        out.append(case(f"{measure} unprojected", made, {"measure": measure, "project": False}))
    return out


def dist():
    """github.com/hunto/DIST_KD, losses/dist_kd.py, on softmaxed similarities within the batch."""

    def cosine_similarity(a, b, eps=1e-8):
        return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + eps)

    def pearson(a, b, eps=1e-8):
        return cosine_similarity(a - a.mean(1).unsqueeze(1), b - b.mean(1).unsqueeze(1), eps)

    inter = lambda y_s, y_t: 1 - pearson(y_s, y_t).mean()
    intra = lambda y_s, y_t: inter(y_s.transpose(0, 1), y_t.transpose(0, 1))

    def neighbours(x, tau):
        x = F.normalize(x, dim=1)
        cos = (x @ x.t() / tau).masked_fill(torch.eye(len(x), dtype=torch.bool), -math.inf)
        return cos.softmax(dim=1)

    out = []
    for number, (n, hyper) in enumerate(((6, {}), (9, {"beta": 2.0, "gamma": 0.5, "temperature": 0.2}))):
        tau = hyper.get("temperature", 1.0)
        t, s = leaf(randn(40 + number, n, 5)), randn(50 + number, n, 8)
        y_t, y_s = neighbours(t, tau), neighbours(s, tau)
        loss = tau**2 * (hyper.get("beta", 1.0) * inter(y_t, y_s) + hyper.get("gamma", 1.0) * intra(y_t, y_s))
        out.append(case(f"batch of {n}", step(loss, {"target": t, "source": s}, ["target"]), hyper))
    return out


def triplet():
    """The choices of triplets that the golden data doesn't have, with pytorch-metric-learning's miners."""
    from pytorch_metric_learning import miners, reducers

    def loss(x, y, margin=0.2, triplets="all"):
        module = pml.TripletMarginLoss(margin=margin)
        mined = {
            "semi-hard": lambda: miners.TripletMarginMiner(margin=margin, type_of_triplets="semihard")(x, y),
            "hard": lambda: miners.BatchHardMiner()(x, y),
        }[triplets]()
        return module(x, y, mined)

    hypers = [{"triplets": "semi-hard"}, {"triplets": "hard"}, {"triplets": "hard", "margin": 0.7}]
    cases = by_label(loss, [*hypers, {"triplets": "semi-hard", "margin": 0.7}])
    # The library counts violations by distances with rounding: coinciding rows decide by chance.
    return [c for c in cases if not c["name"].startswith("duplicate")]


def cross_entropy():
    """The normalised softmax; the plain classifier is in the golden data."""

    def loss(x, y, weight, temperature, normalize):
        return F.cross_entropy(F.normalize(x, dim=1) @ F.normalize(weight, dim=1).t() / temperature, y)

    shape = lambda d, **_: (4, d)
    return by_proxy("classifier.weight", shape, loss, [{"normalize": True, "temperature": 0.05}])


LOSSES = [
    proxy_nca_pp,
    soft_triple,
    circle,
    supcon,
    arcface,
    crd_batch,
    similarity_preserving,
    vid,
    embedding_regression,
    dist,
    triplet,
    cross_entropy,
]

if __name__ == "__main__":
    made = {f.__name__: {"how": (f.__doc__ or "pytorch-metric-learning").strip(), "cases": f()} for f in LOSSES}
    print(json.dumps({"made_with": f"PyTorch {torch.__version__}, f64", "losses": made}))
