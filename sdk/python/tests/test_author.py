"""What an author in Python relies on: tensors as in Rust, hyperparameters, errors with their lines."""

import importlib
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import retort_sdk as sdk
from retort_sdk import Index, Step, Tensor, component, host
from retort_sdk import op as ops
from retort_sdk.hyper import LOSSES

HERE = Path(__file__).parent
RUST = HERE / "../../src"


class Numpy:
    """A host of numpy arrays: what each operation is, written down once more."""

    UNARY = {
        ops.NEG: np.negative, ops.EXP: np.exp, ops.LN: np.log, ops.LN1P: np.log1p, ops.SQRT: np.sqrt, ops.ABS: np.abs,
        ops.RELU: lambda x: np.maximum(x, 0), ops.DETACH: lambda x: x, ops.TANH: np.tanh, ops.SIN: np.sin, ops.COS: np.cos,
        ops.SIGMOID: lambda x: 1 / (1 + np.exp(-x)), ops.SUM: np.sum, ops.TRANSPOSE: lambda x: np.swapaxes(x, -1, -2),
        ops.FLOAT: lambda x: x.astype(float),
    }  # fmt: skip
    BINARY = {
        ops.ADD: np.add, ops.SUB: np.subtract, ops.MUL: np.multiply, ops.DIV: np.divide, ops.MAX: np.maximum,
        ops.MIN: np.minimum, ops.GREATER: lambda a, b: (a > b) * 1.0, ops.EQUAL: lambda a, b: (a == b) * 1.0,
        ops.MATMUL: np.matmul, ops.ROWS: lambda a, i: a[i], ops.ADD_INDEX: np.add,
    }  # fmt: skip
    SCALAR = {
        ops.ADD_SCALAR: np.add, ops.MUL_SCALAR: np.multiply, ops.DIV_SCALAR: np.divide, ops.POW_SCALAR: np.power,
        ops.CLAMP_MIN: np.maximum, ops.CLAMP_MAX: np.minimum, ops.MOD_INDEX: np.mod,
    }  # fmt: skip
    ALONG = {ops.SUM_DIM: np.sum, ops.MEAN_DIM: np.mean, ops.MAX_DIM: np.max, ops.MIN_DIM: np.min}

    def __init__(self, **inputs):
        self.inputs, self.kept, self.messages, self.failed = inputs, [], [], False

    def put(self, x):
        self.kept.append(np.asarray(x))
        return len(self.kept)

    def call(self, op, args, attrs, name):
        assert all(isinstance(x, float) for x in attrs) and all(isinstance(x, int) for x in args)
        if op == ops.FAIL:
            self.failed = True
        if op in (ops.FAIL, ops.BLAME):
            self.messages.append(name)
        if self.failed:
            return 0
        return self.put(self.compute(op, [self.kept[i - 1] for i in args], attrs, name))

    def compute(self, op, x, a, name):
        n = [int(v) for v in a]
        if op in self.UNARY:
            return self.UNARY[op](x[0])
        if op in self.BINARY:
            return self.BINARY[op](*x)
        if op in self.SCALAR:
            return self.SCALAR[op](x[0], a[0] if x[0].dtype == float else n[0])
        if op in self.ALONG:
            return self.ALONG[op](x[0], axis=n[0], keepdims=True)
        if op in (ops.INPUT, ops.FACT):
            value = self.inputs[name]
            return np.asarray(float(value)) if op == ops.FACT else value
        if op == ops.HAS:
            return np.asarray(float(name in self.inputs))
        if op in (ops.CONSTANT, ops.CONSTANT_INDEX):
            kind = float if op == ops.CONSTANT else int
            return np.array(a[1 + n[0] :], kind).reshape(n[1 : 1 + n[0]])
        if op == ops.EYE:
            return np.eye(n[0])
        if op == ops.RANGE:
            return np.arange(n[0], n[1])
        if op == ops.SELECT:
            return np.where(x[2] != 0, x[0], x[1])
        if op == ops.CUM_SUM:
            return np.cumsum(x[0], axis=n[0])
        if op in (ops.RESHAPE, ops.RESHAPE_INDEX):
            return x[0].reshape(n)
        if op in (ops.SLICE, ops.SLICE_INDEX):
            return np.take(x[0], range(n[1], n[2]), axis=n[0])
        if op in (ops.CAT, ops.CAT_INDEX):
            return np.concatenate(x, axis=n[0])
        if op in (ops.GATHER, ops.GATHER_INDEX):
            return np.take_along_axis(x[0], x[1], axis=n[0])
        if op == ops.SWAP_DIMS:
            return np.swapaxes(x[0], n[0], n[1])
        if op == ops.ARGSORT:
            return np.argsort(x[0], axis=n[0], kind="stable")
        if op == ops.ONE_HOT:
            return np.eye(n[0])[x[0]]
        raise AssertionError(f"operation {op}")

    def shape(self, tensor):
        return list(self.kept[tensor - 1].shape) if tensor else [1] * 4

    def read(self, tensor):
        return [float(v) for v in self.kept[tensor - 1].flatten()] if tensor else []


