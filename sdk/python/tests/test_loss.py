"""What a PyTorch user relies on: state, errors, limits, random draws."""

import os
import shutil
from pathlib import Path

import pytest
import torch
import wasmtime
from safetensors.torch import load_file

import retort_torch
from retort_torch.ops import OPERATIONS
from retort_torch.random import Stream, key

PACK = retort_torch.Pack(os.environ["RETORT_PACK"])


def example(n=8, d=4):
    torch.manual_seed(1)
    return dict(target=torch.randn(n, d), source=torch.randn(n, d + 2), labels=torch.arange(n) % 3, classes=3)


def crd_batch():
    torch.manual_seed(2)
    return dict(
        target_features=[torch.randn(4, 6)], source_features=[torch.randn(4, 8)], ids=torch.arange(4), samples=20,
        sample_labels=[i % 5 for i in range(20)],
    )  # fmt: skip


def test_state_goes_on_exactly():
    first = retort_torch.Loss(PACK, "crd", dim=5, negatives=7)
    first(**crd_batch())
    first.commit()
    state = {k: v.clone() if torch.is_tensor(v) else v for k, v in first.state_dict().items()}
    assert {"param.embed_target.weight", "buffer.memory_target", "buffer.z_target"} <= set(state)
    second = retort_torch.Loss(PACK, "crd", dim=5, negatives=7)
    second.load_state_dict(state)
    assert torch.equal(first(**crd_batch()), second(**crd_batch()))
    assert {n for n, _ in second.named_parameters()} == {n for n, _ in first.named_parameters()}


def test_an_optimizer_takes_the_parameters_after_setup():
    loss = retort_torch.Loss(PACK, "proxy_anchor").setup(**example())
    before = [p.detach().clone() for p in loss.parameters()]
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    loss(**example()).backward()
    optimizer.step()
    assert before and not torch.equal(before[0], next(loss.parameters()))


def test_first_values_are_the_rust_host_s():
    # `snapshots/snapshots/loss_proxy_anchor.snap`, its first case; the pin's seed is 1.
    pinned = (Path(__file__).resolve().parents[3] / "snapshots/snapshots/loss_proxy_anchor.snap").read_text()
    line = next(line for line in pinned.splitlines() if "param.proxies [6, 6] norm" in line)
    batch = dict(target=torch.randn(12, 6, dtype=torch.float64), labels=torch.arange(12) % 6, classes=6)
    loss = retort_torch.Loss(PACK, "proxy_anchor", seed=1).setup(**batch)
    assert float(loss.param.values["proxies"].norm()) == pytest.approx(float(line.split()[-1]), rel=1e-12)


def test_the_stream_is_chacha8():
    a, b = Stream(key(0, "crd"), [0, 0]), Stream(key(0, "crd"), [0, 0])
    assert [a.u64() for _ in range(300)] == [b.u64() for _ in range(300)]
    assert all(0 <= a.below(7) < 7 for _ in range(100))


@pytest.mark.parametrize("seed, value", [(0, 29.173534459897525), (1, 26.189837616616366), (2, 21.981170065385164)])
def test_random_draws_are_the_rust_host_s(seed, value):
    """Values: `retort loss eval crd --set negatives=7 --set dim=5 --dtype f64 --seed SEED --input crd.safetensors`."""
    batch = load_file(Path(__file__).with_name("crd.safetensors"))
    features = {
        of: [batch[f"{of}.{level}"].double() for level in range(3)] for of in ("target_features", "source_features")
    }
    loss = retort_torch.Loss(PACK, "crd", dim=5, negatives=7, seed=seed)
    labels, sample_labels = batch["labels"], batch["sample_labels"].tolist()
    found = loss(**features, labels=labels, ids=batch["ids"], sample_labels=sample_labels, samples=12)
    assert abs(found.item() - value) < 1e-12 * value


def test_eval_mode_lands_nothing():
    loss = retort_torch.Loss(PACK, "crd", dim=5, negatives=7).setup(**crd_batch()).eval()
    before = loss.buffer.values["memory_target"].clone()
    loss(**crd_batch())
    loss.commit()
    assert torch.equal(before, loss.buffer.values["memory_target"]) and loss.steps == 0


@pytest.mark.parametrize(
    "hyper,message",
    [
        (dict(weight_angel=1.0), "did you mean weight_angle"),
        (dict(weight_angle="x"), 'weight_angle must be a number, not "x"'),
        (dict(weight_angle=-1.0), "weight_angle = -1.0 is out of range"),
    ],
)
def test_hyperparameters_are_checked(hyper, message):
    with pytest.raises(retort_torch.PackError, match=message):
        retort_torch.Loss(PACK, "rkd", **hyper)


def test_errors_name_the_loss_the_operation_and_the_line():
    with pytest.raises(retort_torch.LossError, match=r"rkd: input `source` at .*\.rs:\d+: this step has no source"):
        retort_torch.Loss(PACK, "rkd")(target=torch.randn(4, 4))
    with pytest.raises(retort_torch.PackError, match="did you mean rkd"):
        retort_torch.Loss(PACK, "rkdd")


def test_handles_are_limited_and_the_loss_lives_on():
    pack = retort_torch.Pack(PACK.path, retort_torch.Limits(handles=10))
    loss = retort_torch.Loss(pack, "rkd")
    for _ in range(2):
        with pytest.raises(retort_torch.LossError, match="more than 10 tensors"):
            loss(**{k: v for k, v in example().items() if k in ("target", "source")})


