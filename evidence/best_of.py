"""Best of several: particles that a guider selects, without gradients and with them.

`python -m evidence.best_of` asks for the class and for the depth of held-out scenes, and for a
number of objects on a wider canvas. Judges, which guide nothing, measure how close
the pictures come and how good they are; *evaluations* counts those of the diffusion model for one
picture. Writes docs/evidence/best_of.csv and .md. Rows that
best_of.csv has are kept, so a run that was stopped continues.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from demo.judges import load_judge
from demo.measures import MEASURES, build_target, judge_answer, measure
from demo.paths import JUDGE
from demo.sampling import SAMPLER, SCHEDULER, SIZE, guide_model, load_guiding, load_model
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from demo.shading import OBJECT, SEGMENTS
from evidence.flags import build_parser
from evidence.quality import REAL, measure_quality
from evidence.strength import BATCH, sample_in_parts
from evidence.tables import markdown, read_rows, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.particles import Particles
from ppap_core.targets import Target
from ppap_core.targets.count_target import RegionCountTarget

COUNT, NUMBER, WIDTH = "count", 2, 48  # the base model was trained on one object, 32 x 32
TASKS = ("class", "depth", COUNT)
NAMES = MEASURES | {COUNT: f"exactly {NUMBER} objects"}
GUIDERS = {COUNT: "segmentation"}
STEPS = 25


@dataclass(frozen=True)
class Method:
    """`strength`: of guidance by gradients, 0 for none."""

    particles: Particles | None = None
    strength: float = 0.0
    has_experts: bool = True
    steps: int = STEPS

    @property
    def num(self) -> int:
        """Pictures in flight for each that is wanted."""
        return self.particles.num if self.particles else 1


METHODS = {
    "no guidance": Method(),
    "best of 4 at the end": Method(Particles(4, strictness=0.0)),
    "4 particles, every 2 steps": Method(Particles(4, 2)),
    "4 particles, every step": Method(Particles(4, 1)),
    "4 particles, every step, strictness 2": Method(Particles(4, 1, 2.0)),
    "4 particles, every step, guider alone": Method(Particles(4, 1), has_experts=False),
    "gradients": Method(strength=1.0),
    "gradients, 100 steps": Method(strength=1.0, steps=4 * STEPS),
    "gradients, best of 4 at the end": Method(Particles(4, strictness=0.0), strength=1.0),
    "gradients and 4 particles, every step": Method(Particles(4, 1), strength=1.0),
}


@dataclass(frozen=True)
class Measurement:
    """`value`: of NAMES, by a judge. `evaluations`: of the diffusion model, for one picture.

    `fid`, `kid`: NaN of counts, since no held-out scene is as wide.
    """

    task: str
    method: str
    evaluations: int
    value: float
    fid: float
    kid: float
    n: int

    @property
    def key(self) -> tuple[str, str]:
        return self.task, self.method


class Pictures:
    """Samples every method for the same scenes; one particle starts from the same noise in all."""

    def __init__(self, scenes: Scenes, seed: int):
        self.scenes, self.seed = scenes, seed
        self.model, self.judge = load_model(), load_judge(JUDGE)
        self.guiders = {task: load_guiding(GUIDERS.get(task, task)) for task in TASKS}
        self.real = load_heldout_scenes().pictures(REAL)

    def measure(self, task: str, name: str) -> Measurement:
        method, num = METHODS[name], len(self.scenes)
        pictures = sample_in_parts(lambda rows: self._part(task, method, rows), num)
        each = method.steps * method.num
        if task == COUNT:
            value = counting_target().agreement(judge_answer(pictures).logits).mean().item()
            return Measurement(task, name, each, round(value, 4), math.nan, math.nan, num)
        quality = measure_quality(self.judge, pictures, self.real)
        value = round(measure(task, pictures, self.scenes), 4)
        return Measurement(task, name, each, value, round(quality.fid, 3), quality.kid, num)

    def _part(self, task: str, method: Method, rows: slice) -> list[Tensor]:
        from ppap_core.comfy_bridge.guide import choose_best
        from ppap_core.comfy_bridge.sampling import sample_pixels

        model, guider = self.model, self.guiders[task]
        if not method.has_experts:
            guider = guider.without_experts()
        pictures: list[Tensor] = []
        for part in torch.arange(rows.start, rows.stop).split(max(1, BATCH // method.num)):
            guided = model
            if method.strength:  # gradients see all particles, in the order of their rows
                of_each = self._target(task, part.repeat(method.num))
                guided = guide_model(model, guider, of_each, method.strength)
            if method.particles:
                target = self._target(task, part)
                guided = choose_best(guided, guider, target, method.particles)
            seeds = (self.seed + part).tolist()
            width = WIDTH if task == COUNT else SIZE
            settings = method.steps, SAMPLER, SCHEDULER, width, SIZE
            pictures += sample_pixels(guided, seeds, *settings)
        return pictures

    def _target(self, task: str, rows: Tensor) -> Target:
        return counting_target() if task == COUNT else build_target(task, self.scenes[rows])


def counting_target() -> RegionCountTarget:
    return RegionCountTarget(OBJECT, NUMBER, len(SEGMENTS))


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="task and method")
    parser.add_argument("--seed", type=int, default=3_000_000)
    args = parser.parse_args()
    boot()
    path = args.output / "best_of.csv"
    found = read_rows(Measurement, path)
    pictures = Pictures(load_heldout_scenes()[: args.pictures], args.seed)
    for key in tqdm([key for key in planned() if key not in {m.key for m in found}], unit="row"):
        found.append(pictures.measure(*key))
        write_csv([asdict(m) for m in found], path)
    text = table(found)
    (args.output / "best_of.md").write_text(f"{HEAD}\n\n{text}\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def planned() -> Iterator[tuple[str, str]]:
    """A count has no gradient."""
    for task in TASKS:
        names = (name for name, method in METHODS.items() if task != COUNT or not method.strength)
        yield from ((task, name) for name in names)


def table(found: list[Measurement]) -> str:
    """Markdown: a line per method."""
    by_key, lines = {m.key: m for m in found}, []
    for name in METHODS:
        line = {"method": name}
        for task in TASKS:
            if m := by_key.get((task, name)):
                value = f"{m.value:.3f}" if task == "depth" else f"{m.value:.0%}"
                line["evaluations"] = str(m.evaluations)
                if task == COUNT:
                    line[f"{task}: {NAMES[task]}"] = value
                else:
                    line[f"{task}: {NAMES[task]} / KID"] = f"{value} / {m.kid:.1f}"
        lines.append(line)
    return markdown(lines)


HEAD = """# Best of several

Particles (PPAP Best of Several) beside gradients, with the experts unless said otherwise, the rest
at its default. A cell has the value, by a judge, and KID (times 1000). *Evaluations* are those of
the diffusion model for one picture. Objects are regions that do not touch, on pictures of 48 x 32,
counted by the segmentation guider and, for the table, by a judge; a count has no gradient, so only
particles can ask for one. Made by `python -m evidence.best_of`."""


if __name__ == "__main__":
    main()
