"""The pieces of work behind a table: lessons and rows, each of which one process can do alone.

A finished lesson is a file of experts, a finished row a line of a CSV file (see
`evidence.benchmark.rows`). Both are kept, so a benchmark that was stopped continues where it was.
"""

from dataclasses import dataclass

import torch

from demo.scenes import Scenes
from evidence.benchmark.budgets import Budget
from evidence.benchmark.files import conditional_file, experts_file
from evidence.benchmark.methods import Method, Teaching
from evidence.benchmark.rows import Key
from evidence.benchmark.world import World

REPORTED, TUNED = slice(0, 3000), slice(3000, 4000)  # of the held-out scenes
FIRST_SEED = {"report": 1_000_000, "tuning": 0}  # of noise; each training seed has its own
MAPS = ("depth", "segmentation")


@dataclass(frozen=True)
class Lesson:
    """Experts that are to be taught."""

    guider: str
    teaching: Teaching
    seed: int

    def is_done(self, budget: Budget) -> bool:
        return experts_file(self.guider, self.teaching, budget, self.seed).exists()

    def __str__(self) -> str:
        return f"taught {self.guider}, {self.teaching.num_experts} experts, seed {self.seed}"

    def run(self, world: World) -> None:
        world.teach(self.guider, self.teaching, self.seed)


@dataclass(frozen=True)
class ConditionalLesson:
    """The class-conditional model that is to be trained."""

    def is_done(self, budget: Budget) -> bool:
        return conditional_file(budget).exists()

    def run(self, world: World) -> None:
        world.teach_conditional()


@dataclass(frozen=True)
class Row:
    """A line of a table that is still to be measured."""

    table: str
    key: Key
    method: Method

    def __str__(self) -> str:
        return f"{self.table}: {self.key.guider}, {self.key.method}, {self.key.scale:g}"

    def run(self, world: World) -> dict:
        ways = {"noisy": self._run_noisy, "latent": self._run_latent}
        return ways.get(self.table, self._run_pixels)(world)

    def _run_pixels(self, world: World) -> dict:
        key = self.key
        task = self.table if self.table in MAPS else "class"
        scenes = asked_scenes(world.heldout, key.n, key.noise)

        def model_for(rows):
            return world.guided(
                task, key.guider, self.method, key.scale, key.training_seed, scenes[rows]
            )

        pictures = world.sample(model_for, key.sampler, key.n, self._first_seed())
        return world.measure(task, key.guider, pictures, scenes)

    def _first_seed(self) -> int:
        return FIRST_SEED[self.key.noise] + 10_000_000 * self.key.training_seed

    def _experts(self, world: World):
        return world.taught(self.key.guider, self.method.teaching, self.key.training_seed)

    def _run_latent(self, world: World) -> dict:
        return world.latents.row(
            self.method,
            scale=self.key.scale,
            experts=self._experts(world),
            first_seed=self._first_seed(),
            num=self.key.n,
        )

    def _run_noisy(self, world: World) -> dict:
        """How often the guider recognises noisy scenes; nothing is sampled."""
        experts = self._experts(world)
        timestep = self.key.scale
        return {"value": world.noisy_accuracy(self.key.guider, experts, timestep, self.key.n)}


def asked_scenes(heldout: Scenes, num: int, noise: str) -> Scenes:
    """The scenes to ask for, one for each picture; they begin again where they run out."""
    part = REPORTED if noise == "report" else TUNED
    return heldout[part.start + torch.arange(num) % (part.stop - part.start)]


Piece = Lesson | ConditionalLesson | Row
