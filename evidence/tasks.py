"""What each task reaches on the demo world: `python -m evidence.tasks`.

The kinds of *Target Likeness*: pictures are asked to be like held-out scenes at low resolution, in
a known region, in their palette, or in their mean and contrast; everything is at its default but
the strength. Measures are exact: those of the target itself. And the means of references
(evidence/reference_means.py), *Target Words* (words.py), normals, poses and edges (map_tasks.py),
scores (scores.py), styles (styles.py) and *Target Boxes* (boxes.py). Writes
docs/evidence/tasks.csv, tasks.md and the pictures beside them. Rows that tasks.csv has are kept, so
a run that was stopped continues: delete the file after the models or the defaults have changed.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from demo.judges import load_judge
from demo.paths import JUDGE
from demo.sampling import guide_model, load_model
from demo.scene_files import load_heldout_scenes
from evidence.boxes import MEASURES as BOXES
from evidence.boxes import Boxes
from evidence.boxes import planned as planned_boxes
from evidence.flags import build_parser
from evidence.map_tasks import MAPS, Maps
from evidence.map_tasks import planned as planned_maps
from evidence.quality import REAL, measure_quality
from evidence.reference_means import KIND as REFERENCE_MEAN
from evidence.reference_means import SHARED, ReferenceMeans
from evidence.reference_means import planned as planned_means
from evidence.scores import TASKS as SCORES
from evidence.scores import Scores
from evidence.scores import planned as planned_scores
from evidence.styles import TASK as STYLE
from evidence.styles import Styles
from evidence.styles import planned as planned_styles
from evidence.tables import read_rows, write_csv
from evidence.task_rows import (
    NO_GUIDANCE,
    Key,
    Measurement,
    sample_way,
    table,
)
from evidence.task_texts import (
    BOXES_HEAD,
    HEAD,
    MAPS_HEAD,
    MEANS_HEAD,
    SCORES_HEAD,
    STYLE_HEAD,
    WORDS_HEAD,
)
from evidence.words import MEASURES as WORDS
from evidence.words import Words
from evidence.words import planned as planned_words
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders.picture_itself import picture_itself
from ppap_core.targets.likeness import KINDS, build_likeness
from ppap_core.targets.map_target import Frame
from ppap_core.tasks import LIKENESS

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
CELLS = {"low resolution": 8}
FREE = slice(8, 24)  # rows and columns that are not known
LIKE = "likeness"
ONE_EACH = tuple(kind for kind in KINDS if kind != REFERENCE_MEAN)  # a reference for each picture
SHOWN = 8
JACOBIAN = LIKENESS.recommended.jacobian


def planned() -> Iterator[Key]:
    """Of all rows of likeness; the strength 0 is no guidance."""
    for kind in ONE_EACH:
        yield kind, NO_GUIDANCE, "", 0.0
        yield from ((kind, LIKE, JACOBIAN, strength) for strength in STRENGTHS)


class Pictures:
    """Samples the pixel demo's model; all rows start from the same noise."""

    def __init__(self, num: int, seed: int):
        self.model, self.judge, self.seed = load_model(), load_judge(JUDGE), seed
        self.scenes = load_heldout_scenes()
        self.references = self.scenes.pictures(slice(0, num))
        self.real = self.scenes.pictures(REAL)

    def target(self, kind: str, rows: Tensor | slice = slice(None)):
        """What asks that pictures be like the references in `rows`."""
        mask = None
        if kind == "known region":
            mask = torch.ones(self.references.shape[-2:])
            mask[FREE, FREE] = 0
        return build_likeness(kind, self.references[rows], mask, CELLS.get(kind, 0), Frame())

    def sample(self, kind: str, strength: float, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, kind, strength)
        return sample_way(self.model, strength, guided, self.seed, num)

    def _guided(self, kind: str, strength: float, rows: Tensor):
        """MODEL, asked to be like the references with the numbers `rows`."""
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        guider = LoadedGuider.of(picture_itself(kind))
        return guide_model(self.model, guider, self.target(kind, rows).target, strength)

    def measure(self, key: Key) -> Measurement:
        kind, _, _, strength = key
        num = len(self.references)
        pictures, seconds = self.sample(kind, strength, num)
        quality = measure_quality(self.judge, pictures, self.real)
        target = self.target(kind).target
        value = target.agreement(pictures).mean().item()
        return Measurement.of(key, target.wording(()).axis, value, quality, num, seconds)


def draw_pictures(pictures_of: Pictures) -> Image.Image:
    """For each kind what is asked for, and the pictures at strength 1 below it."""
    size = pictures_of.references.shape[-2:]
    plain, _ = pictures_of.sample("", 0.0, SHOWN)
    rows = [
        GridRow("references", "", pictures_of.references[:SHOWN]),
        GridRow(NO_GUIDANCE, "", plain),
    ]
    for kind in ONE_EACH:
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
    words = Words(pictures.model, pictures.judge, pictures.real, args.pictures, args.seed)
    maps = Maps(pictures.model, pictures.judge, pictures.references, pictures.real, args.seed)
    scores = Scores(pictures.model, pictures.judge, pictures.real, args.pictures, args.seed)
    styles = Styles(pictures.model, pictures.judge, pictures.references, pictures.real, args.seed)
    asked = pictures.scenes[: args.pictures]
    boxes = Boxes(pictures.model, pictures.judge, pictures.real, asked, args.seed)
    means = ReferenceMeans(
        pictures.model, pictures.judge, pictures.scenes, args.pictures, args.seed
    )
    keys = (
        {key: pictures for key in planned()}
        | {key: means for key in planned_means()}
        | {key: words for key in planned_words()}
        | {key: maps for key in planned_maps()}
        | {key: scores for key in planned_scores()}
        | {key: styles for key in planned_styles()}
        | {key: boxes for key in planned_boxes()}
    )
    for key in tqdm([key for key in keys if key not in {m.key for m in found}], unit="row"):
        found.append(keys[key].measure(key))
        write_csv([asdict(m) for m in found], path)
    text = page(found)
    (args.output / "tasks.md").write_text(f"{text}\n", encoding="utf-8")
    draw_pictures(pictures).save(args.output / "likeness.png")
    words.draw().save(args.output / "words.png")
    maps.draw().save(args.output / "maps.png")
    scores.draw().save(args.output / "scores.png")
    boxes.draw().save(args.output / "boxes.png")
    sys.stdout.write(text + "\n")


def page(found: list[Measurement]) -> str:
    """Markdown: a table for each kind of target."""
    parts = (
        HEAD,
        table([m for m in found if m.task in ONE_EACH], "task", lambda m: m.task),
        MEANS_HEAD,
        table([m for m in found if m.task in SHARED], "references share", lambda m: m.task),
        WORDS_HEAD,
        table([m for m in found if m.task in WORDS], "guided by", _way),
        MAPS_HEAD,
        table([m for m in found if m.task in MAPS], "task", lambda m: f"{m.task}, {_way(m)}"),
        SCORES_HEAD,
        table([m for m in found if m.task in SCORES], "asked", lambda m: f"{m.task}, {_way(m)}"),
        STYLE_HEAD,
        table([m for m in found if m.task == STYLE], "guided by", _way),
        BOXES_HEAD,
        table([m for m in found if m.task in BOXES], "guided by", _way),
    )
    return "\n\n".join(parts)


def _way(m: Measurement) -> str:
    return f"{m.method}, {m.jacobian}"


if __name__ == "__main__":
    main()
