"""Ablations of the guidance settings.

`python -m evidence.settings` asks for the class, depth or segments of held-out scenes: with several
guiders together; in a part of the schedule; with gradients that are averaged, limited or rarer.
Judges, which guide nothing, measure the pictures. Writes docs/evidence/together.* and shaping.*.
"""

import sys
import time
from dataclasses import dataclass, field

from torch import Tensor
from tqdm import tqdm

from demo.measures import FILES, MEASURES, build_target, measure
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from evidence.flags import build_parser
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import Reading


@dataclass(frozen=True)
class Setting:
    """`tasks`: of the guiders, in the order of the nodes. `changes`: to the defaults."""

    name: str
    tasks: tuple[str, ...] = ()
    has_experts: bool = True
    changes: dict = field(default_factory=dict)


BOTH = ("class", "depth")
TOGETHER = (
    Setting("no guidance"),
    Setting("class", ("class",)),
    Setting("depth", ("depth",)),
    Setting("class + depth, guiders alone", BOTH, has_experts=False),
    Setting("class + depth", BOTH),
    Setting("class, depth gives way", BOTH, changes={"gives_way": True}),
    Setting("depth, class gives way", BOTH[::-1], changes={"gives_way": True}),
    Setting("class + depth + segmentation", (*BOTH, "segmentation")),
)
RELATIVE = {"rule": "relative", "strength": 0.1, "spectrum": "plain"}
RAW_30 = {"rule": "raw", "strength": 30.0}
SHAPES_OF_GUIDANCE = {
    "every step": {},
    "first half of the schedule": {"end_percent": 0.5},
    "first 80 %": {"end_percent": 0.8},
    "last 90 %": {"start_percent": 0.1},
    "last 80 %": {"start_percent": 0.2},
    "last 60 %": {"start_percent": 0.4},
    "10 % to 80 %": {"start_percent": 0.1, "end_percent": 0.8},
    "every 2nd step": {"every": 2},
    "every 2nd step, twice the scale": {"every": 2, "strength": 0.2},
    "momentum 0.5": {"momentum": 0.5},
    "momentum 0.8": {"momentum": 0.8},
    "Adam 0.3, 0.5": {"momentum": 0.3, "second_moment": 0.5},
    "Adam 0, 0.8": {"second_moment": 0.8},
    "raw 10": {"rule": "raw", "strength": 10.0},
    "raw 30": RAW_30,
    "raw 30, no more than 0.2 of the noise": RAW_30 | {"max_norm": 0.2},
}


class Sampler:
    """Samples every setting for the same scenes, from the same noise."""

    def __init__(self, scenes: Scenes, first_seed: int) -> None:
        self.scenes = scenes
        self.seeds = list(range(first_seed, first_seed + len(scenes)))
        self.model, self.guiders = load_model(), {task: load_guiding(task) for task in FILES}
        self.bar = tqdm(total=len(TOGETHER) + len(FILES) * len(SHAPES_OF_GUIDANCE), unit="row")

    def sample(self, setting: Setting) -> Tensor:
        """Pictures (N, 3, 32, 32) in [-1, 1], one for each scene."""
        model = self.model
        for task in setting.tasks:
            guider, target = self.guiders[task], build_target(task, self.scenes)
            how = RELATIVE | setting.changes
            if not setting.has_experts:
                guider, how["reading"] = guider.without_experts(), Reading("x_t")
            model = guide_model(model, guider, target, **how)
        pictures = sample(model, self.seeds)
        self.bar.update()
        return pictures


def measure_together(sampler: Sampler) -> tuple[list[dict], list[GridRow]]:
    """The table of several guiders, and its pictures."""
    scenes = sampler.scenes
    rows, grid = [], [GridRow("the scene", "asked for", scenes[:8].pictures())]
    for setting in TOGETHER:
        start = time.perf_counter()
        pictures = sampler.sample(setting)
        seconds = (time.perf_counter() - start) / len(scenes)
        values = {MEASURES[task]: measure(task, pictures, scenes) for task in FILES}
        rows.append({"guidance": setting.name} | values | {"s / picture": seconds})
        note = f"{values['accuracy']:.0%}, RMSE {values['aligned RMSE']:.3f}"
        grid.append(GridRow(setting.name, note, pictures[:8]))
    return rows, grid


def measure_shaping(sampler: Sampler) -> list[dict]:
    """The table of SHAPES_OF_GUIDANCE, a column for each guider alone."""
    rows = {name: {"guidance": name} for name in SHAPES_OF_GUIDANCE}
    for task in FILES:
        for name, changes in SHAPES_OF_GUIDANCE.items():
            pictures = sampler.sample(Setting(name, (task,), changes=changes))
            rows[name][MEASURES[task]] = measure(task, pictures, sampler.scenes)
    return list(rows.values())


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="setting")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    boot()
    sampler = Sampler(load_heldout_scenes()[: args.pictures], args.seed)
    rows, grid = measure_together(sampler)
    together = write_table(rows, args.output / "together")
    draw_grid([""] * 8, grid).save(args.output / "together.png")
    shaping = write_table(measure_shaping(sampler), args.output / "shaping")
    sys.stdout.write(f"{together}\n\n{shaping}\n")


if __name__ == "__main__":
    main()
