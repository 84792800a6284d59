"""The recommended strength: what 1 gives, for every task, with everything else left at its default.

`python -m evidence.strength` asks for the class, depth or segments of held-out scenes, and of the
latent demo for classes, under several strengths. Judges, which guide nothing, measure how close the
pictures come and how good they are. Writes docs/evidence/strength.csv, strength.md and pictures,
depth.png and segmentation.png. Rows that strength.csv has are kept, so a run that was stopped
continues: delete the file after the models or the defaults have changed.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo.judges import load_judge
from demo.latent_experts import use_narrow_decoder
from demo.measures import FILES, MEASURES, build_target, measure
from demo.paths import JUDGE
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from demo.shading import SEGMENTS
from evidence.flags import build_parser
from evidence.latent_models import LatentMethod, LatentModels
from evidence.quality import REAL, for_judges, measure_quality
from evidence.tables import markdown, read_rows, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import Reading
from ppap_core.strength import RECOMMENDED
from ppap_core.targets.map_target import show_target
from ppap_core.targets.palettes import HUES

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
METHODS = ("guider alone", "PPAP experts")
LATENT = "class, latents"
TASKS = (*FILES, LATENT)
SHOWN = 8  # pictures of a row
BATCH = 50


@dataclass(frozen=True)
class Measurement:
    """`value`: of MEASURES, by a judge. `strength`: 0 is no guidance."""

    task: str
    method: str
    strength: float
    value: float
    fid: float
    kid: float
    n: int

    @property
    def key(self) -> tuple[str, str, float]:
        return self.task, self.method, self.strength


def planned() -> Iterator[tuple[str, str, float]]:
    """The keys of all rows."""
    for task in TASKS:
        yield task, "no guidance", 0.0
        for method in METHODS:
            yield from ((task, method, strength) for strength in STRENGTHS)


class PixelPictures:
    """Samples the pixel demo's model; all rows start from the same noise."""

    def __init__(self, scenes: Scenes, seed: int):
        self.scenes, self.seed = scenes, seed
        self.model, self.judge = load_model(), load_judge(JUDGE)
        self.guiders = {task: load_guiding(task) for task in FILES}
        self.real = load_heldout_scenes().pictures(REAL)

    def sample(self, task: str, method: str, strength: float, num: int) -> Tensor:
        """(num, 3, 32, 32) in [-1, 1]."""
        return sample_in_parts(lambda rows: self._part(task, method, strength, rows), num)

    def _part(self, task: str, method: str, strength: float, rows: slice) -> list[Tensor]:
        model, guider = self.model, self.guiders[task]
        if method == METHODS[0]:
            guider = guider.without_experts()
        if strength:
            target = build_target(task, self.scenes[rows])
            model = guide_model(model, guider, target, strength)
        return list(sample(model, [self.seed + row for row in range(rows.start, rows.stop)]))

    def value(self, task: str, pictures: Tensor) -> float:
        return measure(task, pictures, self.scenes[: len(pictures)])


def sample_in_parts(part: Callable[[slice], list[Tensor]], num: int) -> Tensor:
    starts = range(0, num, BATCH)
    return torch.stack([one for i in starts for one in part(slice(i, min(i + BATCH, num)))])


class LatentPictures:
    """The same of the latent demo's model, for classes."""

    def __init__(self, seed: int):
        self.models, self.seed = LatentModels(), seed
        use_narrow_decoder(self.models.checkpoint.vae)  # the shipped one takes seven times as long
        self.judge, self.real = self.models.judge, self.models.real

    def sample(self, task: str, method: str, strength: float, num: int) -> Tensor:
        """(num, 3, 32, 32) in [-1, 1]."""
        reading = Reading("x0_hat", "vae") if strength else None
        asked = LatentMethod(method, reading, "auto", "auto", method == METHODS[1], "auto")
        return for_judges(self.models.pictures(asked, strength, self.seed, num, rule=RECOMMENDED))

    def value(self, task: str, pictures: Tensor) -> float:
        return self.models.accuracy(pictures)


def measure_row(pictures_of, key: tuple[str, str, float], num: int) -> Measurement:
    pictures = pictures_of.sample(*key, num)
    quality = measure_quality(pictures_of.judge, pictures, pictures_of.real)
    value = round(pictures_of.value(key[0], pictures), 4)
    return Measurement(*key, value, round(quality.fid, 3), round(quality.kid, 2), num)


def strength_table(found: list[Measurement]) -> str:
    """Markdown: a line per task and method, a column per strength; the value, and KID."""
    lines = []
    for task in TASKS:
        for method in METHODS:
            own = [m for m in found if m.task == task and m.method in (method, "no guidance")]
            measured = {m.strength: m for m in own}
            if len(measured) < len(STRENGTHS) + 1:
                continue
            line = {"asked": task, "measure": MEASURES[task.split(",")[0]], "method": method}
            line |= {f"{s:g}": _cell(m) for s, m in sorted(measured.items())}
            lines.append(line | {"of the best": f"{share_of_best(measured):.0%}"})
    return markdown(lines)


def share_of_best(measured: dict[float, Measurement]) -> float:
    """What strength 1 gains over no guidance, as a share of what the best strength gains."""
    gains = {s: abs(m.value - measured[0.0].value) for s, m in measured.items()}
    return gains[1.0] / max(gains.values())


def _cell(m: Measurement) -> str:
    value = f"{m.value:.3f}" if m.task == "depth" else f"{m.value:.1%}"
    return f"{value} / {m.kid:.1f}"


def draw_pictures(task: str, pictures_of: PixelPictures) -> Image.Image:
    """The target, and below it the pictures of each method at strength 1."""
    scenes = pictures_of.scenes[:SHOWN]
    maps = show_target(build_target(task, scenes), SEGMENTS, HUES, []).preview
    rows = [GridRow("target", "", maps)]
    for method, strength in (("no guidance", 0.0), *((method, 1.0) for method in METHODS)):
        pictures = pictures_of.sample(task, method, strength, SHOWN)
        note = f"{MEASURES[task]} {pictures_of.value(task, pictures):.3f}"
        rows.append(GridRow(method, note, pictures))
    return draw_grid([""] * SHOWN, rows)


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="task, method and strength")
    parser.add_argument("--seed", type=int, default=3_000_000)
    args = parser.parse_args()
    boot()
    pixels = PixelPictures(load_heldout_scenes()[: args.pictures], args.seed)
    path = args.output / "strength.csv"
    found = read_rows(Measurement, path)
    missing = [key for key in planned() if key not in {m.key for m in found}]
    latents = LatentPictures(args.seed) if any(key[0] == LATENT for key in missing) else None
    for key in tqdm(missing, unit="row"):
        found.append(measure_row(latents if key[0] == LATENT else pixels, key, args.pictures))
        write_csv([asdict(m) for m in found], path)
    text = strength_table(found)
    (args.output / "strength.md").write_text(f"{HEAD}\n\n{text}\n", encoding="utf-8")
    for task in ("depth", "segmentation"):
        draw_pictures(task, pixels).save(args.output / f"{task}.png")
    sys.stdout.write(text + "\n")


HEAD = """# Strength

Everything is at its default but the strength, whose default is 1. A cell has the value, by a
judge, and KID (times 1000). *Of the best*: what strength 1 gains over no guidance, as a share of
what the best strength gains. Made by `python -m evidence.strength`."""


if __name__ == "__main__":
    main()
