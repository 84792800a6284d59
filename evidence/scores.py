"""*Target Score* on the demo world: how bright the scene is, raised.

The guider is the demo's CLIP with a linear head (`python -m demo.score_head`). The measure is
exact: the brightness of the pictures themselves, from 0 (black) to 10 (white).
"""

from collections.abc import Iterator
from functools import cache, partial

from PIL import Image
from torch import Tensor

from demo.judges import Judge
from demo.paths import SCORE_HEAD, WORDS_EXPERTS, WORDS_GUIDER
from demo.score_head import brightness
from evidence.quality import measure_quality
from evidence.task_rows import (
    ALONE,
    EXPERTS,
    NO_GUIDANCE,
    Key,
    Measurement,
    load_with,
    sample_way,
)
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guiders import add_score_head
from ppap_core.strength import Strength
from ppap_core.targets.score_target import ScoreTarget

MEASURE = "brightness (0 to 10)"
WISHED = 5.0
TASKS = {f"score, wished {WISHED:g}": (WISHED,), "score, no end": ()}  # and what is wished
WAYS = ((ALONE, "wiener"), (ALONE, "jvp"), (EXPERTS, "wiener"))
STRENGTHS = (0.5, 1.0, 2.0)
SHOWN = 8


def planned() -> Iterator[Key]:
    for task in TASKS:
        yield task, NO_GUIDANCE, "", 0.0
        for method, jacobian in WAYS:
            strengths = STRENGTHS if TASKS[task] and method == ALONE else (1.0,)
            yield from ((task, method, jacobian, strength) for strength in strengths)


@cache
def load_score_guider(method: str):
    """The LoadedGuider; its experts are those of the demo's CLIP."""
    loaded = load_with(WORDS_GUIDER, WORDS_EXPERTS if method == EXPERTS else None)
    return loaded.with_guider(add_score_head(loaded.guider, SCORE_HEAD))


class Scores:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, real: Tensor, num: int, seed: int):
        self.model, self.judge, self.real = model, quality_judge, real
        self.num, self.seed = num, seed

    def sample(self, key: Key, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, key)
        return sample_way(self.model, key[3], guided, self.seed, num)

    def _guided(self, key: Key, rows: Tensor):
        """MODEL, asked for a brighter picture."""
        from ppap_core.comfy_bridge.guide import guide

        task, method, jacobian, strength = key
        target, guider = ScoreTarget(TASKS[task]), load_score_guider(method)
        return guide(self.model, guider, target, Strength(strength), jacobian=jacobian)

    def measure(self, key: Key) -> Measurement:
        pictures, seconds = self.sample(key, self.num)
        quality = measure_quality(self.judge, pictures, self.real)
        value = brightness(pictures).mean().item()
        return Measurement.of(key, MEASURE, value, quality, self.num, seconds)

    def draw(self) -> Image.Image:
        """Without guidance and in all ways at strength 1."""
        keys = [key for key in planned() if key[3] == 1.0]
        keys = [next(planned()), *keys]
        rows = [
            GridRow(key[1], f"{key[0]}, {key[2]}" if key[3] else "", self.sample(key, SHOWN)[0])
            for key in keys
        ]
        return draw_grid([""] * SHOWN, rows)
