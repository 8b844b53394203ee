"""Packs by the names that `retort add` gave them."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import retort_torch

DATA = Path(os.environ["RETORT_PACK"]).read_bytes()
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
BATCH = dict(target=torch.linspace(-1, 1, 12).reshape(4, 3), source=torch.linspace(1, 0, 20).reshape(4, 5) ** 2)


def entry(digest=DIGEST, version="1.2.0", name="ada/losses"):
    return f'[[pack]]\nname = "{name}"\nversion = "{version}"\ndigest = "{digest}"\ninterface = 1\nkey = "RWQ"\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a pack in it, laid out as `retort add` does."""
    monkeypatch.setenv("RETORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RETORT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "cache" / "packs").mkdir(parents=True)
    (tmp_path / "cache" / "packs" / f"{DIGEST[7:]}.wasm").write_bytes(DATA)
    (tmp_path / "home" / "packs.toml").write_text(entry(name="ada/other") + entry())
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_a_pack_is_found_by_its_name(home):
    loss, same = retort_torch.Loss("ada/losses#rkd"), retort_torch.Loss(f"{os.environ['RETORT_PACK']}#rkd")
    assert torch.equal(loss(**BATCH), same(**BATCH))
    with pytest.raises(retort_torch.PackError, match="ada/none isn't added yet: `retort add ada/none`"):
        retort_torch.Loss("ada/none#rkd")
    assert retort_torch.check(lambda target, source: loss(target=target, source=source), "ada/losses#rkd") == []


def test_the_places_are_the_program_s(home, monkeypatch):
    monkeypatch.delenv("RETORT_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "settings"))
    monkeypatch.setenv("RETORT_CACHE", "")  # as if it weren't set
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "caches"))
    (home / "settings").mkdir()
    (home / "caches").mkdir()
    (home / "home").rename(home / "settings" / "retort")
    (home / "cache").rename(home / "caches" / "retort")
    assert retort_torch.Pack("ada/losses").path.parent == home / "caches" / "retort" / "packs"


def test_the_lock_comes_first(home):
    other = "sha256:" + "0" * 64
    (home / "work" / "retort.lock").write_text(entry(other, "1.1.0"))
    with pytest.raises(retort_torch.PackError, match=r"retort.lock names ada/losses 1.1.0, whose bytes aren't here: "
                       r"`retort add ada/losses@1.1.0`"):  # fmt: skip
        retort_torch.Loss("ada/losses#rkd")
    # Bytes are there, and aren't those of the lock's digest.
    (home / "cache" / "packs" / f"{other[7:]}.wasm").write_bytes(DATA)
    with pytest.raises(retort_torch.PackError, match=f"its digest is {DIGEST}, and retort.lock names {other}.*delete"):
        retort_torch.Loss("ada/losses#rkd")
    (home / "work" / "retort.lock").write_text(entry())
    (home / "home" / "packs.toml").write_text(entry(other))
    assert retort_torch.Loss("ada/losses#rkd")(**BATCH) > 0


def test_changed_bytes_are_refused(home):
    path = home / "cache" / "packs" / f"{DIGEST[7:]}.wasm"
    path.write_bytes(DATA + b"\0")
    with pytest.raises(retort_torch.PackError, match="has changed since it was added.*`retort add ada/losses@1.2.0`"):
        retort_torch.Loss("ada/losses#rkd")


@pytest.mark.parametrize(
    "text, message",
    [
        ("pack = 3", "can't understand"),
        ("[[pack", "can't understand"),
        ('[[pack]]\nname = "ada/losses"\nversion = "1.2.0"\ndigest = "sha256:../../x"', "has no digest of the form"),
        ('[[pack]]\nname = "ada/losses"', "can't understand"),
    ],
)
def test_a_damaged_list_is_named(home, text, message):
    (home / "home" / "packs.toml").write_text(text)
    with pytest.raises(retort_torch.PackError, match=f"packs.toml.*{message}|{message}.*packs.toml"):
        retort_torch.Loss("ada/losses#rkd")


def test_a_pipe_in_place_of_a_file_doesn_t_block(home):
    os.mkfifo(home / "work" / "retort.lock")
    with pytest.raises(retort_torch.PackError, match="retort.lock: it isn't a regular file"):
        retort_torch.Loss("ada/losses#rkd")


def test_what_the_program_adds_runs_here(home):
    """The author packs and publishes, and somebody adds, all by the program: `RETORT_PROGRAM`."""
    program = os.environ.get("RETORT_PROGRAM")
    assert program, "set RETORT_PROGRAM to the built `retort`, as .ci/python does"
    sdk = Path(__file__).parents[2]
    crate = home / "nearby"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text(
        '[package]\nname = "nearby"\nversion = "0.1.0"\nedition = "2024"\ndescription = "Cosines."\nlicense = "MIT"\n'
        '[package.metadata.retort]\nauthor = "ada"\n[lib]\ncrate-type = ["cdylib"]\n'
        f'[dependencies]\nretort-sdk = {{ path = "{sdk}" }}\n[workspace]\n'
    )
    (crate / "README.md").write_text("# Nearby\n")
    (crate / "src" / "lib.rs").write_text("retort_sdk::losses! { nearby::Nearby }\n")
    (crate / "src" / "nearby.rs").write_text(
        "//! By hand.\nuse retort_sdk::prelude::*;\n\nhyper! {\n    /// Cosines.\n    ///\n    /// L = w · mean\n"
        "    pub struct Nearby {\n        /// w, weight.\n        omega: f64 = 1.0 => above(0.0),\n    }\n}\n\n"
        "impl Loss for Nearby {\n    fn loss(&self, step: &Step) -> Tensor {\n"
        "        let (t, s) = (step.target().normalize(1), step.source().normalize(1));\n"
        "        self.omega * (t.matmul(t.t()) - s.matmul(s.t())).square().mean()\n    }\n}\n"
    )
    shutil.copy(sdk.parent / "Cargo.lock", crate)
    (home / "home" / "packs.toml").unlink()

    def run(*args):
        done = subprocess.run([program, *args], cwd=home / "work", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    registry = f"--registry={home / 'registry'}"
    packed = home / "packed"
    run("plugin", "pack", str(crate), "--profile=dev", f"--out={packed}", "--yes")
    run("plugin", "publish", str(next(packed.glob("*.wasm"))), registry, "--unsigned")
    run("add", "ada/nearby", registry, "--allow-unsigned", "--lock")
    assert 'name = "ada/nearby"' in (home / "work" / "retort.lock").read_text()
    loss = retort_torch.Loss("ada/nearby#nearby", omega=2.0)
    t, s = (torch.nn.functional.normalize(BATCH[of]) for of in ("target", "source"))
    assert loss(**BATCH).item() == pytest.approx(2 * (t @ t.T - s @ s.T).pow(2).mean().item(), rel=1e-5)
