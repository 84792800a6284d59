"""One strength for all guiders: class, depth and segmentation guidance over a range of scales.

`python -m evidence.strength` asks for held-out real scenes (their class, depth and segments) and
measures, by judges that guided nothing, how near the pictures come: without guidance, with each
guider alone, and with its experts, under the rule "relative". Writes docs/evidence/strength.csv and
strength.md, and a picture of depth and of segmentation guidance.
"""

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from demo.measures import FILES, MEASURES, build_target, measure
from demo.paths import (
    EVIDENCE,
    HELDOUT_SCENES,
    PIXEL_MODEL,
)
from demo.run import SAMPLER, SCHEDULER, SIZE, STEPS
from demo.scene_files import load_or_render
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid

SCALES = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
DRAWN = 0.3


@dataclass(frozen=True)
class Row:
    """`value`: of MEASURES[guider], by a judge. `scale`: of the rule "relative"."""

    guider: str
    method: str
    scale: float
    value: float
    n: int
    seconds_per_picture: float


def sample_rows(scenes: Scenes, seed: int, scales: tuple[float, ...]):
    """Yield (row, pictures) for every guider, method and scale; all start from the same noise."""
    from ppap_core.comfy_bridge.hook import install_guidance
    from ppap_core.comfy_bridge.memory import build_patcher
    from ppap_core.comfy_bridge.pixel_model import load_pixel_model
    from ppap_core.comfy_bridge.sampling import sample_pixels
    from ppap_core.expert_file import load_experts
    from ppap_core.guidance import Guidance
    from ppap_core.guiders import load_guider
    from ppap_core.strength import Strength

    model = load_pixel_model(PIXEL_MODEL)
    seeds = list(range(seed, seed + len(scenes)))

    def sample(guided) -> tuple[Tensor, float]:
        start = time.perf_counter()
        pictures = sample_pixels(guided, seeds, STEPS, SAMPLER, SCHEDULER, SIZE, SIZE)
        return pictures, (time.perf_counter() - start) / len(seeds)

    unguided, spent = sample(model)
    for task, (folder, file) in FILES.items():
        value = measure(task, unguided, scenes)
        yield Row(task, "no guidance", 0.0, value, len(seeds), spent), unguided
        guider = load_guider(folder)
        patcher = build_patcher(guider)
        experts = load_experts(file).for_guider(guider)
        target = build_target(task, scenes)
        for method, chosen in (("guider alone", None), ("PPAP experts", experts)):
            for scale in scales:
                guidance = Guidance(guider, target, Strength(scale, "relative"), chosen)
                pictures, seconds = sample(install_guidance(model, guidance, patcher))
                value = measure(task, pictures, scenes)
                yield Row(task, method, scale, value, len(seeds), seconds), pictures


def table(rows: list[Row], scales: tuple[float, ...]) -> str:
    """Markdown: a line per guider and method, a column per scale."""
    lines = [
        "| guider | measure | method | " + " | ".join(f"{scale:g}" for scale in scales) + " |",
        "| --- | --- | --- |" + " --- |" * len(scales),
    ]
    for task in FILES:
        own = [row for row in rows if row.guider == task]
        for method in dict.fromkeys(row.method for row in own):
            values = [row.value for row in own if row.method == method]
            values = values * len(scales) if method == "no guidance" else values
            cells = " | ".join(f"{v:.3f}" if task == "depth" else f"{v:.1%}" for v in values)
            lines.append(f"| {task} | {MEASURES[task]} | {method} | {cells} |")
    return "\n".join(lines)


def draw_rows(task: str, found: list[tuple[Row, Tensor]], scenes: Scenes, num: int = 8):
    """The target, and each method at one scale."""
    from ppap_core.targets.map_target import show_target
    from ppap_core.targets.palettes import HUES

    maps = show_target(build_target(task, scenes), SEGMENTS, HUES, []).preview
    rows = [GridRow("target", "", maps[:num])]
    for row, pictures in found:
        if row.scale in (0.0, DRAWN):
            rows.append(GridRow(row.method, f"{MEASURES[task]} {row.value:.3f}", pictures[:num]))
    return draw_grid([""] * num, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50, help="per guider, method and scale")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=EVIDENCE)
    args = parser.parse_args()
    boot()
    heldout = load_or_render(HELDOUT_SCENES, 6_000, seed=1)
    scenes = heldout[: args.pictures]
    total = len(FILES) * (1 + 2 * len(SCALES))
    found = list(tqdm(sample_rows(scenes, args.seed, SCALES), total=total, unit="row"))
    rows = [row for row, _ in found]
    args.output.mkdir(parents=True, exist_ok=True)
    with (args.output / "strength.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    text = table(rows, SCALES)
    (args.output / "strength.md").write_text(text + "\n", encoding="utf-8")
    for task in ("depth", "segmentation"):
        own = [pair for pair in found if pair[0].guider == task]
        draw_rows(task, own, scenes).save(args.output / f"{task}.png")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
