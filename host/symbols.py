"""Which of ComfyUI's names the pack uses, and whether a ComfyUI has them. Nothing is run.

`python -m host.symbols [folder ...]` reads the pack's source and the ComfyUI in each folder (by
default the one that the tests use), and says for each which names are missing: modules, functions,
classes and their attributes, and the methods of the host's objects that the pack calls.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from host.fetch import ensure_comfyui
from host.source_tree import SourceTree, dotted
from ppap_core.comfy_bridge.headless import PACK_ROOT, comfyui_version

USED_BY = ("__init__.py", "nodes", "ppap_core", "training")
# `nodes` is ComfyUI's nodes.py wherever it is imported absolutely: ours is only ever relative.
HOST = (
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
)
# Where the pack touches the host, a variable of this name holds an object of one of these classes.
OBJECTS = {
    "model": ("comfy.model_patcher.ModelPatcher", "comfy.model_base.BaseModel"),
    "guided": ("comfy.model_patcher.ModelPatcher",),
    "patcher": ("comfy.model_patcher.ModelPatcher",),
    "model_sampling": ("comfy.model_sampling.EPS", "comfy.model_sampling.ModelSamplingDiscrete"),
    "vae": ("comfy.sd.VAE",),
    "clip": ("comfy.sd.CLIP",),
    "executor": ("comfy.patcher_extension.WrapperExecutor",),
}
TOUCHES_HOST = ("nodes", "ppap_core/comfy_bridge")

Uses = dict[tuple[str, ...], list[str]]  # names of which one has to be there: the places of use


def uses_of_pack(root: Path = PACK_ROOT) -> Uses:
    """All that the pack in `root` uses of the host, with the places ("nodes/report.py:12")."""
    found: Uses = {}
    for part in USED_BY:
        files = [root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py"))
        for path in files:
            place = path.relative_to(root).as_posix()
            for line, names in uses_in(path.read_text("utf-8"), place.startswith(TOUCHES_HOST)):
                found.setdefault(names, []).append(f"{place}:{line}")
    return found


def uses_in(source: str, touches_host: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, names) of each use; one of the names has to be there."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        for alias, name in _host_imports(node):
            yield node.lineno, (name,)
            aliases[alias] = name if "." not in alias else alias.split(".")[0]
    aliases = {alias.split(".")[0]: name for alias, name in aliases.items()}
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        chain = (dotted(node) or "").split(".")
        if chain[0] in aliases:
            yield node.lineno, (".".join([aliases[chain[0]], *chain[1:]]),)
        elif touches_host and (names := _of_objects(chain)):
            yield node.lineno, names
    yield from _inherited(tree, aliases)


def _host_imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(name in this file, the host's own name) of what an import statement takes from the host."""
    if isinstance(node, ast.Import):
        for each in node.names:
            if each.name.split(".")[0] in HOST:
                yield each.asname or each.name, each.name
    elif isinstance(node, ast.ImportFrom) and not node.level:
        if node.module.split(".")[0] in HOST:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _of_objects(chain: list[str]) -> tuple[str, ...]:
    """What the last object of the host in a chain such as `guided.model.clone` has to have."""
    known = [i for i, part in enumerate(chain[:-1]) if part in OBJECTS]
    if not known:
        return ()
    return tuple(f"{name}.{chain[known[-1] + 1]}" for name in OBJECTS[chain[known[-1]]])


def _inherited(tree: ast.AST, aliases: dict[str, str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What classes derived from the host's ask `super()` for."""
    for of in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        bases = [(dotted(base) or "").split(".") for base in of.bases]
        names = [".".join([aliases[b[0]], *b[1:]]) for b in bases if b[0] in aliases]
        for node in ast.walk(of) if names else ():
            call = node.value if isinstance(node, ast.Attribute) else None
            if isinstance(call, ast.Call) and dotted(call.func) == "super":
                yield node.lineno, tuple(f"{name}.{node.attr}" for name in names)


def missing(uses: Uses, root: Path) -> dict[str, list[str]]:
    """What the ComfyUI in `root` lacks of `uses`: the places by name."""
    tree = SourceTree(root)
    lacks = {names: p for names, p in uses.items() if not any(map(tree.has, names))}
    return {" or ".join(names): places for names, places in lacks.items()}


def report(version: str, uses: Uses, lacks: dict[str, list[str]]) -> str:
    """One line, and one for each name that is missing. `lacks`: as `missing` finds it."""
    said = f"{len(lacks)} of {len(uses)} are missing" if lacks else f"all {len(uses)} are there"
    lines = [f"  {name} ({', '.join(places)})" for name, places in lacks.items()]
    return "\n".join([f"ComfyUI {version}: {said}", *lines])


def main(argv: list[str] | None = None) -> int:
    """The exit status: 1 if a name is missing somewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="of ComfyUI (default: found)")
    args = parser.parse_args(argv)
    uses, folders = uses_of_pack(), args.folders or [ensure_comfyui()]
    found = {folder: missing(uses, folder) for folder in folders}
    for folder, lacks in found.items():
        sys.stdout.write(report(comfyui_version(folder), uses, lacks) + "\n")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
