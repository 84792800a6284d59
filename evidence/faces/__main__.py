"""`python -m evidence.faces --networks FOLDER`"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from evidence.faces.guiders import load_face_mesh, load_person
from evidence.faces.points import POINTS, SIDE, PointsTarget
from evidence.faces.sources import DENOISER, SOURCES
from evidence.flags import build_parser
from evidence.tables import markdown, read_rows, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders.picture_itself import picture_itself
from ppap_core.reading import Reading
from ppap_core.strength import Strength
from ppap_core.targets import SegmentationTarget
from ppap_core.targets.likeness import build_likeness
from ppap_core.targets.map_target import Frame
from ppap_core.tasks import register_task

STEPS, SAMPLER, SCHEDULER = 30, "euler_ancestral", "karras"
BATCH, SHOWN = 16, 8
CELLS = 10  # of the face at low resolution, along a side
FIRST_REFERENCE, FIRST = 10_000, 0  # seeds
NO_GUIDANCE = "no guidance"
MASK, MESH, SMALL = "a person's mask", "a face's points", "a face of 10 x 10"
WAYS = (("x_t", "none"), ("x0_hat", "none"), ("x0_hat", "jvp"))  # (input, jacobian)


@dataclass(frozen=True)
class Row:
    """`mask`: IoU of the person, in percent; `points`: mean distance in pixels; `psnr`: in dB of
    the small face; `noise`: what the denoiser still takes for noise, in levels of 255. Means over
    `n` faces, each with its standard error.
    """

    asked: str
    input: str
    jacobian: str
    mask: float
    mask_error: float
    points: float
    points_error: float
    psnr: float
    psnr_error: float
    noise: float
    n: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.asked, self.input, self.jacobian


def planned() -> Iterator[tuple[str, str, str]]:
    """What is asked for, what the guider reads, and the Jacobian, of all rows."""
    yield NO_GUIDANCE, "", ""
    for asked in (MASK, MESH):
        yield from ((asked, *way) for way in WAYS)
    yield SMALL, "x0_hat", "none"


class Faces:
    """The model and its guiders; each face is asked to be like a reference of another seed."""

    def __init__(self, networks: Path, num: int):
        from evidence.faces.denoiser import load_face_model

        for source in SOURCES:
            source.check(networks)
        self.model, self.num = load_face_model(networks / DENOISER.path), num
        self.person, self.mesh = load_person(networks), load_face_mesh(networks)
        self.references = self._sample(lambda rows: self.model, FIRST_REFERENCE, num)
        with torch.no_grad():
            self.masks = self.person(self.references).argmax(dim=1)
            self.points = self.mesh(self.references)

    def sample(self, key: tuple[str, str, str], num: int) -> Tensor:
        """(num, 3, SIDE, SIDE) in [-1, 1]."""
        return self._sample(lambda rows: self.guided(key, rows), FIRST, num)

    def guided(self, key: tuple[str, str, str], rows: slice):
        """MODEL, asked for what the references in `rows` show."""
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        asked, reads, jacobian = key
        if asked == NO_GUIDANCE:
            return self.model
        guider, target = {
            MASK: (self.person, SegmentationTarget(self.masks[rows], 2)),
            MESH: (self.mesh, PointsTarget(self.points[rows])),
            SMALL: (picture_itself("low resolution"), self.small(rows)),
        }[asked]
        how = {"reading": Reading(input=reads), "jacobian": jacobian}
        return guide(self.model, LoadedGuider.of(guider), target, Strength(1.0), **how)

    def small(self, rows: slice = slice(None)):
        """The target that asks for the references at low resolution."""
        made = build_likeness("low resolution", self.references[rows], None, CELLS, Frame())
        return made.target

    @torch.no_grad()
    def measure(self, key: tuple[str, str, str]) -> Row:
        faces = self.sample(key, self.num)
        mask = 100 * intersection_over_union(self.person(faces).argmax(dim=1), self.masks)
        points = PointsTarget(self.points).agreement(self.mesh(faces))
        psnr = self.small().agreement(faces)
        figures = {}
        for name, values in (("mask", mask), ("points", points), ("psnr", psnr)):
            error = values.std().item() / len(values) ** 0.5
            figures |= {name: round(values.mean().item(), 2), f"{name}_error": round(error, 2)}
        network = self.model.model.diffusion_model
        noise = 255 * network.noise_of((faces[:, :1] + 1) / 2).std().item()
        return Row(*key, **figures, noise=round(noise, 2), n=self.num)

    def _sample(self, model_of: Callable, first_seed: int, num: int) -> Tensor:
        from ppap_core.comfy_bridge.sampling import sample_pixels

        parts = []
        for start in range(0, num, BATCH):
            rows = slice(start, min(start + BATCH, num))
            seeds = [first_seed + row for row in range(rows.start, rows.stop)]
            how = (STEPS, SAMPLER, SCHEDULER, SIDE, SIDE)
            parts.append(sample_pixels(model_of(rows), seeds, *how))
        return torch.cat(parts)


def intersection_over_union(seen: Tensor, asked: Tensor) -> Tensor:
    """Of class 1 in label maps (B, H, W): (B,); 1 where neither has it."""
    both = ((seen == 1) & (asked == 1)).flatten(1).sum(dim=1)
    either = ((seen == 1) | (asked == 1)).flatten(1).sum(dim=1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def face_table(rows: list[Row]) -> str:
    """Markdown: a line for each row."""
    return markdown(
        [
            {
                "asked for": row.asked,
                "guider reads": row.input or "-",
                "Jacobian": row.jacobian or "-",
                "mask, IoU %": f"{row.mask:.1f} ± {row.mask_error:.1f}",
                "points, pixels": f"{row.points:.2f} ± {row.points_error:.2f}",
                "small face, dB": f"{row.psnr:.1f} ± {row.psnr_error:.1f}",
                "noise left": f"{row.noise:.2f}",
            }
            for row in rows
        ]
    )


def main() -> None:
    parser = build_parser(__doc__, pictures=48, each="row")
    parser.add_argument("--networks", type=Path, required=True, help="see sources.py")
    args = parser.parse_args()
    torch.set_num_threads(1)
    boot()
    register_task(POINTS)
    faces = Faces(args.networks, args.pictures)
    path = args.output / "faces.csv"
    found = read_rows(Row, path)
    for key in tqdm([key for key in planned() if key not in {r.key for r in found}], unit="row"):
        found.append(faces.measure(key))
        write_csv([asdict(row) for row in found], path)
    table = face_table(found)
    sources = markdown([source.row() for source in SOURCES])
    text = f"{HEAD}\n\n{table}\n\n{sources}\n"
    (args.output / "faces.md").write_text(text, encoding="utf-8")
    names = {key: f"{key[0]}, {key[1]} {key[2]}".rstrip(", ") for key in planned()}
    rows = [GridRow("references", "", faces.references[:SHOWN])]
    rows += [GridRow(names[key], "", faces.sample(key, SHOWN)) for key in planned()]
    draw_grid([""] * SHOWN, rows).save(args.output / "faces.png")
    sys.stdout.write(table + "\n")


HEAD = """# Faces

A diffusion model and guiders that nobody here made: a blind denoiser of grey faces, in ComfyUI,
guided by mediapipe's networks without any training, at strength 1. Each face is asked to be like a
reference, a face of another seed: by its mask, by its points, or by the reference averaged down to
10 x 10. All rows are measured in all three ways, so a column is judged by another network in the
rows that ask for something else. *Noise left*: what the denoiser still takes for noise, in levels
of 255. Means and standard errors of 48 faces. Made by `python -m evidence.faces --networks FOLDER`.

![References, faces without guidance, and guided ones](faces.png)"""


if __name__ == "__main__":
    main()
