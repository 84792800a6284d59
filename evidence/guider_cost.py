"""What each guider that can be downloaded costs: `python -m evidence.guider_cost`.

Writes docs/evidence/guiders.md. Every network is built with random weights and the published
settings; a step's cost is one forward and one backward pass to the picture, for one picture of the
size that the guider reads, in processor time on one core. ResNet50's is 1.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn

from evidence.flags import add_output
from evidence.guider_networks import BUILDERS
from evidence.tables import markdown
from ppap_core.guiders import PRESETS, Preset
from ppap_core.guiders.edge_network import SIZE, DexiNedModel
from ppap_core.guiders.embedding_guider import EmbeddingModel
from ppap_core.guiders.hed import Hed
from ppap_core.guiders.transformers_guider import HEADS, TransformersModel

REFERENCE = "timm/resnet50.a1_in1k"


def build(preset: Preset) -> nn.Module:
    """The network of `preset` with random weights: pixels (1, 3, h, w) -> its answer."""
    if "timm" in preset.repo:
        name = preset.repo.partition("/")[2].partition(".")[0]
        return timm.create_model(name, num_classes=preset.num_classes)
    if "tagger" in preset.repo:
        return timm.create_model("vit_base_patch16_224", img_size=448, num_classes=10861)
    kind = next(part for part in BUILDERS if part in preset.repo)
    network = BUILDERS[kind](preset)
    if isinstance(network, EmbeddingModel):
        return network
    head = next(head for head in HEADS if head.task.name == preset.task)
    return TransformersModel(network, head)


def step_seconds(network: nn.Module, size: int, repeats: int) -> float:
    """Median processor seconds of an answer and of its gradient, after one warm-up.

    Processor time, because others may use the machine.
    """
    network.eval().requires_grad_(False)

    def step() -> float:
        begin = time.process_time()
        pixels = torch.rand(1, 3, size, size, requires_grad=True)
        torch.autograd.grad(network(pixels).float().std(), pixels)
        return time.process_time() - begin

    return statistics.median([step() for _ in range(repeats + 1)][1:])


def measure(build: Callable[[], nn.Module], size: int, repeats: int) -> tuple[int, float]:
    """Bytes of the weights, and seconds of a step with a picture of `size` pixels a side."""
    torch.manual_seed(0)
    network = build()
    weights = {t.data_ptr(): t for t in network.state_dict().values()}  # layers may share some
    num_bytes = sum(t.numel() * t.element_size() for t in weights.values())
    return num_bytes, step_seconds(network, size, repeats)


def measure_preset(preset: Preset, repeats: int) -> tuple[int, float]:
    """As `measure` gives it."""
    return measure(lambda: build(preset), preset.reads, repeats)


def row(preset: Preset, num_bytes: int, cost: float) -> dict[str, str]:
    """`cost`: in steps of the reference."""
    return {
        "guider": preset.repo,
        "task": preset.task,
        "classes": str(preset.num_classes or ""),
        "good for": preset.good_for,
        "reads": f"{preset.reads} x {preset.reads}",
        "MB": f"{num_bytes / 1e6:.0f}",
        "a step, x ResNet50's": f"{cost:.2g}",
        "licence": preset.licence,
    }


CLIP_L, SIGLIP_SO400M = "openai/clip-vit-large-patch14", "google/siglip-so400m-patch14-384"
UNKNOWN = "see its page"
HEADS_TITLE = """## Score heads

For *Add Score Head*. Each fits one model only; all are offered as pickles by their authors."""
HEAD_COLUMNS = ("head", "fits", "layers", "MB", "licence", "SHA-256 of the pickle")
SCORE_HEADS = (
    (
        *("sac+logos+ava1-l14-linearMSE (LAION 2)", CLIP_L, "5", "3.7", "Apache-2.0"),
        "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    ),
    ("ava+logos-l14-reluMSE", CLIP_L, "5, with ReLU", "3.7", "Apache-2.0", ""),
    ("sa_0_4_vit_l_14_linear (LAION 1)", CLIP_L, "1", "0.003", UNKNOWN, ""),
    ("aesthetic_predictor_v2_5", SIGLIP_SO400M, "5", "5.3", UNKNOWN, ""),
)

EDGES_TITLE = """## Networks for edges

Offered as pickles; `python -m training convert` makes guiders of them."""
EDGE_COLUMNS = ("network", "file", "licence")
EDGE_NETWORKS = {
    Hed: ("HED", "ControlNetHED.pth of lllyasviel/Annotators", UNKNOWN),
    DexiNedModel: ("DexiNed", "DexiNed_BIPED_10.pth of kornia/dexined", UNKNOWN),
}


def edge_rows(reference: float, repeats: int) -> list[dict[str, str]]:
    """`reference`: seconds of a step of the reference."""
    rows = []
    for network, words in EDGE_NETWORKS.items():
        num_bytes, spent = measure(network, SIZE, repeats)
        row = dict(zip(EDGE_COLUMNS, words, strict=True))
        row |= {"reads": f"{SIZE} x {SIZE}", "MB": f"{num_bytes / 1e6:.0f}"}
        rows.append(row | {"a step, x ResNet50's": f"{spent / reference:.2g}"})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    add_output(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found, rows = {REFERENCE: measure_preset(PRESETS[REFERENCE], args.repeats)}, []
    reference = found[REFERENCE][1]
    for preset in PRESETS.values():
        num_bytes, spent = found.get(preset.repo) or measure_preset(preset, args.repeats)
        gc.collect()
        rows.append(row(preset, num_bytes, spent / reference))
        sys.stdout.write(markdown(rows[-1:]).splitlines()[-1] + "\n")
        sys.stdout.flush()
    write_page(rows, edge_rows(reference, args.repeats), args.output / "guiders.md")


def write_page(rows: list[dict[str, str]], edges: list[dict[str, str]], path: Path) -> None:
    heads = [dict(zip(HEAD_COLUMNS, head, strict=True)) for head in SCORE_HEADS]
    parts = (markdown(rows), EDGES_TITLE, markdown(edges), HEADS_TITLE, markdown(heads))
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
