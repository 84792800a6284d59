"""What a table is made of: lessons and rows, each of which a process can do by itself.

A finished row is a line of a CSV file, a finished lesson a file of experts; both are kept, so a
stopped benchmark goes on where it was.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from demo.scenes import Scenes
from evidence.benchmark.budgets import Budget
from evidence.benchmark.methods import (
    CLASS_METHODS,
    LATENT_METHODS,
    MAP_METHODS,
    NO_GUIDANCE,
    SIZES,
    Method,
    Teaching,
    ablations,
    class_methods,
)
from evidence.benchmark.world import World, conditional_file, experts_file
from evidence.quality import Quality

REPORTED, TUNED = slice(0, 3000), slice(3000, 4000)  # of the held-out scenes
FIRST_SEED = {"report": 1_000_000, "tuning": 0}  # of noise; each training seed has its own
DECILES = range(50, 1000, 100)  # timesteps, in the middle of each
QUALITY = Quality._fields
MEASURED = {
    "noisy": ("value",),
    "class": ("value", "self", *QUALITY),
    "depth": ("value", *QUALITY),
    "segmentation": ("value", *QUALITY),
    "ablations": ("value", "self", *QUALITY),
    "latent": ("value", "self", *QUALITY),
}
MAPS = ("depth", "segmentation")
ERRORS = ("depth",)  # tables whose value is better if it is smaller


@dataclass(frozen=True)
class Lesson:
    """Experts to be taught."""

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
    """The class-conditional model, to be trained."""

    def is_done(self, budget: Budget) -> bool:
        return conditional_file(budget).exists()

    def run(self, world: World) -> None:
        world.teach_conditional()


@dataclass(frozen=True)
class Key:
    """What a row is about. `scale`: of the rule "relative"; in the table "noisy" a timestep.

    `noise`: "report", or "tuning" for rows that only choose a scale. `n`: pictures.
    """

    budget: str
    guider: str
    method: str
    sampler: str
    scale: float
    training_seed: int
    noise: str
    n: int


@dataclass(frozen=True)
class Row:
    """A line of a table that is still to be measured."""

    table: str
    key: Key
    method: Method

    def __str__(self) -> str:
        return f"{self.table}: {self.key.guider}, {self.key.method}, {self.key.scale:g}"

    def run(self, world: World) -> dict:
        ways = {"noisy": self._read, "latent": self._draw_latent}
        return ways.get(self.table, self._draw)(world)

    def _draw(self, world: World) -> dict:
        key = self.key
        task = self.table if self.table in MAPS else "class"
        scenes = asked_scenes(world.heldout, key.n, key.noise)

        def model_for(rows):
            asked = (self.method, key.scale, key.training_seed, scenes[rows])
            return world.guided(task, key.guider, *asked)

        pictures = world.draw(model_for, key.sampler, key.n, self._first_seed())
        return world.measure(task, key.guider, pictures, scenes)

    def _first_seed(self) -> int:
        return FIRST_SEED[self.key.noise] + 10_000_000 * self.key.training_seed

    def _experts(self, world: World):
        teaching, key = self.method.teaching, self.key
        return teaching and world.taught(key.guider, teaching, key.training_seed)

    def _draw_latent(self, world: World) -> dict:
        asked = (self.key.scale, self._experts(world), self._first_seed(), self.key.n)
        return world.latents.row(self.method, *asked)

    def _read(self, world: World) -> dict:
        """How often the guider is right about noisy scenes, without any sampling."""
        asked = (self._experts(world), self.key.scale, self.key.n)
        return {"value": world.noisy_accuracy(self.key.guider, *asked)}


def asked_scenes(heldout: Scenes, num: int, noise: str) -> Scenes:
    """What is asked for, one scene for each picture; again from the first where they run out."""
    part = REPORTED if noise == "report" else TUNED
    return heldout[part.start + torch.arange(num) % (part.stop - part.start)]


Piece = Lesson | ConditionalLesson | Row


class Tables:
    """The rows found so far, in a CSV file for each table.

    A row is known by its key: who changes what a budget or a method means deletes its rows.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows: dict[str, dict[Key, dict]] = {table: {} for table in MEASURED}
        for table, rows in self.rows.items():
            if self._file(table).exists():
                with self._file(table).open(newline="", encoding="utf-8") as file:
                    rows.update(_parse(line) for line in csv.DictReader(file))

    def _file(self, table: str) -> Path:
        return self.folder / f"{table}.csv"

    def add(self, table: str, key: Key, found: dict) -> None:
        self.rows[table][key] = found
        is_new = not self._file(table).exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file(table).open("a", newline="", encoding="utf-8") as file:
            values = asdict(key) | {name: f"{found[name]:.5g}" for name in MEASURED[table]}
            writer = csv.DictWriter(file, list(values))
            if is_new:
                writer.writeheader()
            writer.writerow(values)

    def find(self, table: str, **wanted) -> dict[Key, dict]:
        """Rows whose key has these values."""
        return {
            key: found
            for key, found in self.rows[table].items()
            if all(getattr(key, name) == value for name, value in wanted.items())
        }


def _parse(line: dict) -> tuple[Key, dict]:
    kinds = Key.__annotations__
    key = Key(**{name: kinds[name](line.pop(name)) for name in kinds})
    return key, {name: float(value) for name, value in line.items()}


