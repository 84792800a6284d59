"""What is still to be done for the tables of a budget."""

from collections.abc import Iterator, Sequence

from evidence.benchmark import methods
from evidence.benchmark.budgets import Budget
from evidence.benchmark.methods import Method
from evidence.benchmark.pieces import MAPS, ConditionalLesson, Lesson, Piece, Row
from evidence.benchmark.rows import Key, Tables

DECILES = range(50, 1000, 100)  # timesteps, in the middle of each
ERRORS = ("depth",)  # tables whose value is better if it is smaller


class Plan:
    """Iterates over the pieces that are still to be done, the most important first."""

    def __init__(self, name: str, budget: Budget, tables: Tables):
        self.name, self.budget, self.tables = name, budget, tables

    def __iter__(self) -> Iterator[Piece]:
        first = self.budget.first_seed
        seeds = range(first, first + self.budget.training_seeds)
        for guider in self.budget.guiders:
            yield from self._class_rows(guider, first, methods.CLASS_METHODS)
        for guider in self.budget.guiders:
            for seed in seeds[1:] if guider not in methods.SIZES else ():
                yield from self._class_rows(
                    guider, seed, [m for m in methods.CLASS_METHODS if m.teaching]
                )
            if guider == self.budget.guiders[0]:
                yield from self._ablations()
                yield from self._maps()
                yield from self._latent(first)
            yield from self._class_rows(guider, first, methods.CLASS_METHODS, "DDPM-250")
        for seed in seeds[1:]:
            yield from self._latent(seed)

    def _class_rows(
        self, guider: str, seed: int, wanted: Sequence[Method], sampler: str = "DDIM-25"
    ) -> Iterator[Piece]:
        chosen = self.budget.methods
        for method in methods.class_methods(guider):
            if method in wanted and (not chosen or method.name in chosen):
                yield from self._rows("class", guider, method, seed, sampler)

    def _maps(self) -> Iterator[Piece]:
        for task in MAPS:
            if task in self.budget.tables:
                for method in methods.MAP_METHODS:
                    yield from self._rows(task, task, method, self.budget.first_seed, "DDIM-25")

    def _latent(self, seed: int) -> Iterator[Piece]:
        if "latent" in self.budget.tables:
            for method in methods.LATENT_METHODS:
                if method.teaching or seed == self.budget.first_seed:
                    yield from self._rows("latent", "resnet", method, seed, "Euler-25")

    def _ablations(self) -> Iterator[Piece]:
        if "ablations" not in self.budget.tables:
            return
        guider, seed = self.budget.guiders[0], self.budget.first_seed
        for method in methods.ablations():
            missing = list(self._lesson(guider, method, seed))
            yield from missing
            for scale in self.budget.scales[1:3] if not missing else ():
                key = self._key(guider, method, "DDIM-25", scale, seed, self.budget.pictures)
                yield from self._row("ablations", key, method)

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
        """The lesson; then the rows that choose the scale; then the row that is reported."""
        missing = list(self._lesson(guider, method, seed))
        if missing:
            yield from missing
            return
        if table == "class" and sampler == "DDIM-25" and "noisy" in self.budget.tables:
            yield from self._noisy(guider, method, seed)
        fast = "DDIM-25" if sampler == "DDPM-250" else sampler
        tuning = (
            [] if method is methods.NO_GUIDANCE else list(self._tuning(table, guider, method, fast))
        )
        yield from tuning
        if tuning:
            return
        n = self.budget.pictures if sampler == fast else self.budget.slow_pictures
        if n:
            scale = self.best_scale(table, guider, method)
            yield from self._row(table, self._key(guider, method, sampler, scale, seed, n), method)

    def _noisy(self, guider: str, method: Method, seed: int) -> Iterator[Row]:
        if method.input == "x_t":
            for timestep in DECILES:
                key = self._key(guider, method, "noisy renders", float(timestep), seed, 1000)
                yield from self._row("noisy", key, method)

    def _tuning(self, table: str, guider: str, method: Method, sampler: str) -> Iterator[Row]:
        """Rows of the first training seed; the other seeds and samplers take the same scale."""
        n, seed = self.budget.tuning, self.budget.first_seed
        for scale in (method.cfg or self.budget.scales) if n else ():
            key = self._key(guider, method, sampler, scale, seed, n, noise="tuning")
            yield from self._row(table, key, method)

    def _key(
        self,
        guider: str,
        method: Method,
        sampler: str,
        scale: float,
        seed: int,
        n: int,
        noise: str = "report",
    ) -> Key:
        return Key(self.name, guider, method.name, sampler, scale, seed, noise, n)

    def _row(self, table: str, key: Key, method: Method) -> Iterator[Row]:
        """The row, unless it has been measured."""
        if key not in self.tables.rows[table]:
            yield Row(table, key, method)

    def best_scale(self, table: str, guider: str, method: Method) -> float:
        """The scale that the tuning rows choose.

        For maps the best one. For classes the smallest that is within one standard error of the
        best (of n + 4 pictures, 2 more of them right: Agresti & Coull, 1998): larger scales only
        cost quality.
        """
        if method is methods.NO_GUIDANCE:
            return 0.0
        found = self.tables.find(
            table,
            budget=self.name,
            guider=guider,
            method=method.name,
            noise="tuning",
            n=self.budget.tuning,
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
