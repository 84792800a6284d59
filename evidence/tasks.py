"""What each task reaches on the demo world: `python -m evidence.tasks`.

The kinds of *Target Likeness*: pictures are asked to be like held-out scenes at low resolution, in
a known region, in their palette, or in their mean and contrast; everything is at its default but
the strength. Measures are exact: those of the target itself. Then normals and edges (map_tasks.py).
Writes docs/evidence/tasks.csv, tasks.md and likeness.png. Rows that tasks.csv has are kept, so a
run that was stopped continues: delete the file after the models or the defaults have changed.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from demo.judges import load_judge
from demo.paths import JUDGE
from demo.sampling import guide_model, load_model, sample
from demo.scene_files import load_heldout_scenes
from evidence.flags import build_parser
from evidence.map_tasks import MAPS, MapRow, measure_row, sample_row
from evidence.map_tasks import planned as planned_maps
from evidence.quality import measure_quality
from evidence.tables import markdown, read_rows, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders.picture_itself import picture_itself
from ppap_core.targets.likeness import KINDS, build_likeness
from ppap_core.targets.map_target import Frame
from ppap_core.tasks import LIKENESS

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
CELLS = {"low resolution": 8}
FREE = slice(8, 24)  # rows and columns that are not known
NO_GUIDANCE, LIKE = "no guidance", "likeness"
SHOWN, BATCH = 8, 50


@dataclass(frozen=True)
class Measurement:
    """A row of tasks.csv. `kid` is times 1000. `seconds`: of the processor, for a picture."""

    task: str
    method: str
    input: str
    jacobian: str
    strength: float
    measure: str
    value: float
    fid: float
    kid: float
    n: int
    seconds: float

    @property
    def key(self) -> MapRow:
        return MapRow(self.task, self.method, self.jacobian, self.strength)


def planned() -> Iterator[MapRow]:
    """What all rows ask for; at a strength of 0 there is no guidance."""
    for task in (*KINDS, *MAPS):
        yield MapRow(task, NO_GUIDANCE, "", 0.0)
    for kind in KINDS:
        for strength in STRENGTHS:
            yield MapRow(kind, LIKE, LIKENESS.recommended.jacobian, strength)
    yield from planned_maps()


class Pictures:
    """Samples the pixel demo's model; all rows start from the same noise."""

    def __init__(self, num: int, seed: int):
        self.model, self.judge, self.seed = load_model(), load_judge(JUDGE), seed
        scenes = load_heldout_scenes()
        self.references = scenes.pictures(slice(0, num))
        self.real = scenes.pictures(slice(-2000, None))
        self._plain: dict[int, tuple[Tensor, float]] = {}

    def target(self, kind: str, rows: slice = slice(None)):
        """What asks that pictures be like the references in `rows`."""
        mask = None
        if kind == "known region":
            mask = torch.ones(self.references.shape[-2:])
            mask[FREE, FREE] = 0
        return build_likeness(kind, self.references[rows], mask, CELLS.get(kind, 0), Frame())

    def sample(self, kind: str, strength: float, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        if not strength and num in self._plain:
            return self._plain[num]
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        begin, parts = time.process_time(), []
        for start in range(0, num, BATCH):
            rows, model = slice(start, min(start + BATCH, num)), self.model
            if strength:
                guider = LoadedGuider.of(picture_itself(kind))
                model = guide_model(model, guider, self.target(kind, rows).target, strength)
            parts.append(sample(model, [self.seed + row for row in range(rows.start, rows.stop)]))
        found = torch.cat(parts), (time.process_time() - begin) / num
        if not strength:
            self._plain[num] = found
        return found

    def measure(self, row: MapRow) -> Measurement:
        num = len(self.references)
        if row.task in MAPS and row.strength:
            pictures, seconds = sample_row(row, self.model, self.references, self.seed)
        else:
            pictures, seconds = self.sample(row.task, row.strength, num)
        quality = measure_quality(self.judge, pictures, self.real)
        if row.task in MAPS:
            measure, value = measure_row(row.task, pictures, self.references)
        else:
            target = self.target(row.task).target
            measure, value = target.wording(()).axis, target.agreement(pictures).mean().item()
        return Measurement(
            **row._asdict(),
            input="x0_hat" if row.strength else "",
            measure=measure,
            value=round(value, 2),
            fid=round(quality.fid, 3),
            kid=round(quality.kid, 2),
            n=num,
            seconds=round(seconds, 4),
        )


def task_table(found: list[Measurement]) -> str:
    """Markdown: a line per kind, a column per strength; the value, FID and KID."""
    lines = []
    for kind in KINDS:
        own = {m.strength: m for m in found if m.task == kind}
        if len(own) < len(STRENGTHS) + 1:
            continue
        line = {"task": kind, "measure": own[0.0].measure}
        for strength, m in sorted(own.items()):
            name = f"{strength:g}" if strength else NO_GUIDANCE
            line[name] = f"{m.value:.1f} / {m.fid:.2f} / {m.kid:.1f}"
        more = own[1.0].seconds / own[0.0].seconds - 1
        lines.append(line | {"time at 1": f"{more:+.0%}"})
    return markdown(lines)


def map_table(found: list[Measurement]) -> str:
    """Markdown: a line per row of normals and edges."""
    plain = {m.task: m for m in found if not m.strength}
    return markdown(
        [
            {
                "task": m.task,
                "method": m.method,
                "Jacobian": m.jacobian,
                "measure": m.measure,
                "value": f"{m.value:.1f}" if m.value > 1 else f"{m.value:.0%}",
                "FID": f"{m.fid:.2f}",
                "KID": f"{m.kid:.1f}",
                "time": f"{m.seconds / plain[m.task].seconds - 1:+.0%}",
            }
            for task in MAPS
            for m in found
            if m.task == task
        ]
    )


def draw_pictures(pictures_of: Pictures) -> Image.Image:
    """For each kind what is asked for, and the pictures at strength 1 below it."""
    size = pictures_of.references.shape[-2:]
    plain, _ = pictures_of.sample("", 0.0, SHOWN)
    rows = [
        GridRow("references", "", pictures_of.references[:SHOWN]),
        GridRow(NO_GUIDANCE, "", plain),
    ]
    for kind in KINDS:
        asked = pictures_of.target(kind, slice(0, SHOWN)).preview
        pictures, _ = pictures_of.sample(kind, 1.0, SHOWN)
        rows += [
            GridRow(kind, "what is asked for", F.interpolate(asked, size)),
            GridRow("", "strength 1", pictures),
        ]
    return draw_grid([""] * SHOWN, rows)


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="kind and strength")
    parser.add_argument("--seed", type=int, default=3_000_000)
    args = parser.parse_args()
    boot()
    pictures = Pictures(args.pictures, args.seed)
    path = args.output / "tasks.csv"
    found = read_rows(Measurement, path)
    for key in tqdm([key for key in planned() if key not in {m.key for m in found}], unit="row"):
        found.append(pictures.measure(key))
        write_csv([asdict(m) for m in found], path)
    text = f"{task_table(found)}\n\n{MAPS_HEAD}\n\n{map_table(found)}"
    (args.output / "tasks.md").write_text(f"{HEAD}\n\n{text}\n", encoding="utf-8")
    draw_pictures(pictures).save(args.output / "likeness.png")
    sys.stdout.write(text + "\n")


HEAD = """# Tasks

*Target Likeness* without a vision model: every picture is asked to be like a held-out scene. A cell
has the measure, FID and KID (times 1000); measures are the target's own, exact ones. *Time at 1*:
processor time of strength 1 beside no guidance. Low resolution is 8 x 8 places, the known region is
all but the middle 16 x 16 pixels, mean and contrast are those of the whole picture. Made by
`python -m evidence.tasks`.

![What is asked for, and pictures at strength 1](likeness.png)"""


MAPS_HEAD = """## Normals and edges

At strength 1. Pictures are asked for the exact normals of held-out scenes, measured by a judge that
guides nothing (`python -m demo.normals_models`); or for the edges that the edge filter sees in
their pictures, measured by the filter itself."""


if __name__ == "__main__":
    main()
