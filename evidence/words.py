"""*Target Words* on the demo world: pictures that are asked to show a caption.

The captions are those of held-out scenes. Judges, which guide nothing, look whether colour, shape
and floor are as asked; of real renders they find 91.5 % right.
"""

from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from demo.captions import describe, judge
from demo.judges import Judge
from demo.paths import WORDS_EXPERTS, WORDS_GUIDER
from demo.scene_files import HELDOUT
from demo.scenes import random_parameters
from evidence.quality import measure_quality
from evidence.task_rows import ALONE, EXPERTS, NO_GUIDANCE, Key, Measurement, load_with, sample_rows
from ppap_core.grid import GridRow, draw_grid
from ppap_core.strength import Strength
from ppap_core.targets.embedding_lines import build_embedding_target

TASK, MEASURE = "words", "colour, shape and floor as asked (%)"
WAYS = ((ALONE, "jvp"), (ALONE, "none"), (EXPERTS, "none"))
STRENGTHS = (0.5, 1.0, 2.0)
SHOWN = 8


def planned() -> Iterator[Key]:
    yield TASK, NO_GUIDANCE, "", 0.0
    for method, jacobian in WAYS:
        yield from ((TASK, method, jacobian, strength) for strength in STRENGTHS)


class Words:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, real: Tensor, num: int, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.asked = describe(random_parameters(*HELDOUT))[:num]

    def sample(self, method: str, jacobian: str, strength: float, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        return sample_rows(
            lambda rows: self._guided(method, jacobian, strength, rows), self.seed, num
        )

    def _guided(self, method: str, jacobian: str, strength: float, rows: Tensor):
        """MODEL, asked for the captions with the numbers `rows`."""
        from ppap_core.comfy_bridge.guide import guide

        if not strength:
            return self.model
        guider = load_with(WORDS_GUIDER, WORDS_EXPERTS if method == EXPERTS else None)
        captions = "\n".join(self.asked[rows].captions())
        target, _ = build_embedding_target(guider.guider, captions, "", line_per_picture=True)
        return guide(self.model, guider, target, Strength(strength), jacobian=jacobian)

    def measure(self, key: Key) -> Measurement:
        _, method, jacobian, strength = key
        num = len(self.asked.shape)
        pictures, seconds = self.sample(method, jacobian, strength, num)
        quality = measure_quality(self.judge, pictures, self.real)
        value = 100 * self.asked.agreement(judge(pictures))["all"]
        return Measurement.of(key, MEASURE, value, quality, num, seconds)

    def draw(self) -> Image.Image:
        """The first captions, without guidance and in all ways at strength 1."""
        ways = ((NO_GUIDANCE, "", 0.0), *((*way, 1.0) for way in WAYS))
        rows = [
            GridRow(method, jacobian, self.sample(method, jacobian, strength, SHOWN)[0])
            for method, jacobian, strength in ways
        ]
        words = (caption.split() for caption in self.asked[:SHOWN].captions())
        titles = [f"{colour} {shape}" for _, colour, shape, *_ in words]
        return draw_grid(titles, rows)
