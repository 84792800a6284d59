"""Several guiders at once, everything else at its default.

`python -m evidence.together` asks for the class, the depth, or both, of held-out scenes. Judges,
which guide nothing, measure the pictures. Writes docs/evidence/together.*.
"""

import sys
import time
from dataclasses import dataclass

from demo.judges import load_judge
from demo.measures import FILES, MEASURES, build_target, measure
from demo.paths import JUDGE
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from evidence.flags import build_parser
from evidence.quality import REAL, measure_quality
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid


@dataclass(frozen=True)
class Setting:
    """`tasks`: of the guiders, in the order of the nodes."""

    name: str
    tasks: tuple[str, ...] = ()
    has_experts: bool = True
    gives_way: bool = False


BOTH = ("class", "depth")
SETTINGS = (
    Setting("no guidance"),
    Setting("class", ("class",)),
    Setting("depth", ("depth",)),
    Setting("class + depth, guiders alone", BOTH, has_experts=False),
    Setting("class + depth", BOTH),
    Setting("class, depth gives way", BOTH, gives_way=True),
    Setting("depth, class gives way", BOTH[::-1], gives_way=True),
    Setting("class + depth + segmentation", (*BOTH, "segmentation")),
)


def measure_settings(scenes: Scenes, first_seed: int) -> tuple[list[dict], list[GridRow]]:
    """The table and its pictures; all rows start from the same noise."""
    seeds = list(range(first_seed, first_seed + len(scenes)))
    guiders, judge = {task: load_guiding(task) for task in FILES}, load_judge(JUDGE)
    real = load_heldout_scenes().pictures(REAL)
    rows, grid = [], [GridRow("the scene", "asked for", scenes[:8].pictures())]
    for setting in SETTINGS:
        model = load_model()
        for task in setting.tasks:
            guider = guiders[task] if setting.has_experts else guiders[task].without_experts()
            target = build_target(task, scenes)
            model = guide_model(model, guider, target, gives_way=setting.gives_way)
        start = time.perf_counter()
        pictures = sample(model, seeds)
        seconds = (time.perf_counter() - start) / len(scenes)
        values = {MEASURES[task]: measure(task, pictures, scenes) for task in FILES}
        kid = measure_quality(judge, pictures, real).kid
        rows.append({"guidance": setting.name} | values | {"KID": kid, "s / picture": seconds})
        note = f"{values['accuracy']:.0%}, RMSE {values['aligned RMSE']:.3f}"
        grid.append(GridRow(setting.name, note, pictures[:8]))
    return rows, grid


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="setting")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    boot()
    rows, grid = measure_settings(load_heldout_scenes()[: args.pictures], args.seed)
    draw_grid([""] * 8, grid).save(args.output / "together.png")
    sys.stdout.write(write_table(rows, args.output / "together") + "\n")


if __name__ == "__main__":
    main()