@pytest.fixture(autouse=True)
def fake():
    rng = np.random.default_rng(1)
    made = Numpy(
        target=rng.normal(size=(6, 4)), source=rng.normal(size=(6, 5)), labels=np.array([0, 0, 1, 1, 2, 0]), classes=3,
        positive_pairs=4, samples=6, views=2, ids=np.arange(6),
    )  # fmt: skip
    host.use(made)
    yield made
    host.use(None)


def array(x):
    return np.array(x.to_list()).reshape(x.dims())


@pytest.fixture
def x():
    return Step().target()


@pytest.fixture
def a(fake):
    return fake.inputs["target"]


def softmax(a):
    return np.exp(a) / np.exp(a).sum(1, keepdims=True)


def test_methods_are_those_of_the_sdk_in_rust():
    names = {"to_vec": "to_list"}
    for cls, rust, files in (
        (Tensor, "Tensor", ["tensor.rs", "compose.rs"]),
        (Index, "Index", ["tensor.rs"]),
        (Step, "Step", ["step.rs"]),
        (sdk.Buffer, "Buffer", ["step.rs"]),
    ):
        found = set()
        for file in files:
            text = (RUST / file).read_text(encoding="utf-8").partition("#[cfg(test)]")[0]
            for block in re.findall(r"\nimpl %s(?:<'_>)? \{(.*?)\n\}" % rust, text, re.S):
                found |= set(re.findall(r"    pub fn (\w+)", block))
            if rust == "Tensor":
                tables = re.findall(r"\n(?:unary|reduce)! \{(.*?)\n\}", text, re.S)
                found |= {m for t in tables for m in re.findall(r"\n    (\w+) \w+(?=\n|$)", t)}
        assert len(found) > 3, rust
        missing = {names.get(name, name) for name in found} - set(dir(cls))
        assert not missing, f"{rust} has {missing} in Rust alone"
    functions = re.findall(r"\npub fn (\w+)", (RUST / "distance.rs").read_text(encoding="utf-8"))
    assert not set(functions) - set(sdk.__all__)


def test_operators(x, a):
    for got, want in (
        (1 - x, 1 - a), (x - 1, a - 1), (2 / (x * x + 1), 2 / (a * a + 1)), (x / 2 + 3, a / 2 + 3), (3 + x, 3 + a),
        (2 * x, 2 * a), (x**2, a**2), (abs(-x), abs(a)), (x @ x.t(), a @ a.T), (x > 0, a > 0), (x < 0.5, a < 0.5),
        (x > -x, a > -a), (x == x, a == a), (x / x, a / a), (x - x, a - a),
    ):  # fmt: skip
        np.testing.assert_allclose(array(got), want, rtol=1e-12)


def test_a_tensor_is_no_truth_value(x):
    for wrong in (lambda: bool(x > 0), lambda: x != x, lambda: [0, 1][x], lambda: x >= 0, lambda: x + "1", lambda: x + None):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError, match="neither true nor false"):
        if x > 0:
            pass


