"""Class guidance of the latent demo model: what the guider sees, and what that is worth.

`python -m evidence.views` measures, by a judge that guided nothing, how many pictures show the
class that was asked for and how near they are to real ones: without guidance, by the guider alone
and with experts, from the noisy latent (x_t) and from the model's estimate (x0_hat), through each
view and Jacobian. A method's scale is chosen on some seeds and its figures come from others. Writes
docs/evidence/views.csv, views.md and views.png.
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from demo.autoencoder import load_autoencoder
from demo.judges import load_judge
from demo.latent_experts import use_narrow_decoder
from demo.paths import AUTOENCODER, EVIDENCE, GUIDER, HELDOUT_SCENES, JUDGE, LATENT_EXPERTS
from demo.paths import LATENT_MODEL as MODEL
from demo.scene_files import load_or_render
from demo.shapes import SHAPES
from evidence.quality import for_judges, interval, measure_quality
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import Reading
from ppap_core.strength import Strength

SCALES = (0.05, 0.1, 0.2, 0.4)
STEPS, SAMPLER, SCHEDULER = 25, "euler", "simple"
SHAPE = (16, 8, 8)  # latents of pictures of 64 x 64
BATCH = 50


@dataclass(frozen=True)
class Method:
    """What guides: `reading` is the guider's; without one the model is unguided."""

    name: str
    reading: Reading | None = None
    jacobian: str = "none"
    has_experts: bool = False


METHODS = (
    Method("no guidance"),
    Method("guider alone", Reading("x_t", "linear_rgb")),
    Method("guider alone", Reading("x_t", "vae")),
    Method("guider alone", Reading("x0_hat", "linear_rgb")),
    Method("guider alone", Reading("x0_hat", "vae")),
    Method("guider alone", Reading("x0_hat", "vae"), "jvp"),
    Method("guider alone", Reading("x0_hat", "vae"), "backprop"),
    Method("PPAP experts", Reading("x_t", "linear_rgb"), has_experts=True),
    Method("PPAP experts", Reading("x_t", "vae"), has_experts=True),
    Method("PPAP experts", Reading("x0_hat", "vae"), has_experts=True),
    Method("PPAP experts", Reading("x0_hat", "vae"), "jvp", has_experts=True),
)


