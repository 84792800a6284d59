"""One strength for all guiders: class, depth and segmentation guidance over a range of scales.

`python -m evidence.strength` asks for the class, depth or segments of held-out scenes. Judges,
which guide nothing, measure how close the pictures come without guidance, with each guider alone
and with its experts, in the rule "relative". Writes docs/evidence/strength.csv, strength.md and
two pictures, depth.png and segmentation.png.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo.measures import FILES, MEASURES, build_target, measure
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from evidence.flags import build_parser
from evidence.tables import markdown, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.targets.map_target import show_target
from ppap_core.targets.palettes import HUES

SCALES = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
SHOWN = 0.3  # the scale of the pictures


@dataclass(frozen=True)
class Measurement:
    """`value`: MEASURES[guider] by a judge. `scale`: in the rule "relative"."""

    guider: str
    method: str
    scale: float
    value: float
    n: int
    seconds_per_picture: float


def measurements(
    scenes: Scenes, seed: int, scales: tuple[float, ...]
) -> Iterator[tuple[Measurement, Tensor]]:
    """With its pictures, for every guider, method and scale; all start from the same noise."""
    model, n = load_model(), len(scenes)

    def timed_sample(guided) -> tuple[Tensor, float]:
        start = time.perf_counter()
        pictures = sample(guided, list(range(seed, seed + n)))
        return pictures, (time.perf_counter() - start) / n

    unguided, spent = timed_sample(model)
    for task in FILES:
        value = measure(task, unguided, scenes)
        yield Measurement(task, "no guidance", 0.0, value, n, spent), unguided
        aware, target = load_guiding(task), build_target(task, scenes)
        methods = {"guider alone": aware.without_experts(), "PPAP experts": aware}
        for (method, guider), scale in product(methods.items(), scales):
            pictures, seconds = timed_sample(guide_model(model, guider, target, scale))
            value = measure(task, pictures, scenes)
            yield Measurement(task, method, scale, value, n, seconds), pictures


def strength_table(found: list[Measurement], scales: tuple[float, ...]) -> str:
    """Markdown: a line per guider and method, a column per scale."""
    lines = []
    for task in FILES:
        own = [m for m in found if m.guider == task]
        for method in dict.fromkeys(m.method for m in own):
            values = [m.value for m in own if m.method == method]
            values = values * len(scales) if method == "no guidance" else values
            cells = [f"{v:.3f}" if task == "depth" else f"{v:.1%}" for v in values]
            names = {"guider": task, "measure": MEASURES[task], "method": method}
            columns = [f"{scale:g}" for scale in scales]
            lines.append(names | dict(zip(columns, cells, strict=True)))
    return markdown(lines)


def draw_pictures(
    task: str, found: list[tuple[Measurement, Tensor]], scenes: Scenes, num: int = 8
) -> Image.Image:
    """The target, and below it the pictures of each method at one scale."""
    maps = show_target(build_target(task, scenes), SEGMENTS, HUES, []).preview
    rows = [GridRow("target", "", maps[:num])]
    for measured, pictures in found:
        if measured.guider == task and measured.scale in (0.0, SHOWN):
            note = f"{MEASURES[task]} {measured.value:.3f}"
            rows.append(GridRow(measured.method, note, pictures[:num]))
    return draw_grid([""] * num, rows)


def main() -> None:
    parser = build_parser(__doc__, pictures=50, each="guider, method and scale")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    boot()
    scenes = load_heldout_scenes()[: args.pictures]
    total = len(FILES) * (1 + 2 * len(SCALES))
    found = list(tqdm(measurements(scenes, args.seed, SCALES), total=total, unit="row"))
    write_csv([asdict(measured) for measured, _ in found], args.output / "strength.csv")
    text = strength_table([measured for measured, _ in found], SCALES)
    (args.output / "strength.md").write_text(text + "\n", encoding="utf-8")
    for task in ("depth", "segmentation"):
        draw_pictures(task, found, scenes).save(args.output / f"{task}.png")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