def test_what_is_composed(x, a):
    d = np.sqrt(((a[:, None] - a[None]) ** 2).sum(2))
    b = a[::-1] * 0.5
    y = Step().constant(b.shape, b.flatten().tolist())
    other = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    square = a @ a.T
    s = x @ x.t()
    for got, want in (
        (x.normalize(1), unit), (x.norm(1), np.linalg.norm(a, axis=1, keepdims=True)), (x.softmax(1), softmax(a)),
        (x.log_softmax(1), np.log(softmax(a))), (x.logsumexp(1), np.log(np.exp(a).sum(1, keepdims=True))),
        (x.var(1, 1), a.var(1, ddof=1, keepdims=True)), (x.std(1, 0), a.std(1, keepdims=True)), (x.mean(), a.mean()),
        (x.norm_p(3.0, 1), (abs(a) ** 3).sum(1, keepdims=True) ** (1 / 3)), (x.sign(), np.sign(a)), (x.flat(), a.flatten()),
        (x.leaky_relu(0.1), np.where(a > 0, a, 0.1 * a)), (x.clamp(-0.5, 0.5), a.clip(-0.5, 0.5)), (s.trace(), np.trace(square)),
        (s.diagonal(), np.diag(square)), (s.off_diagonal(), square - np.diag(np.diag(square))), (x.unsqueeze(1), a[:, None]),
        (s.without_diagonal(), square[~np.eye(6, dtype=bool)].reshape(6, 5)), (x.permute([1, 0]), a.T),
        (x.masked_fill(x > 0, 9), np.where(a > 0, 9, a)), (x.top_k(2, 1)[0], -np.sort(-a, 1)[:, :2]), (x.sort(1, True)[0], -np.sort(-a, 1)),
        (x.argmax(1), a.argmax(1)[:, None]), (x.argmin(0), a.argmin(0)[None]), (x.ranks(1), a.argsort(1).argsort(1)),
        (sdk.euclidean_distance(x), d), (sdk.pairwise_distance(x), d), (sdk.cdist(x, y), other), (x.straight_through(y), b),
        (sdk.cosine_similarity(x, y), unit @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T), (x.reciprocal(), 1 / a),
        (sdk.row_cosine(x, y), (unit * b / np.linalg.norm(b, axis=1, keepdims=True)).sum(1)), (sdk.softplus(x), np.log1p(np.exp(a))),
        (sdk.huber(3 * x), np.where(abs(3 * a) < 1, 4.5 * a * a, abs(3 * a) - 0.5)),
        (sdk.log_sum_exp(x, x > 0, 1), np.log((np.exp(a) * (a > 0)).sum(1, keepdims=True) + 1e-300)),
        (sdk.ln_1p_sum_exp(x, x > 0, 1), np.log1p((np.exp(a) * (a > 0)).sum(1, keepdims=True))),
        (sdk.mean_where(x, x > 0), a[a > 0].mean()), (sdk.kl_divergence(x.log_softmax(1), y.log_softmax(1), 1),
        (softmax(a) * np.log(softmax(a) / softmax(b))).sum(1, keepdims=True)),
        (sdk.einsum("nd,md->nm", x, y), a @ b.T), (sdk.einsum("nd,nd->n", x, y), (a * b).sum(1)), (sdk.einsum("nd,nm->md", x, s), square.T @ a),
        (sdk.binary_cross_entropy(x, (x > 0)), np.mean(np.log1p(np.exp(a)) - a * (a > 0))),
        (sdk.cross_entropy(x, Step().labels()), -np.log(softmax(a))[range(6), [0, 0, 1, 1, 2, 0]].mean()),
    ):  # fmt: skip
        got = array(got)
        finite = np.abs(np.asarray(want, float)) < 100
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got[finite], np.asarray(want, float)[finite], rtol=1e-9, atol=1e-9)