class World:
    """The models; pictures are made and measured here."""

    def __init__(self) -> None:
        from ppap_core.comfy_bridge.checkpoint import load_checkpoint
        from ppap_core.comfy_bridge.conditioning import zero_conditioning
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider
        from ppap_core.expert_file import load_experts
        from ppap_core.guiders import load_guider

        self.checkpoint = load_checkpoint(str(MODEL), str(AUTOENCODER))
        self.model = self.checkpoint.model
        self.prompt = zero_conditioning(self.model)
        self.guider = LoadedGuider.of(load_guider(GUIDER))
        self.experts = {
            reading: load_experts(file).for_guider(self.guider.guider)
            for reading, file in LATENT_EXPERTS.items()
            if file.exists()
        }
        self.autoencoder = load_autoencoder(AUTOENCODER)
        self.judge = load_judge(JUDGE)
        heldout = load_or_render(HELDOUT_SCENES, 6_000, seed=1)
        self.real = heldout.image[:2000].float() / 127.5 - 1

    def guided(self, method: Method, scale: float, classes: list[int], experts=None):
        """MODEL; one of `classes` for each picture of a batch.

        `experts`: None takes the demo's, for a method that has some.
        """
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.targets import ClassTarget

        if method.reading is None:
            return self.model
        if method.has_experts and experts is None:
            experts = self.experts[method.reading]
        return guide(
            self.model,
            replace(self.guider, experts=experts),
            ClassTarget([{label: 1.0} for label in classes], len(SHAPES)),
            Strength(scale, "relative"),
            reading=method.reading,
            jacobian=method.jacobian,
            vae=self.checkpoint.vae,
        )

    def latents(self, model, seeds: list[int], steps: int = STEPS) -> Tensor:
        from ppap_core.comfy_bridge.sampling import sample_seeds

        return sample_seeds(
            *(model, seeds, SHAPE, steps, 1.0, SAMPLER, SCHEDULER), self.prompt, self.prompt
        )

    @torch.no_grad()
    def pictures(
        self,
        method: Method,
        scale: float,
        first_seed: int,
        num: int,
        experts=None,
    ) -> Tensor:
        """(num, 3, 64, 64) in [-1, 1]; the classes take turns."""
        parts = []
        for start in range(0, num, BATCH):
            rows = range(start, min(start + BATCH, num))
            classes = [row % len(SHAPES) for row in rows]
            model = self.guided(method, scale, classes, experts)
            latents = self.latents(model, [first_seed + row for row in rows])
            space = self.model.get_model_object("latent_format")
            parts.append(self.autoencoder.decode(space.process_in(latents)))
        return torch.cat(parts).clamp(-1, 1)

    @torch.no_grad()
    def accuracy(self, pictures: Tensor) -> float:
        classes = torch.arange(len(pictures)) % len(SHAPES)
        return (self.judge(for_judges(pictures)).argmax(1) == classes).float().mean().item()

    def methods(self) -> list[Method]:
        """All but those whose experts are not here (`make demo-models` makes them)."""
        return [m for m in METHODS if not m.has_experts or m.reading in self.experts]

    def step_costs(self, repeats: int = 5) -> dict[Method, float]:
        """Time of a step as a ratio to an unguided one, as the nodes run it, a picture at a time.

        Methods take turns; the median counts.
        """
        models = {method: self.guided(method, 0.1, [0]) for method in self.methods()}
        seconds: dict[Method, list[float]] = {method: [] for method in models}
        for _ in range(repeats + 1):  # the first warms up
            for method, model in models.items():
                start = time.perf_counter()
                self.latents(model, [0], steps=5)
                seconds[method].append(time.perf_counter() - start)
        medians = {method: sorted(times[1:])[repeats // 2] for method, times in seconds.items()}
        return {method: median / medians[METHODS[0]] for method, median in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100, help="measured, for each method")
    parser.add_argument("--tuning", type=int, default=30, help="for each method and scale")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=EVIDENCE)
    args = parser.parse_args()
    boot()
    world = World()
    rows, drawn = [], []
    costs = world.step_costs()
    use_narrow_decoder(world.checkpoint.vae)  # as shipped it takes seven times as long
    bar = tqdm(total=len(world.methods()), unit="method")
    for method in world.methods():
        scale = 0.0
        if method.reading:
            make = partial(world.pictures, method, first_seed=args.seed, num=args.tuning)
            scale = max(SCALES, key=lambda scale: world.accuracy(make(scale=scale)))
        pictures = world.pictures(method, scale, args.seed + 1_000_000, args.pictures)
        accuracy = world.accuracy(pictures)
        low, high = interval([accuracy], args.pictures)
        quality = measure_quality(world.judge, for_judges(pictures), world.real)
        seen, view = (method.reading.input, method.reading.view) if method.reading else ("", "")
        jacobian = method.jacobian if seen == "x0_hat" else ""
        rows.append(
            {
                **{"guidance": method.name, "input": seen, "view": view, "jacobian": jacobian},
                **{"scale": scale, "accuracy": accuracy, "from": low, "to": high},
                **{"FID": quality.fid, "KID": quality.kid},
                "step, x unguided": costs[method],
            }
        )
        label = " ".join(filter(None, (method.name, seen, view, jacobian)))
        drawn.append(GridRow(label, f"{accuracy:.0%} as asked", pictures[: len(SHAPES)]))
        bar.update()
    bar.close()
    args.output.mkdir(parents=True, exist_ok=True)
    draw_grid(SHAPES, drawn).save(args.output / "views.png")
    sys.stdout.write(write_table(rows, args.output / "views") + "\n")


if __name__ == "__main__":
    main()
