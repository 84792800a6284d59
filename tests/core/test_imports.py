"""Imports run one way: __init__ -> nodes -> ppap_core <- training <- demo <- host <- evidence."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.symbols import HOST

ROOT = Path(__file__).parents[2]
ABOVE_THE_CORE = ("training", "demo", "host", "evidence")  # run from the root, lowest first
MAY_IMPORT = {
    "__init__": {"nodes", "ppap_core"},
    "nodes": {"nodes", "ppap_core"},
    "ppap_core": {"ppap_core"},
    **{
        layer: {"ppap_core", *ABOVE_THE_CORE[: floor + 1]}
        for floor, layer in enumerate(ABOVE_THE_CORE)
    },
}
BELOW_ROOT = MAY_IMPORT.keys() - {"__init__"}
BRIDGE = "ppap_core/comfy_bridge/"


def layer_of(path: str) -> str:
    """The part of the pack that the file at `path` (from the root, with /) belongs to."""
    return path.split("/")[0].removesuffix(".py")


def imports(source: str) -> Iterator[tuple[int, list[str]]]:
    """(level, dotted name as parts) of everything that `source` imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            yield from ((node.level, [*module, alias.name]) for alias in node.names)


def violations(path: str, source: str) -> list[str]:
    """What the file at `path` imports against the rules, one line for each."""
    checks = {True: relative_violation, False: absolute_violation}
    found = (checks[level > 0](path, level, name) for level, name in imports(source))
    return [f"{path}: {problem}" for problem in found if problem]


def relative_violation(path: str, level: int, name: list[str]) -> str | None:
    package = path.split("/")[:-1]
    up = level - 1
    if up > len(package):
        return f"{'.' * level}{'.'.join(name)} leaves the pack"
    target = [*package[: len(package) - up], *name][0]
    layer = layer_of(path)
    if target in BELOW_ROOT and target not in MAY_IMPORT[layer]:
        return f"{layer} must not import {target}"
    if layer in ABOVE_THE_CORE and target != layer:
        return f"{target} is imported relatively, but {layer} is run from the root"
    return None


def absolute_violation(path: str, _: int, name: list[str]) -> str | None:
    layer, target = layer_of(path), name[0]
    if target in HOST:
        outside = layer == "ppap_core" and not path.startswith(BRIDGE)
        return f"{target} is ComfyUI's: only {BRIDGE} may import it" if outside else None
    if target not in BELOW_ROOT:
        return None
    if layer in ("__init__", "nodes", "ppap_core"):
        return f"{target} is imported absolutely; ComfyUI loads the pack under another name"
    return None if target in MAY_IMPORT[layer] else f"{layer} must not import {target}"


def pack_files() -> list[Path]:
    below = (path for folder in sorted(BELOW_ROOT) for path in (ROOT / folder).rglob("*.py"))
    return [path for path in [ROOT / "__init__.py", *below] if path.is_file()]


def test_imports_run_one_way():
    found = [
        line
        for path in pack_files()
        for line in violations(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from .training import distill"),
        ("__init__.py", "from . import demo"),
        ("__init__.py", "import ppap_core"),
        ("nodes/guiders.py", "from ppap_core.guiders import load_guider"),
        ("nodes/guiders.py", "def f():\n    from ..training import distill"),
        ("ppap_core/experts.py", "from ..nodes import types"),
        ("ppap_core/experts.py", "import ppap_core.noise"),
        ("ppap_core/experts.py", "import training"),
        ("ppap_core/guiders/timm.py", "from comfy import model_management"),
        ("ppap_core/guiders/timm.py", "import folder_paths"),
        ("ppap_core/guiders/timm.py", "from comfy_api.latest import io"),
        ("ppap_core/comfy_bridge/hook.py", "from ...nodes import types"),
        ("ppap_core/comfy_bridge/hook.py", "from ....outside import x"),
        ("training/distill.py", "from demo.scenes import render"),
        ("training/distill.py", "from ..ppap_core import noise"),
        ("demo/run.py", "from ..training import distill"),
        ("demo/run.py", "from host.fetch import ensure_comfyui"),
        ("host/serve.py", "from evidence.views import World"),
        ("evidence/views.py", "from ..demo import scenes"),
    ],
)
def test_wrong_direction_is_found(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from .nodes import comfy_entrypoint"),
        ("nodes/guiders.py", "import nodes\nfrom ..ppap_core.guiders import load_guider"),
        ("nodes/guiders.py", "from comfy_api.latest import io\nfrom . import types"),
        ("ppap_core/guiders/timm.py", "import timm\nfrom ..noise import sigma_ve"),
        ("ppap_core/comfy_bridge/hook.py", "import comfy.samplers\nfrom ..noise import sigma_ve"),
        ("training/distill.py", "from ppap_core import noise\nfrom . import config"),
        ("demo/run.py", "from training import distill\nfrom demo.scenes import render"),
        (
            "host/serve.py",
            "from host.fetch import fetch_comfyui\nfrom demo.paths import CACHE",
        ),
        ("evidence/views.py", "from host.tiny_decoders import x\nfrom demo import scenes"),
    ],
)
def test_right_direction_is_not_found(path, source):
    assert violations(path, source) == []


def requirement_names(lines: list[str]) -> list[str]:
    """Names in a requirements file, lower case, without versions, extras and comments."""
    wanted = (line.split("#")[0].strip() for line in lines)
    ends = str.maketrans({character: " " for character in "[<>=!~;@"})
    return [line.translate(ends).split()[0].lower() for line in wanted if line]


def test_requirements_name_nothing_that_comfyui_owns():
    names = requirement_names((ROOT / "requirements.txt").read_text().splitlines())
    assert names
    assert not {"torch", "torchvision", "torchaudio", "numpy"} & set(names)


def test_requirement_owned_by_comfyui_is_found():
    assert requirement_names(["# note", "Torch>=2", "numpy", "timm[x]==1 # y"]) == [
        "torch",
        "numpy",
        "timm",
    ]


def test_pyproject_lists_the_same_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    block = (ROOT / "pyproject.toml").read_text("utf-8").split("dependencies = [")[1].split("]")[0]
    assert [line.strip(' ",') for line in block.strip().splitlines()] == wanted


@pytest.mark.parametrize("module", ["ppap_core", "ppap_core.comfy_bridge.headless", "host.fetch"])
def test_finding_the_host_does_not_wait_for_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
