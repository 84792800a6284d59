"""Which releases of ComfyUI the pack runs in: every shipped workflow, in each of them.

`python -m host.releases` fetches the releases in host.fetch.RELEASES, runs workflows/ on a server
of each, compares the pictures with those of the newest, and writes docs/hosts.md. All of them run
with the Python packages of this environment.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy
from tqdm import tqdm

from demo.paths import WORKFLOWS
from host.client import read_prompt, run_and_fetch
from host.fetch import RELEASES, fetch_comfyui
from host.serve import ComfyServer
from host.symbols import missing, uses_of_pack
from host.workflow_graphs import DEMO_GRAPHS
from ppap_core.comfy_bridge.headless import PACK_ROOT

OLDEST = next(iter(RELEASES))
SAME = 1e-3  # largest difference of a pixel in [0, 1]; one step of an 8-bit picture is 4e-3
TEXT = """# ComfyUI releases

Every workflow with the demo's models was run in each of these releases of ComfyUI. `same`: no pixel differs
by more than {same:g}, in [0, 1], from the picture made in the last release of the table. A cell
that names a node shows that node's error. Written by `.venv/bin/python -m host.releases`.

{table}

In the releases whose error is 'pooled_output', Flux needs a pooled prompt, guided or not, and
this workflow has none.

## Names that the pack uses

Modules, functions, classes, attributes and methods of ComfyUI that the pack uses were looked up in
its source, by `.venv/bin/python -m host.symbols FOLDER ...`, which runs nothing and takes any folder
of a ComfyUI.

{symbols}

## Newer sources

| source | what was done |
| --- | --- |
| 0.33.0 (yzkee/ComfyUI, 783545f6) | all of the names are there, and all 745 tests of `tests/comfy` that are not slow pass (with its own comfy-kitchen 0.2.31 and comfy-aimdo 0.4.13) |
| between 0.37 and 0.38.1 (Comfy-Org/ComfyUI: `samplers.py` 311c0140 and `model_patcher.py` 08d0e510 in part, `sampler_helpers.py` 53757775, `model_sampling.py` 2fd20839) | read, not run |

In the newest of these the bridge holds by what it reads of a model, not by names:

- `IMG_TO_IMG_VELOCITY` (from 0.37) is a kind of `CONST` whose `noise_scaling` gives the image back:
  it has no noise level, and is refused.
- `cfgpp_ud10_ab` (from 0.35) appends a post-CFG function, as CFG++ samplers do, and is known by it.
- `latent_shapes` still reaches OUTER_SAMPLE wrappers. Nodes get nested tensors of packed latents
  from a callback that stands outside of ours, so ours sees the packed state, as before.
- The prompt's models are tracked by `is_dynamic()`; guiders answer no, as all plain patchers do.
"""  # noqa: E501 (tables)

Pictures = dict[str, list[numpy.ndarray]]  # by node; (H, W, 3) in [0, 1]


def run_workflow(url: str, name: str) -> Pictures:
    """Run a shipped workflow: every picture that it previews or saves."""
    return pictures_of(url, read_prompt(url, WORKFLOWS / f"{name}.json"))


def pictures_of(url: str, prompt: dict) -> Pictures:
    """Run `prompt`: every picture that it previews or saves."""
    return {
        node: [numpy.asarray(picture, numpy.float32) / 255 for picture in own]
        for node, own in run_and_fetch(url, prompt).items()
    }


def largest_difference(found: Pictures, expected: Pictures) -> float:
    """Of two pictures' pixels, in [0, 1]; 1 if a picture is missing or has another size."""
    if {k: len(v) for k, v in found.items()} != {k: len(v) for k, v in expected.items()}:
        return 1.0
    pairs = [pair for node in expected for pair in zip(found[node], expected[node], strict=True)]
    return max(float(abs(a - b).max()) if a.shape == b.shape else 1.0 for a, b in pairs)


def symbols(versions: Sequence[str]) -> str:
    """A line on the names that the pack uses in each of these releases, and what is missing."""
    uses = uses_of_pack()
    lacks = {version: missing(uses, fetch_comfyui(version)) for version in versions}
    whole = [version for version, names in lacks.items() if not names]
    lines = [f"All {len(uses)} of them are there in {', '.join(whole)}."] if whole else []
    lines += [f"{v} lacks {', '.join(names)}." for v, names in lacks.items() if names]
    return "\n".join(lines)


def run_host(version: str, names: Sequence[str]) -> dict[str, Pictures | str]:
    """Each workflow's pictures, or the first line of its error."""
    found: dict[str, Pictures | str] = {}
    with tempfile.TemporaryDirectory() as base:
        with ComfyServer(Path(base), root=fetch_comfyui(version)) as server:
            for name in names:
                try:
                    found[name] = run_workflow(server.url, name)
                except RuntimeError as error:
                    found[name] = str(error).splitlines()[0]
    return found


def verdict(found: Pictures | str, expected: Pictures) -> str:
    if isinstance(found, str):
        return found
    difference = largest_difference(found, expected)
    return "same" if difference <= SAME else f"differs by {difference:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "releases", nargs="*", default=list(RELEASES), help="the others are compared with the last"
    )
    parser.add_argument("--out", type=Path, default=PACK_ROOT / "docs" / "hosts.md")
    args = parser.parse_args()
    names = list(DEMO_GRAPHS)
    found = {version: run_host(version, names) for version in tqdm(args.releases, unit="host")}
    newest = found[args.releases[-1]]
    rows = [["ComfyUI", *names], ["---"] * (len(names) + 1)]
    rows += [[v, *(verdict(own[n], newest[n]) for n in names)] for v, own in found.items()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = TEXT.format(same=SAME, table=table, symbols=symbols(args.releases))
    args.out.write_text(text, "utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