def test_what_a_step_makes_of_labels():
    step = Step()
    labels = np.array([0, 0, 1, 1, 2, 0])
    same = labels[:, None] == labels[None]
    positive, negative = step.pairs()
    np.testing.assert_array_equal(array(positive), same & ~np.eye(6, dtype=bool))
    np.testing.assert_array_equal(array(negative), ~same)
    place, row = step.positive_pairs()
    assert [(p // 6, p % 6) for p in place.to_list()] == [(int(i), int(j)) for i, j in np.argwhere(same & ~np.eye(6, dtype=bool))]
    assert row.to_list() == [p // 6 for p in place.to_list()]
    rows, columns = step.pairs_where(positive)
    assert list(zip(rows.to_list(), columns.to_list())) == [(p // 6, p % 6) for p in place.to_list()]
    assert step.shown_samples(7).to_list() == [0, 1, 2, 0, 1, 2, 6]
    assert step.has("source") and not step.has("target_features") and Step().with_source(positive).has("source")


def test_what_cannot_be_fails_at_the_authors_line(fake, x):
    x.squeeze(0)
    assert fake.messages[0] == "squeeze(0) of a tensor of shape [6, 4]"
    assert re.match(r".*test_author\.py:\d+$", fake.messages[-1])
    for wrong in (lambda: x.dim(7), lambda: x.unsqueeze(9), lambda: x.permute([0, 0]), lambda: x.norm_p(0.5, 1),
                  lambda: sdk.einsum("ab,cd->ae", x, x), lambda: x.var(1, 4), lambda: x.without_diagonal()):  # fmt: skip
        fake.failed, fake.messages[:] = False, []
        wrong()
        assert fake.failed and "test_author.py:" in fake.messages[-1], fake.messages
    assert host.place("/0/my_loss.py", 3) == "my_loss.py:3"


def test_nothing_happens_outside_a_step(x):
    host.use(None)
    with pytest.raises(RuntimeError, match="outside a training"):
        x.exp()


def module(name, text, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    LOSSES.pop(name, None)
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


class Err(Exception):
    """What componentize-py has for errors."""


@pytest.fixture(autouse=True)
def errors(monkeypatch):
    monkeypatch.setitem(sys.modules, "componentize_py_types", types.SimpleNamespace(Err=Err))


HEAD = "\"\"\"Me, \"It\",\n2026.\n\nMore.\"\"\"\nfrom typing import Annotated\nfrom retort_sdk import *\n"


def test_examples_describe_themselves_as_in_rust(monkeypatch):
    folder = HERE / "../examples"
    monkeypatch.syspath_prepend(str(folder.resolve()))
    names = ["relaxed_contrastive", "proxy_anchor", "crd"]
    about = json.loads(component.world(names, "x")().describe())
    assert about["interface"] == 1 and [entry["name"] for entry in about["losses"]] == names
    for entry in about["losses"]:
        assert entry["source"] == (folder / f"{entry['name']}.py").read_text(encoding="utf-8")
        rust = (HERE / f"../../../plugins/src/{entry['name']}.rs").read_text(encoding="utf-8")
        paper = re.match(r"((?://! .*\n)+)", rust).group(1)
        assert entry["paper"] == " ".join(line[4:].strip() for line in paper.splitlines())
        doc = re.search(r"hyper! \{\n((?: +///.*\n)+)", rust).group(1)
        assert entry["doc"] == "\n".join(line.strip()[4:] for line in doc.splitlines())
        fields = re.findall(r"\n        (\w+): \w+ = ", rust)
        assert [field["name"] for field in entry["hyper"]] == fields
    crd = {field["name"]: field for field in about["losses"][2]["hyper"]}
    assert crd["dim"] == {
        "name": "dim", "doc": "Width of the space that both networks are projected to.", "kind": "integer", "default": 128,
        "range": {"min": 1},
    }  # fmt: skip
    assert (crd["on"]["kind"], crd["on"]["default"], crd["on"]["choices"]) == ("choice", "feature", ["feature", "embedding"])
    assert crd["momentum"]["range"] == {"min": 0.0, "max": 1.0}
    alpha = about["losses"][1]["hyper"][0]
    assert (alpha["default"], alpha["range"]) == (32.0, {"min": 0.0, "above": True})


def test_hyperparameters_of_every_kind(monkeypatch, tmp_path):
    text = HEAD + (
        "from enum import Enum\nfrom typing import Tuple\nclass W(Enum):\n    A = 'a'\n    B = 'b'\n@loss(exempt={'order': 'why'})\n"
        "class Kinds(Loss):\n    'Does it.'\n    f: Annotated[float, 'f', above(0)] = 1\n    b: Annotated[bool, 'b'] = True\n"
        "    w: Annotated[W, 'w'] = W.B\n    fs: Annotated[Tuple[float, ...], 'fs', at_least(0)] = (1.0, 2.0)\n"
        "    ws: Annotated[Tuple[W, ...], 'ws'] = (W.A,)\n    def loss(self, step):\n        assert self.ws == (W.B, W.A), self\n"
        "        return step.target().sum() * self.f * len(self.fs)\n"
    )
    module("kinds", text, monkeypatch, tmp_path)
    made = component.world(["kinds"], "x")()
    entry = json.loads(made.describe())["losses"][0]
    assert entry["paper"] == 'Me, "It", 2026.' and entry["exempt"] == {"order": "why"}
    assert [field["kind"] for field in entry["hyper"]] == ["float", "boolean", "choice", "floats", "choices"]
    assert [field["default"] for field in entry["hyper"]] == [1.0, True, "b", [1.0, 2.0], ["a"]]
    number = made.create("kinds", '{"f": 3, "fs": [], "ws": ["b", "a"]}')
    assert made.loss(number) != 0
    for hyper, part in (
        ('{"f": 0}', "f = 0 is out of range: above 0"), ('{"f": "1"}', "must be a number"), ('{"b": 1}', "true or false"),
        ('{"w": "c"}', "one of a, b"), ('{"fs": 1}', "must be a list"), ('{"fs": [-1]}', "out of range"), ("[]", "JSON object"),
        ('{"z": 1}', "no hyperparameter z; there are: f, b, w, fs, ws"), ('{"f": NaN}', "out of range"),
    ):  # fmt: skip
        with pytest.raises(Err, match=re.escape(part)):
            made.create("kinds", hyper)
    with pytest.raises(Err, match="has no loss other; it has: kinds"):
        made.create("other", "{}")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("class A(Loss):\n    'd'\n    f: Annotated[float, 'f']\n    def loss(self, step): pass\n", "A.f has no default"),
        ("class A(Loss):\n    'd'\n    f: float = 1.0\n    def loss(self, step): pass\n", "A.f has no doc"),
        ("class A(Loss):\n    'd'\n    f: Annotated[str, 'f'] = ''\n    def loss(self, step): pass\n", "A.f is a str: a hyperparameter is"),
        ("class A(Loss):\n    'd'\n    f: Annotated[int, 'f', above(2)] = 1\n    def loss(self, step): pass\n", "f = 1 is out of range: above 2"),
        ("class A(Loss):\n    def loss(self, step): pass\n", "A has no docstring"),
        ("class A(Loss):\n    'd'\n", "A has no method loss"),
    ],
)
def test_what_a_loss_lacks_is_told(body, part, monkeypatch, tmp_path):
    module("lacks", HEAD + "@loss\n" + body, monkeypatch, tmp_path)
    with pytest.raises((TypeError, ValueError), match=re.escape(part)):
        component.world(["lacks"], "x")


def test_a_file_has_one_loss(monkeypatch, tmp_path):
    module("none", HEAD, monkeypatch, tmp_path)
    with pytest.raises(TypeError, match=r"none.py must have one class with @loss, which is called none; it has: none"):
        component.world(["none"], "x")


def test_exceptions_become_the_steps_errors(fake, monkeypatch, tmp_path):
    body = "@loss\nclass A(Loss):\n    'd'\n    def loss(self, step):\n        return {}\n"
    for what, part in (
        ("step.target() + None", r"the plugin raised TypeError at raises.py:11: unsupported operand"),
        ("1 / 0", r"the plugin raised ZeroDivisionError at raises.py:11: division by zero"),
        ("3.0", r"the plugin raised TypeError.*: loss\(\) returned float, not a Tensor"),
        ("step.fail('no')", r"^no$"),
    ):  # fmt: skip
        module("raises", HEAD + body.format(what), monkeypatch, tmp_path)
        made = component.world(["raises"], "x")()
        fake.failed, fake.messages[:] = False, []
        assert made.loss(made.create("raises", "{}")) == 0
        assert re.search(part, fake.messages[0].replace(f"{tmp_path}/", "")), fake.messages
