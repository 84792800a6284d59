"""What could be done with the gradients besides, each change alone, everything else at its default.

`python -m evidence.shaping` asks for the class, depth or segments of held-out scenes with experts:
in a part of the schedule; at every second step; with moments; with time travel, which goes back a
step in noise and repeats it; with answers to noisy copies. Judges, which guide nothing, measure the
pictures. Writes docs/evidence/shaping.*; rows that shaping.csv has are not measured again.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from demo.judges import load_judge
from demo.measures import FILES, MEASURES, build_target, measure
from demo.paths import JUDGE
from demo.sampling import SCHEDULER, SIZE, STEPS, guide_model, load_guiding, load_model
from demo.scene_files import load_heldout_scenes
from demo.scenes import Scenes
from evidence.flags import build_parser
from evidence.quality import REAL, measure_quality
from evidence.tables import read_table, write_table
from ppap_core.comfy_bridge.headless import boot


@dataclass(frozen=True)
class Shape:
    """`changes`: to Strength and Shaping. `repeats`: of each step. `copies`: noise on each of two
    that the guider answers to.
    """

    changes: dict = field(default_factory=dict)
    steps: int = STEPS
    repeats: int = 0
    copies: float = 0.0


SHAPES = {
    "the default": Shape(),
    "first 80 %": Shape({"end_percent": 0.8}),
    "time travel, one step": Shape(repeats=1),
    "twice as many steps": Shape(steps=2 * STEPS),
    "two noisy copies, 0.05": Shape(copies=0.05),
    "two noisy copies, 0.2": Shape(copies=0.2),
    "momentum 0.8": Shape({"momentum": 0.8}),
    "Adam 0, 0.8": Shape({"second_moment": 0.8}),
    "last 80 %": Shape({"start_percent": 0.2}),
    "last 60 %": Shape({"start_percent": 0.4}),
    "every 2nd step, twice the strength": Shape({"every": 2, "strength": 2.0}),
    "time travel, two steps": Shape(repeats=2),
    "momentum 0.5": Shape({"momentum": 0.5}),
    "Adam 0.3, 0.5": Shape({"momentum": 0.3, "second_moment": 0.5}),
    "every 2nd step": Shape({"every": 2}),
}


def travel(repeats: int) -> Callable:
    """DDIM as a sampler of ComfyUI, whose steps are repeated from fresh noise (FreeDoM, 2023)."""

    @torch.no_grad()
    def step_by_step(model, x, sigmas, extra_args=None, callback=None, disable=None):
        generator = torch.Generator().manual_seed(0)
        for here, there in pairwise(sigmas):
            for left in range(repeats, -1, -1):
                denoised = model(x, here.expand(len(x)), **(extra_args or {}))
                reached = denoised + (x - denoised) * (there / here)
                noise = torch.randn(x.shape, generator=generator).to(x)
                x = reached + (here**2 - there**2).sqrt() * noise if left and there > 0 else reached
        return x

    return step_by_step


@contextmanager
def noisy_copies(guider, sigma: float) -> Iterator[None]:
    """Inside, `guider` (a Guider) answers to two noisy copies of each picture, with their mean."""
    generator = torch.Generator().manual_seed(0)

    def twice(_, args: tuple[Tensor]) -> Tensor:
        (image,) = args
        noise = torch.randn((2 * len(image), *image.shape[1:]), generator=generator)
        return torch.cat([image, image]) + sigma * noise.to(image)

    def mean(_, args: tuple, answer: Tensor) -> Tensor:
        return torch.stack(answer.chunk(2)).mean(dim=0)

    hooks = guider.register_forward_pre_hook(twice), guider.register_forward_hook(mean)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Sampler:
    """Samples every shape for the same scenes, from the same noise."""

    def __init__(self, scenes: Scenes, first_seed: int):
        self.scenes, self.judge = scenes, load_judge(JUDGE)
        self.seeds = range(first_seed, first_seed + len(scenes))
        self.model, self.guiders = load_model(), {task: load_guiding(task) for task in FILES}
        self.real = load_heldout_scenes().pictures(REAL)

    def row(self, task: str, shape: Shape) -> dict:
        pictures = self._pictures(task, shape)
        kid = measure_quality(self.judge, pictures, self.real).kid
        return {MEASURES[task]: measure(task, pictures, self.scenes), f"KID, {task}": kid}

    def _pictures(self, task: str, shape: Shape) -> Tensor:
        """(N, 3, 32, 32) in [-1, 1], one for each scene."""
        import comfy.sample
        import comfy.samplers

        from ppap_core.comfy_bridge.pixel_model import empty_conditioning

        guider, target = self.guiders[task], build_target(task, self.scenes)
        model = guide_model(self.model, guider, target, **shape.changes)
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, shape.steps)
        empty, nothing = torch.zeros(1, 3, SIZE, SIZE), empty_conditioning()
        noise = torch.cat([comfy.sample.prepare_noise(empty, seed) for seed in self.seeds])
        asked = noisy_copies(guider.guider, shape.copies) if shape.copies else nullcontext()
        how = {"cfg": 1.0, "sampler": comfy.samplers.KSAMPLER(travel(shape.repeats))}
        how |= {"sigmas": sigmas, "positive": nothing, "negative": nothing, "disable_pbar": True}
        with asked:
            latents = torch.zeros_like(noise)
            return comfy.sample.sample_custom(
                model, noise, latent_image=latents, seed=self.seeds[0], **how
            ).clamp(-1, 1)


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="setting")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    boot()
    path = args.output / "shaping"
    sampler = Sampler(load_heldout_scenes()[: args.pictures], args.seed)
    rows = {row["guidance"]: row for row in read_table(path.with_suffix(".csv"), ["guidance"])}
    for name, shape in SHAPES.items():
        if name in rows:
            continue
        rows[name] = {"guidance": name}
        for task in FILES:
            rows[name] |= sampler.row(task, shape)
        table = write_table(list(rows.values()), path)
        sys.stdout.write(table.splitlines()[-1] + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
