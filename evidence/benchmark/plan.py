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
        self.first_seed = budget.first_seed

    def __iter__(self) -> Iterator[Piece]:
        first, *others = range(self.first_seed, self.first_seed + self.budget.training_seeds)
        for guider in self.budget.guiders:
            yield from self._class_rows(guider, first)
        for guider in self.budget.guiders:
            for seed in others if guider not in methods.SIZES else ():
                yield from self._class_rows(guider, seed)
            if guider == self.budget.guiders[0]:
                yield from self._ablations()
                for seed in (first, *others):
                    yield from self._maps(seed)
                yield from self._latent(first)
            yield from self._class_rows(guider, first, "DDPM-250")
        for seed in others:
            yield from self._latent(seed)

    def _asked(self, candidates: Sequence[Method], seed: int) -> Iterator[Method]:
        """All with the first seed, with the others those whose experts differ by it."""
        return (m for m in candidates if m.teaching or seed == self.first_seed)

    def _class_rows(self, guider: str, seed: int, sampler: str = "DDIM-25") -> Iterator[Piece]:
        chosen = self.budget.methods
        for method in self._asked(methods.class_methods(guider), seed):
            if not chosen or method.name in chosen:
                yield from self._rows("class", guider, method, seed, sampler)

    def _maps(self, seed: int) -> Iterator[Piece]:
        """All methods with the first seed, with the others those on kept estimates."""
        candidates = methods.MAP_METHODS if seed == self.first_seed else methods.KEPT_METHODS
        for task in MAPS:
            if task in self.budget.tables:
                for method in candidates:
                    yield from self._rows(task, task, method, seed, "DDIM-25")

    def _latent(self, seed: int) -> Iterator[Piece]:
        if "latent" in self.budget.tables:
            for method in self._asked(methods.LATENT_METHODS, seed):
                yield from self._rows("latent", "resnet", method, seed, "Euler-25")

    def _ablations(self) -> Iterator[Piece]:
        if "ablations" not in self.budget.tables:
            return
        guider, seed = self.budget.guiders[0], self.first_seed
        for method in methods.ablations():
            rows: list[Row] = []
            for scale in self.budget.scales[1:3]:
                key = self._key(guider, method, "DDIM-25", scale, seed, self.budget.pictures)
                rows += self._row("ablations", key, method)
            lesson = list(self._lesson(guider, method, seed)) if rows else []
            yield from lesson or rows

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
        rows = list(self._missing_rows(table, guider, method, seed, sampler))
        lesson = list(self._lesson(guider, method, seed)) if rows else []
        yield from lesson or rows

    def _missing_rows(
        self, table: str, guider: str, method: Method, seed: int, sampler: str
    ) -> Iterator[Row]:
        if table == "class" and sampler == "DDIM-25" and "noisy" in self.budget.tables:
            yield from self._noisy(guider, method, seed)
        fast = "DDIM-25" if sampler == "DDPM-250" else sampler
        tuning = list(self._tuning(table, guider, method, fast))
        n = self.budget.pictures if sampler == fast else self.budget.slow_pictures
        if tuning:
            yield from tuning
        elif n:
            scale = self.best_scale(table, guider, method)
            yield from self._row(table, self._key(guider, method, sampler, scale, seed, n), method)

    def _noisy(self, guider: str, method: Method, seed: int) -> Iterator[Row]:
        if method.input == "x_t":
            for timestep in DECILES:
                key = self._key(guider, method, "noisy renders", float(timestep), seed, 1000)
                yield from self._row("noisy", key, method)

    def _tuning(self, table: str, guider: str, method: Method, sampler: str) -> Iterator[Row]:
        """Rows of the first training seed; the other seeds and samplers take the same scale."""
        n = self.budget.tuning
        is_tuned = n and method is not methods.NO_GUIDANCE
        for scale in (method.cfg or method.scales or self.budget.scales) if is_tuned else ():
            key = self._key(guider, method, sampler, scale, self.first_seed, n, noise="tuning")
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
        wanted = {"budget": self.name, "noise": "tuning", "n": self.budget.tuning}
        found = self.tables.find(table, guider=guider, method=method.name, **wanted)
        if not found:
            return self.budget.scales[0]
        values = {key.scale: row["value"] for key, row in found.items()}
        if table in MAPS:
            return (min if table in ERRORS else max)(sorted(values), key=values.get)
        n, best = self.budget.tuning + 4, max(values.values())
        about = (best * self.budget.tuning + 2) / n
        allowed = best - (about * (1 - about) / n) ** 0.5
        return min(scale for scale, value in values.items() if value >= allowed)
