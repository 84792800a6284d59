"""A real network for edges, HED: on photographs, as a guider, and as the teacher of an expert.

`python -m evidence.edges --networks FOLDER` writes docs/evidence/edges.md and edges.png.
evidence/hed_weights.py says which file has to lie in that folder. Photographs are scikit-image's;
guided is the demo's pixel model.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
import skimage.data
import torch
from PIL import Image
from skimage.color import rgb2gray
from skimage.feature import canny
from torch import Tensor
from torch.nn import functional as F

from demo.sampling import load_model
from demo.scene_files import load_heldout_scenes
from evidence.flags import build_parser
from evidence.hed_weights import SOURCE, write_hed
from evidence.photographs.lessons import DECILES, Lesson, measure, teach
from evidence.tables import markdown
from evidence.task_rows import sample_rows
from ppap_core.comfy_bridge.headless import boot
from ppap_core.distillation.batch import FROM_NOISE
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders import BUILT_IN, Guider, load_guider
from ppap_core.guiders.edge_filter import NAME as EDGE_FILTER
from ppap_core.pixels import bytes_to_image
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets.edges_target import EdgesTarget, f1, reach, resize_lines

LEARNED, HELDOUT = ("astronaut", "chelsea", "coffee"), "rocket"
PHOTOGRAPHS = (*LEARNED, HELDOUT)
LARGE, SMALL = 512, 64  # pixels that HED reads: of photographs, and of small pictures
NUM_LEARNED, NUM_HELDOUT = 96, 24  # crops
SIGMA = 3.0  # of Canny's blur, in pixels
SEED, SHOWN = 0, 8


def photograph(name: str) -> Tensor:
    """(1, 3, H, W) uint8."""
    return torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None]


@torch.no_grad()
def beside_canny(guider: Guider) -> tuple[Tensor, Tensor]:
    """(F1 of HED's edges and Canny's, and of HED's and Canny's mirrored, which is chance, (N, 2);
    photographs and HED's edges in turns, as pictures (2 N, 3, LARGE, LARGE) in [-1, 1]).
    """
    images = [bytes_to_image(photograph(name)) for name in PHOTOGRAPHS]
    squares = torch.cat([F.interpolate(i, (LARGE, LARGE), mode="area") for i in images])
    odds = torch.cat([guider(square[None]) for square in squares])[:, 0]
    seen = resize_lines((odds > 0).float(), (LARGE, LARGE))
    grey = rgb2gray(((squares + 1) / 2).movedim(1, -1).numpy())
    drawn = torch.from_numpy(numpy.stack([canny(picture, SIGMA) for picture in grey])).float()
    agreement = [f1(seen, lines, reach(lines)) for lines in (drawn, drawn.flip(-1))]
    edges = F.interpolate(2 * odds.sigmoid()[:, None] - 1, (LARGE, LARGE)).expand_as(squares)
    return torch.stack(agreement, dim=1), torch.stack((squares, edges), dim=1).flatten(0, 1)


def canny_table(agreement: Tensor) -> str:
    rows = zip(PHOTOGRAPHS, agreement.tolist(), strict=True)
    columns = ("Canny (F1)", "Canny, mirrored")
    return markdown(
        [
            {"photograph": name} | {c: f"{x:.0%}" for c, x in zip(columns, found, strict=True)}
            for name, found in rows
        ]
    )


class Guided:
    """The demo's pixel model, asked for the edges that HED sees in held-out scenes."""

    def __init__(self, guider: Guider, num: int):
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        self.guider, self.loaded, self.model = guider, LoadedGuider.of(guider), load_model()
        self.references = load_heldout_scenes().pictures(slice(0, num))
        self.judges = (guider, BUILT_IN[EDGE_FILTER]())

    @torch.no_grad()
    def target(self, guider: Guider, rows: Tensor | slice = slice(None)) -> EdgesTarget:
        return EdgesTarget(guider(self.references[rows])[:, 0].sigmoid())

    def sample(self, jacobian: str) -> Tensor:
        """(N, 3, 32, 32) in [-1, 1]; "" is no guidance."""
        return sample_rows(lambda rows: self._guide(jacobian, rows), SEED, len(self.references))[0]

    def _guide(self, jacobian: str, rows: Tensor):
        from ppap_core.comfy_bridge.guide import guide

        if not jacobian:
            return self.model
        how = {"reading": Reading("x0_hat", "identity"), "jacobian": jacobian}
        return guide(self.model, self.loaded, self.target(self.guider, rows), Strength(1.0), **how)

    @torch.no_grad()
    def row(self, name: str, pictures: Tensor) -> dict[str, str]:
        """The mean agreement with the references' edges, by HED and by the edge filter."""
        found = [self.target(judge).agreement(judge(pictures)) for judge in self.judges]
        columns = ("edges as asked, by HED (F1)", "by the edge filter")
        means = {c: f"{f.mean():.0%}" for c, f in zip(columns, found, strict=True)}
        return {"guided": name} | means


def learned(guider: Guider, steps: int, folder: Path) -> str:
    """A table: agreement with HED's edges of clean crops of a photograph that was held out."""
    crops = torch.cat([_crops(name, NUM_LEARNED // len(LEARNED)) for name in LEARNED])
    heldout = _crops(HELDOUT, NUM_HELDOUT)
    data = TrainingSet(crops, teacher_answers(guider, crops))
    answers = teacher_answers(guider, heldout)
    rows = []
    for lesson in (Lesson("guider alone"), Lesson("one expert", 1, steps)):
        experts = teach(guider, data, lesson, FROM_NOISE, folder / f"{lesson.name}.safetensors")
        file = folder / f"{lesson.name}, measured.safetensors"
        found = measure(guider, experts, heldout, answers, FROM_NOISE, file)["agreement"]
        line = {"F1 with the clean crop's edges": lesson.name}
        for first, mean in enumerate(found.view(5, -1).mean(dim=1)):
            low, high = DECILES[2 * first].low, DECILES[2 * first + 1].high
            line[f"{low:.2g} to {high:.2g}"] = f"{mean:.0%}"
        rows.append(line | {"all": f"{found.mean():.0%}"})
    return markdown(rows)


def _crops(name: str, num: int) -> Tensor:
    """Random squares of half to all of the shorter side: (num, 3, SMALL, SMALL) uint8."""
    random, picture = numpy.random.default_rng(0), Image.fromarray(getattr(skimage.data, name)())
    crops = []
    for _ in range(num):
        side = min(picture.size) * random.uniform(0.5, 1)
        left, top = (random.uniform(0, length - side) for length in picture.size)
        box = (left, top, left + side, top + side)
        crops.append(numpy.array(picture.resize((SMALL,) * 2, Image.Resampling.BICUBIC, box)))
    return torch.from_numpy(numpy.stack(crops)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = build_parser(__doc__, pictures=12, each="row")
    parser.add_argument("--networks", type=Path, required=True, help="see hed_weights.py")
    parser.add_argument("--steps", type=int, default=20, help="of the expert's training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    boot()
    with TemporaryDirectory() as place:
        folder = Path(place)
        large = load_guider(write_hed(args.networks, folder / "large", LARGE))
        small = load_guider(write_hed(args.networks, folder / "small", SMALL))
        tables = [HEAD]
        agreement, shown = beside_canny(large)
        tables += ["## Photographs", canny_table(agreement)]
        guided = Guided(small, args.pictures)
        pictures = {name: guided.sample(jacobian) for name, jacobian in WAYS.items()}
        rows = [guided.row(name, made) for name, made in pictures.items()]
        tables += ["## A diffusion model", GUIDED.format(pictures=args.pictures), markdown(rows)]
        tables += [
            "## An expert",
            LESSON.format(steps=args.steps),
            learned(small, args.steps, folder),
        ]
    tables.append(markdown([SOURCE.row()]))
    (args.output / "edges.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    grid = [GridRow("photographs, HED", "", F.interpolate(shown, (104, 104), mode="area"))]
    grid.append(GridRow("references", "", guided.references[:SHOWN]))
    grid += [GridRow(name, "", made[:SHOWN]) for name, made in pictures.items()]
    draw_grid([""] * SHOWN, grid).save(args.output / "edges.png")
    sys.stdout.write("\n\n".join(tables) + "\n")


WAYS = {"no guidance": "", "HED alone, none": "none", "HED alone, jvp": "jvp"}
HEAD = f"""# Edges

HED, a network that nobody here trained, on scikit-image's photographs, as a guider in ComfyUI, and
as the teacher of an expert. HED's edges are those with a probability above one half, and may lie
0.75 % of the diagonal beside Canny's (sigma {SIGMA:g} of {LARGE} pixels). With Canny's mirrored
they agree by chance. Made by
`python -m evidence.edges --networks FOLDER`.

![Photographs and their edges; references, and pictures asked for their edges](edges.png)"""
GUIDED = f"""The demo's pixel model is asked at strength 1 for the edges that HED sees in held-out
scenes, which it reads at {SMALL} pixels. The edge filter is another judge, which guides nothing
here. {{pictures}} pictures a row."""
LESSON = f"""One expert learns without labels, for {{steps}} steps, from {NUM_LEARNED} crops of
{", ".join(LEARNED)} at {SMALL} pixels; measured on {NUM_HELDOUT} crops of {HELDOUT}, by noise
(sigma)."""


if __name__ == "__main__":
    main()
