"""Every golden case of every loss, values and gradients, as `snapshots/tests/snapshots/parity.rs` compares them."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import retort_torch

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(os.environ.get("RETORT_GOLDEN", ROOT.parent / "shared" / "golden"))
PACK = retort_torch.Pack(os.environ["RETORT_PACK"])
LOSSES = json.loads((GOLDEN / "losses.json").read_text())["losses"]
NAMES = dict(
    attention_transfer="attention", npair="n_pair", t_emb="target", s_emb="source", embeddings="target",
    t_feats="target_features", s_feats="source_features", t_feat="target_features.0", s_feat="source_features.0",
    index="ids", contrast_idx="draws.0", proxies="param.proxies", classifier_weight="param.classifier.weight",
    classifier_bias="param.classifier.bias", embed_t_weight="param.embed_target.weight",
    embed_t_bias="param.embed_target.bias", embed_s_weight="param.embed_source.weight",
    embed_s_bias="param.embed_source.bias", memory_v1="buffer.memory_target", memory_v2="buffer.memory_source",
    mrg="margin", w_distance="weight_distance", w_angle="weight_angle", triplet_factor="triplet_weight",
    feat_dim="dim", K="negatives", T="temperature",
)  # fmt: skip
CASES = [(loss, case) for loss, about in LOSSES.items() for case in about["cases"]]
COMPARING = ("multi_similarity", "triplet", "npair")
LISTS = ("target_features", "source_features", "draws")


def ours(name):
    name = name.split("_call")[0]
    if name.startswith("weights."):
        return f"param.transform.{name[8:]}.weight"
    stem, dot, level = name.partition(".")
    return NAMES.get(stem, stem) + dot + level


def of_call(name, call):
    return "_call" not in name or name.endswith(f"_call{call}")


def batch(loss, case, file, call, dtype):
    """Inputs of a call, state and hyperparameters."""
    inputs, state, hyper = {"views": 2 if loss == "relaxed_ms" else 1}, {}, {}
    for entry in case["inputs"]:
        theirs = entry["tensor"].split("/")[-1]
        if not of_call(theirs, call):
            continue
        tensor, name = file[entry["tensor"]], ours(theirs)
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
        if name.startswith(("param.", "buffer.")):
            state[name] = tensor
        elif name.split(".")[0] in LISTS:
            inputs.setdefault(name.split(".")[0], []).append(tensor)
        else:
            inputs[name] = tensor
    places = {"nb_classes": "classes", "n_data": "samples", "views": "views"}
    for name, value in case["hyperparameters"].items():
        if name in places:
            inputs[places[name]] = 2 if (loss, name) == ("relaxed_ms", "views") else value
        elif (loss, name) == ("contrastive", "margin"):
            hyper["neg_margin"] = value
        elif name not in ("levels", "eps"):
            hyper[ours(name)] = value
    return inputs, state, hyper


def tracked(inputs):
    """Leaves for the target's side, by their names."""
    leaves = {}
    if "target" in inputs:
        leaves["target"] = inputs["target"] = inputs["target"].detach().clone().requires_grad_()
    for i, tensor in enumerate(inputs.get("target_features", [])):
        leaves[f"target_features.{i}"] = inputs["target_features"][i] = tensor.detach().clone().requires_grad_()
    return leaves


def compute(loss, inputs):
    """Value and gradients of one step."""
    leaves = tracked(inputs)
    loss.zero_grad()
    value = loss(**inputs)
    if value.requires_grad:
        value.backward()
    leaves.update({k: v for k, v in loss.named_parameters()})
    gradients = {k: torch.zeros_like(v) if v.grad is None else v.grad.clone() for k, v in leaves.items()}
    return value.detach(), gradients


def check(case, expected, file, call, got, dtype):
    value, gradients = got
    assert value.isfinite() and all(g.isfinite().all() for g in gradients.values())
    tolerance, f64 = expected["tolerance"], dtype == torch.float64
    stable = case.get("stable_form_needed") or tolerance.get("stable_form_needed")
    comparable = tolerance.get("f32_comparable", True) or stable
    if case["kind"] == "ill_defined" or not (f64 or comparable):
        return
    rtol, atol = (1e-9, 1e-12) if f64 else (tolerance.get("loss_rtol", 0), tolerance.get("loss_atol", 0))
    want = float(expected["loss_f64"])
    assert abs(float(value) - want) <= atol + rtol * abs(want)
    rtol, atol = (1e-8, 1e-11) if f64 else (tolerance.get("grad_max_abs_over_max", 0), tolerance.get("grad_atol", 0))
    if (case["name"], f64) == ("batch_of_two", False):
        # The true gradient is 0 (two distances relative to their own mean): what is left is f32 rounding, 4e-7 here.
        atol = max(atol, 1e-6)
    for entry in expected["gradients"]:
        if not of_call(entry["wrt"], call):
            continue
        want = file[entry["f64"]]
        keep = [i for i in range(want.shape[0]) if i not in case.get("grad_skip_rows", {}).get(entry["wrt"], [])]
        got_rows, want = gradients[ours(entry["wrt"])].double().reshape(want.shape)[keep], want[keep]
        if want.numel():
            assert (got_rows - want).abs().max() <= atol + rtol * want.abs().max(), entry["wrt"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name,case", CASES, ids=[f"{n}-{c['name']}" for n, c in CASES])
def test_golden(name, case, dtype):
    file = load_file(GOLDEN / f"losses/{name}.safetensors")
    inputs, state, hyper = batch(name, case, file, "1", dtype)
    expected = case["expected"]

    def made(**changes):
        loss = retort_torch.Loss(PACK, ours(name), **{**hyper, **changes})
        loss.load_state_dict(state, strict=False)
        return loss

    if name in COMPARING and len(set(inputs["labels"].tolist())) in (1, len(inputs["labels"])):
        with pytest.raises(retort_torch.UndefinedError):
            made()(**inputs)
        return
    loss = made()
    check(case, expected, file, "1", compute(loss, inputs), dtype)
    for part, wanted in (expected.get("components") or {}).items():
        if part.startswith("call"):
            call = part[4:]
            inputs, _, _ = batch(name, case, file, call, dtype)
            check(case, wanted, file, call, compute(loss, inputs), dtype)
        elif part == "triplet":
            (a, da), (b, db) = (compute(made(triplet_weight=w), inputs) for w in (1.0, 0.0))
            check(case, wanted, file, "1", (a - b, {k: da[k] - db[k] for k in da}), dtype)
        else:
            changes = {
                "distance": dict(weight_distance=1.0, weight_angle=0.0),
                "angle": dict(weight_distance=0.0, weight_angle=1.0),
                "rank": dict(triplet_weight=0.0),
            }[part]
            check(case, wanted, file, "1", compute(made(**changes), inputs), dtype)


def test_all_cases_are_there():
    assert len(CASES) == 283
