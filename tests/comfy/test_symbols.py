"""The names of ComfyUI that the pack uses are there; one that is taken away is found."""

import re
import shutil
from pathlib import Path

import pytest

from host.fetch import ensure_comfyui
from host.symbols import HOST, main, missing, uses_in, uses_of_pack

REMOVED = {  # a use of the pack: the file of the host that defines it, and the definition
    "comfy.samplers.calc_cond_batch": ("comfy/samplers.py", "def calc_cond_batch("),
    "comfy.samplers.KSampler.SAMPLERS": ("comfy/samplers.py", "SAMPLERS = "),
    "comfy.model_patcher.ModelPatcher.partially_load": (
        "comfy/model_patcher.py",
        "def partially_load(",
    ),
    "comfy.patcher_extension.WrappersMP.PREDICT_NOISE": (
        "comfy/patcher_extension.py",
        "PREDICT_NOISE = ",
    ),
    "comfy.sd.VAE.latent_dim": ("comfy/sd.py", "self.latent_dim = "),
    "comfy_api.latest.io.Mask.Input": ("comfy_api/latest/_io.py", "class Mask("),
    "comfy_api.latest.ui": ("comfy_api/latest/__init__.py", "from . import _ui_public as ui"),
    "folder_paths.get_full_path_or_raise": ("folder_paths.py", "def get_full_path_or_raise("),
    "comfy.taesd.taesd.TAESD": ("comfy/taesd/taesd.py", "class TAESD("),
}


@pytest.fixture(scope="module")
def root() -> Path:
    return ensure_comfyui()


@pytest.fixture(scope="module")
def uses():
    return uses_of_pack()


@pytest.fixture(scope="module")
def copied(root, tmp_path_factory) -> Path:
    """The source of the host's modules that the pack uses."""
    copy = tmp_path_factory.mktemp("host")
    for name in HOST:
        if (root / name).is_dir():
            only_source = shutil.ignore_patterns("[!_a-z]*", "*.json", "*.txt", "*.pyc")
            shutil.copytree(root / name, copy / name, ignore=only_source)
        elif (root / f"{name}.py").is_file():
            shutil.copy(root / f"{name}.py", copy)
    return copy


def test_every_name_is_there(uses, root):
    assert missing(uses, root) == {}
    assert len(uses) > 100 and {name.split(".")[0] for (name, *_) in uses} <= set(HOST)


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_name_is_found(uses, copied, name):
    path, definition = REMOVED[name]
    file = copied / path
    before = file.read_text("utf-8")
    assert before.count(definition) >= 1
    word = re.search(r"\w+(?=\W*$)", definition)[0]
    file.write_text(before.replace(definition, definition.replace(word, f"{word}_gone")))
    its_own = {names: places for names, places in uses.items() if names[0].startswith(name)}
    try:
        assert its_own and missing(its_own, copied)[name]
    finally:
        file.write_text(before)
    assert missing(its_own, copied) == {}


def test_a_removed_file_is_found(copied, tmp_path, capsys):
    module = shutil.move(copied / "comfy/model_sampling.py", tmp_path)
    try:
        assert main([str(copied)]) == 1
    finally:
        shutil.move(module, copied / "comfy")
    printed = capsys.readouterr().out
    assert "comfy.model_sampling (ppap_core/comfy_bridge/noise_levels.py:" in printed


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import comfy.sd\ncomfy.sd.VAE.x()", {"comfy.sd", "comfy.sd.VAE.x"}),
        ("import comfy.sd as s\ns.VAE", {"comfy.sd", "comfy.sd.VAE"}),
        ("from comfy import sd\nsd.VAE().x", {"comfy.sd", "comfy.sd.VAE"}),
        ("from comfy.sd import VAE as V\nV.x.y", {"comfy.sd.VAE", "comfy.sd.VAE.x.y"}),
        ("import torch\ntorch.nn\nfrom . import nodes\nnodes.x", set()),
        ("def f(vae):\n    return vae.decode", {"comfy.sd.VAE.decode"}),
        (
            "from comfy.sd import VAE\nclass V(VAE):\n    def f(self):\n        super().g()",
            {"comfy.sd.VAE", "comfy.sd.VAE.g"},
        ),
    ],
)
def test_uses_are_found_in_every_form(source, expected):
    assert {name for _, names in uses_in(source, True) for name in names} == expected