def component(tmp_path, loss, memory="(memory (export \"memory\") 1)"):
    """A pack of one loss whose code is `loss`, in WebAssembly's text format."""
    about = '{"interface":1,"sdk":"by hand","losses":[{"name":"bad","hyper":[]}]}'
    data = about.replace('"', '\\"')
    text = f"""(component
      (import "retort:loss/host@1.0.0" (instance))
      (core module $m {memory}
        (data (i32.const 64) "{data}")
        (func (export "describe") (result i32)
          (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {len(about)})) (i32.const 0))
        (func (export "create") (param i32 i32 i32 i32) (result i32) (i32.store (i32.const 16) (i32.const 0)) (i32.const 16))
        (func (export "loss") (param i32) (result i64) {loss} (i64.const 1))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
      (core instance $i (instantiate $m))
      (alias core export $i "memory" (core memory $mem))
      (alias core export $i "realloc" (core func $realloc))
      (func (export "describe") (result string)
        (canon lift (core func $i "describe") (memory $mem)))
      (func (export "create") (param "name" string) (param "hyper" string) (result (result u32 (error string)))
        (canon lift (core func $i "create") (memory $mem) (realloc $realloc)))
      (func (export "loss") (param "instance" u32) (result u64)
        (canon lift (core func $i "loss"))))"""
    path = tmp_path / "bad.wasm"
    path.write_bytes(wasmtime.wat2wasm(text))
    return path


@pytest.mark.parametrize(
    "code",
    ["(loop (br 0))", "unreachable", "(drop (i32.load (i32.const -4)))",
     "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable))", ""],
    ids=["endless", "trap", "outside", "memory", "forged"],
)  # fmt: skip
def test_hostile_code_ends_as_an_exception(tmp_path, code):
    pack = retort_torch.Pack(component(tmp_path, code), retort_torch.Limits(seconds=0.5))
    loss = retort_torch.Loss(pack, "bad")
    for _ in range(2):
        with pytest.raises(retort_torch.LossError):
            loss(target=torch.randn(4, 4))


def test_the_page_s_examples_run(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[3] / "docs" / "pytorch.md"
    examples = [part.split("```")[0] for part in page.read_text().split("```python\n")[1:]]
    shutil.copy(os.environ["RETORT_PACK"], tmp_path / "retort_plugins.wasm")
    monkeypatch.chdir(tmp_path)
    here = {}
    for example in examples:
        exec(compile(example, str(page), "exec"), here)
    said = capsys.readouterr().out
    assert "def forward(self, target, source)" in said and "n 12 d 6: value" in said
    assert (tmp_path / "rkd.pt").exists() and here["pinned"].startswith("# retort snapshot")


@pytest.mark.parametrize("code, value", [(24, [1.0, 3.0, 3.0]), (25, [1.0, 2.0, 2.0])])
def test_equal_elements_share_the_gradient_and_nan_is_kept_as_in_the_rust_host(code, value):
    """As `core/tests/core/order.rs` has it."""
    nan = float("nan")
    a = torch.tensor([1.0, 2.0, 3.0, nan, 1.0], requires_grad=True)
    b = torch.tensor([1.0, 3.0, 2.0, 1.0, nan], requires_grad=True)
    out = OPERATIONS[code][2]([a, b], [])
    assert out[:3].tolist() == value and out[3:].isnan().all()
    out.sum().backward()
    # At a NaN PyTorch gives both the whole gradient and the Rust host half: it means nothing.
    assert (a.grad + b.grad)[:3].tolist() == [1.0] * 3 and a.grad[0] == 0.5


def test_a_wrong_word_of_a_call_is_named():
    with pytest.raises(TypeError, match="rkd: a call takes no lables; did you mean labels?"):
        retort_torch.Loss(PACK, "rkd")(lables=torch.arange(4))


def test_what_is_no_pack_is_named(tmp_path):
    (tmp_path / "text.wasm").write_text("(component)")
    with pytest.raises(retort_torch.PackError, match="text.wasm isn't WebAssembly"):
        retort_torch.Loss(f"{tmp_path / 'text.wasm'}#rkd")
    with pytest.raises(retort_torch.PackError, match="none.wasm"):
        retort_torch.Loss(f"{tmp_path / 'none.wasm'}#rkd")


def test_has_answers_without_failing():
    from retort_torch.step import Inputs, Interpreter, Kept

    inputs = Inputs({"target": torch.ones(2, 2)}, {"classes": 0, "epoch": 0}, None, ())
    run = Interpreter("x", inputs, Kept({}, {}), torch.ones(1), 0, 0, retort_torch.Limits())
    for name, attrs, wanted in [
        ("target", [], 1.0), ("epoch", [], 1.0), ("classes", [], 0.0), ("source", [], 0.0), ("source", [3.0], 0.0),
        ("relation", [], 0.0),
    ]:  # fmt: skip
        assert run.read(run.call(18, [], attrs, name)) == [wanted], name


def test_lists_are_checked_element_by_element():
    from retort_torch.hyper import resolve

    fields = [{"name": "sizes", "kind": "integers", "default": [8, 16], "range": {"min": 1}}]
    assert resolve("a", fields, {}) == {"sizes": [8, 16]} and resolve("a", fields, {"sizes": (4.0,)}) == {"sizes": [4]}
    for value, message in [(4, "must be a list, not 4"), ([0], "out of range: at least 1"), (["x"], "must be a number")]:
        with pytest.raises(retort_torch.PackError, match=message):
            resolve("a", fields, {"sizes": value})
    with pytest.raises(retort_torch.PackError, match="a kind that this version doesn't know, m"):
        resolve("a", [{"name": "m", "kind": "matrix", "default": []}], {})
