"""*Target Style* on the demo world: pictures in the style of held-out scenes.

Judges, which guide nothing, look whether object and floor have the reference's colours.
"""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from demo.captions import describe, judge
from demo.judges import Judge
from demo.paths import WORDS_GUIDER
from demo.scene_files import HELDOUT
from demo.scenes import random_parameters
from evidence.quality import measure_quality
from evidence.task_rows import (
    ALONE,
    NO_GUIDANCE,
    Key,
    Measurement,
    sample_way,
)
from ppap_core.guiders import load_guider, style_guider
from ppap_core.strength import Strength
from ppap_core.targets.style_target import StyleTarget

TASK, MEASURE = "style", "colours of object and floor as in the reference (%)"


def planned() -> Iterator[Key]:
    yield TASK, NO_GUIDANCE, "", 0.0
    yield from ((TASK, ALONE, jacobian, 1.0) for jacobian in ("none", "jvp"))


class Styles:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, references: Tensor, real: Tensor, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.references, self.guider = references, style_guider(load_guider(WORDS_GUIDER))

    def measure(self, key: Key) -> Measurement:
        num = len(self.references)
        pictures, seconds = self.sample(key, num)
        asked = describe(random_parameters(*HELDOUT))[:num]
        seen = judge(pictures)
        right = (seen.colour == asked.colour) & (seen.floor == asked.floor)
        quality = measure_quality(self.judge, pictures, self.real)
        value = 100 * right.float().mean().item()
        return Measurement.of(key, MEASURE, value, quality, num, seconds)

    def sample(self, key: Key, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, key)
        return sample_way(self.model, key[3], guided, self.seed, num)

    def _guided(self, key: Key, rows: Tensor):
        """MODEL, asked for the style of the references with the numbers `rows`."""
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        _, _, jacobian, strength = key
        target = StyleTarget(self.guider(self.references[rows]))
        guider = LoadedGuider.of(self.guider)
        return guide(self.model, guider, target, Strength(strength), jacobian=jacobian)
