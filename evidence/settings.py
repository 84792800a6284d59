"""What guidance comes to under other settings than one guider, one strength, every step.

`python -m evidence.settings` asks for held-out real scenes (their class, depth and segments) and
measures, by judges that guided nothing: several guiders together; a part of the schedule; averaged,
limited and rarer gradients. Writes docs/evidence/together.* and shaping.*.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from demo.measures import FILES, MEASURES, build_target, measure
from demo.paths import EVIDENCE, HELDOUT_SCENES, PIXEL_MODEL
from demo.run import GUIDANCE_SCALE, SAMPLER, SCHEDULER, SIZE, STEPS
from demo.scene_files import load_or_render
from demo.scenes import Scenes
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.shaping import NO_SHAPING, Shaping
from ppap_core.strength import Strength


@dataclass(frozen=True)
class Setting:
    """`tasks`: the guiders in the order of the nodes; `strength`, `shaping`: what differs."""

    name: str
    tasks: tuple[str, ...] = ()
    has_experts: bool = True
    strength: dict = field(default_factory=dict)
    shaping: Shaping = NO_SHAPING


BOTH = ("class", "depth")
TOGETHER = (
    Setting("no guidance"),
    Setting("class", ("class",)),
    Setting("depth", ("depth",)),
    Setting("class + depth, guiders alone", BOTH, has_experts=False),
    Setting("class + depth", BOTH),
    Setting("class, depth gives way", BOTH, shaping=Shaping(gives_way=True)),
    Setting("depth, class gives way", BOTH[::-1], shaping=Shaping(gives_way=True)),
    Setting("class + depth + segmentation", (*BOTH, "segmentation")),
)
SHAPES_OF_GUIDANCE = {
    "every step": {},
    "first half of the schedule": {"end_percent": 0.5},
    "first 80 %": {"end_percent": 0.8},
    "last 90 %": {"start_percent": 0.1},
    "last 80 %": {"start_percent": 0.2},
    "last 60 %": {"start_percent": 0.4},
    "10 % to 80 %": {"start_percent": 0.1, "end_percent": 0.8},
    "every 2nd step": {"every": 2},
    "every 2nd step, twice the scale": {"every": 2, "guidance_scale": 2 * GUIDANCE_SCALE},
    "momentum 0.5": {"momentum": 0.5},
    "momentum 0.8": {"momentum": 0.8},
    "Adam 0.3, 0.5": {"momentum": 0.3, "second_moment": 0.5},
    "Adam 0, 0.8": {"second_moment": 0.8},
    "raw 10": {"rule": "raw", "guidance_scale": 10.0},
    "raw 30": {"rule": "raw", "guidance_scale": 30.0},
    "raw 30, no more than 0.2 of the noise": {
        **{"rule": "raw", "guidance_scale": 30.0},
        "max_norm": 0.2,
    },
}


def shaped(task: str) -> list[Setting]:
    """The settings of SHAPES_OF_GUIDANCE for one guider."""
    of_strength = ("rule", "guidance_scale", "start_percent", "end_percent")
    return [
        Setting(
            name,
            (task,),
            strength={k: v for k, v in values.items() if k in of_strength},
            shaping=Shaping(**{k: v for k, v in values.items() if k not in of_strength}),
        )
        for name, values in SHAPES_OF_GUIDANCE.items()
    ]


def load_guiders() -> dict:
    """Task -> LoadedGuider with its experts."""
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider
    from ppap_core.expert_file import load_experts
    from ppap_core.guiders import load_guider

    return {
        task: LoadedGuider.of(load_guider(folder)).with_experts(load_experts(file))
        for task, (folder, file) in FILES.items()
    }


def sample_setting(model, guiders: dict, setting: Setting, scenes: Scenes, seed: int) -> Tensor:
    from ppap_core.comfy_bridge.guide import guide
    from ppap_core.comfy_bridge.sampling import sample_pixels

    for task in setting.tasks:
        guider = guiders[task] if setting.has_experts else guiders[task].without_experts()
        values = {"guidance_scale": GUIDANCE_SCALE, "rule": "relative"} | setting.strength
        target = build_target(task, scenes)
        model = guide(model, guider, target, Strength(**values), shaping=setting.shaping)
    seeds = list(range(seed, seed + len(scenes)))
    return sample_pixels(model, seeds, STEPS, SAMPLER, SCHEDULER, SIZE, SIZE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100, help="per setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=EVIDENCE)
    args = parser.parse_args()
    boot()
    from ppap_core.comfy_bridge.pixel_model import load_pixel_model

    heldout = load_or_render(HELDOUT_SCENES, 6_000, seed=1)
    scenes = heldout[: args.pictures]
    model, guiders = load_pixel_model(PIXEL_MODEL), load_guiders()
    bar = tqdm(total=len(TOGETHER) + len(FILES) * len(SHAPES_OF_GUIDANCE), unit="row")

    def sample(setting: Setting) -> tuple[Tensor, float]:
        start = time.perf_counter()
        pictures = sample_setting(model, guiders, setting, scenes, args.seed)
        bar.update()
        return pictures, (time.perf_counter() - start) / len(scenes)

    args.output.mkdir(parents=True, exist_ok=True)
    together, drawn = [], []
    for setting in TOGETHER:
        pictures, seconds = sample(setting)
        values = {MEASURES[task]: measure(task, pictures, scenes) for task in FILES}
        row = {"guidance": setting.name, **values, "s / picture": seconds}
        together.append(row)
        shown = f"{values['accuracy']:.0%}, RMSE {values['aligned RMSE']:.3f}"
        drawn.append(GridRow(setting.name, shown, pictures[:8]))
    drawn.insert(0, GridRow("the scene", "asked for", scenes.image[:8].float() / 127.5 - 1))
    draw_grid([""] * 8, drawn).save(args.output / "together.png")
    tables = [write_table(together, args.output / "together")]
    found = {task: [measure(task, sample(s)[0], scenes) for s in shaped(task)] for task in FILES}
    shaping = [
        {"guidance": name, **{MEASURES[task]: found[task][index] for task in FILES}}
        for index, name in enumerate(SHAPES_OF_GUIDANCE)
    ]
    tables.append(write_table(shaping, args.output / "shaping"))
    sys.stdout.write("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