class Plan:
    """What is still to be done, most important first."""

    def __init__(self, name: str, budget: Budget, tables: Tables):
        self.name, self.budget, self.tables = name, budget, tables

    def __iter__(self) -> Iterator[Piece]:
        first = self.budget.first_seed
        seeds = range(first, first + self.budget.training_seeds)
        for guider in self.budget.guiders:
            yield from self._class_rows(guider, first, CLASS_METHODS)
        for guider in self.budget.guiders:
            for seed in seeds[1:] if guider not in SIZES else ():
                yield from self._class_rows(guider, seed, [m for m in CLASS_METHODS if m.teaching])
            if guider == self.budget.guiders[0]:
                yield from self._ablations()
                yield from self._maps()
                yield from self._latent(first)
            yield from self._class_rows(guider, first, CLASS_METHODS, "DDPM-250")
        for seed in seeds[1:]:
            yield from self._latent(seed)

    def _class_rows(
        self, guider: str, seed: int, methods: Sequence[Method], sampler: str = "DDIM-25"
    ) -> Iterator[Piece]:
        chosen = self.budget.methods
        for method in class_methods(guider):
            if method in methods and (not chosen or method.name in chosen):
                yield from self._rows("class", guider, method, seed, sampler)

    def _maps(self) -> Iterator[Piece]:
        for task in MAPS:
            if task in self.budget.tables:
                for method in MAP_METHODS:
                    yield from self._rows(task, task, method, self.budget.first_seed, "DDIM-25")

    def _latent(self, seed: int) -> Iterator[Piece]:
        if "latent" in self.budget.tables:
            for method in LATENT_METHODS:
                if method.teaching or seed == self.budget.first_seed:
                    yield from self._rows("latent", "resnet", method, seed, "Euler-25")

    def _ablations(self) -> Iterator[Piece]:
        if "ablations" not in self.budget.tables:
            return
        guider, seed = self.budget.guiders[0], self.budget.first_seed
        for method in ablations():
            missing = list(self._lesson(guider, method, seed))
            yield from missing
            for scale in self.budget.scales[1:3] if not missing else ():
                n = self.budget.pictures
                yield from self._row("ablations", guider, method, "DDIM-25", scale, seed, n)

    def _lesson(self, guider: str, method: Method, seed: int) -> Iterator[Piece]:
        lesson = None
        if method.cfg:
            lesson = ConditionalLesson()
        elif method.teaching:
            lesson = Lesson(guider, method.teaching, seed)
        if lesson and not lesson.is_done(self.budget):
            yield lesson

    def _rows(
        self, table: str, guider: str, method: Method, seed: int, sampler: str
    ) -> Iterator[Piece]:
        """The lesson; then the rows that choose the scale; then the one that is reported."""
        missing = list(self._lesson(guider, method, seed))
        if missing:
            yield from missing
            return
        if table == "class" and sampler == "DDIM-25" and "noisy" in self.budget.tables:
            yield from self._noisy(guider, method, seed)
        fast = "DDIM-25" if sampler == "DDPM-250" else sampler
        tuning = [] if method is NO_GUIDANCE else list(self._tuning(table, guider, method, fast))
        yield from tuning
        if tuning:
            return
        n = self.budget.pictures if sampler == fast else self.budget.slow_pictures
        if n:
            scale = self.best_scale(table, guider, method)
            yield from self._row(table, guider, method, sampler, scale, seed, n)

    def _noisy(self, guider: str, method: Method, seed: int) -> Iterator[Row]:
        if method.input == "x_t":
            for timestep in DECILES:
                level = ("noisy renders", float(timestep))
                yield from self._row("noisy", guider, method, *level, seed, 1000)

    def _tuning(self, table: str, guider: str, method: Method, sampler: str) -> Iterator[Row]:
        """With the first training seed and sampler; the others take the same scale."""
        if not self.budget.tuning:
            return
        for scale in method.cfg or self.budget.scales:
            settings = (sampler, scale, self.budget.first_seed, self.budget.tuning)
            yield from self._row(table, guider, method, *settings, noise="tuning")

    def _row(
        self,
        table: str,
        guider: str,
        method: Method,
        sampler: str,
        scale: float,
        seed: int,
        n: int,
        noise: str = "report",
    ) -> Iterator[Row]:
        key = Key(self.name, guider, method.name, sampler, scale, seed, noise, n)
        if key not in self.tables.rows[table]:
            yield Row(table, key, method)

    def best_scale(self, table: str, guider: str, method: Method) -> float:
        """By the tuning rows. For classes the smallest scale that comes within the best one's
        standard error (of n + 4 pictures, 2 more of them right: Agresti & Coull, 1998), for beyond
        it a picture only loses quality; for maps the best.
        """
        if method is NO_GUIDANCE:
            return 0.0
        found = self.tables.find(
            *(table,),
            **{"budget": self.name, "guider": guider, "method": method.name},
            **{"noise": "tuning", "n": self.budget.tuning},
        )
        if not found:
            return self.budget.scales[0]
        values = {key.scale: row["value"] for key, row in found.items()}
        if table in MAPS:
            return (min if table in ERRORS else max)(sorted(values), key=values.get)
        n, best = self.budget.tuning + 4, max(values.values())
        about = (best * self.budget.tuning + 2) / n
        allowed = best - (about * (1 - about) / n) ** 0.5
        return min(scale for scale, value in values.items() if value >= allowed)
