"""*Target Words* on the demo world: pictures that are asked to show a caption.

The captions are those of held-out scenes. Judges, which guide nothing, look whether colour, shape
and floor are as asked, and which rank the asked caption has among 100.
"""

from collections.abc import Iterator
from functools import partial

from PIL import Image
from torch import Tensor

from demo.captions import describe, judge
from demo.judges import Judge
from demo.paths import WORDS_EXPERTS, WORDS_GUIDER
from demo.scene_files import HELDOUT
from demo.scenes import random_parameters
from evidence.caption_ranks import caption_ranks
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
from ppap_core.strength import Strength
from ppap_core.targets.embedding_lines import build_embedding_target

SHOWN_AS_ASKED, FIRST, RANK = "words", "words first", "words rank"
MEASURES = {
    SHOWN_AS_ASKED: "colour, shape and floor as asked (%)",
    FIRST: "the asked caption is first of 100 (%)",
    RANK: "mean rank of the asked caption among 100",
}
WAYS = ((ALONE, "jvp"), (ALONE, "none"), (EXPERTS, "none"))
STRENGTHS = (0.5, 1.0, 2.0)
SHOWN = 8


def planned() -> Iterator[Key]:
    """Ranks are those of strength 1."""
    ways = [(*way, strength) for way in WAYS for strength in STRENGTHS]
    for way in ((NO_GUIDANCE, "", 0.0), *ways):
        measures = MEASURES if way[2] in (0.0, 1.0) else (SHOWN_AS_ASKED,)
        yield from ((task, *way) for task in measures)


class Words:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, real: Tensor, num: int, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.pool = describe(random_parameters(*HELDOUT))
        self.asked = self.pool[:num]
        self._sampled: dict[tuple, tuple[Tensor, float]] = {}

    def sample(self, method: str, jacobian: str, strength: float, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, method, jacobian, strength)
        return sample_way(self.model, strength, guided, self.seed, num)

    def _guided(self, method: str, jacobian: str, strength: float, rows: Tensor):
        """MODEL, asked for the captions with the numbers `rows`."""
        from ppap_core.comfy_bridge.guide import guide

        guider = load_with(WORDS_GUIDER, WORDS_EXPERTS if method == EXPERTS else None)
        captions = "\n".join(self.asked[rows].captions())
        target, _ = build_embedding_target(guider.guider, captions, "", line_per_picture=True)
        return guide(self.model, guider, target, Strength(strength), jacobian=jacobian)

    def measure(self, key: Key) -> Measurement:
        task, way, num = key[0], key[1:], len(self.asked.shape)
        if way not in self._sampled:  # all measures are of the same pictures
            self._sampled[way] = self.sample(*way, num)
        pictures, seconds = self._sampled[way]
        quality = measure_quality(self.judge, pictures, self.real)
        value = self.values(pictures)[task]
        return Measurement.of(key, MEASURES[task], value, quality, num, seconds)

    def values(self, pictures: Tensor) -> dict[str, float]:
        ranks = caption_ranks(pictures, self.asked, self.pool)
        return {
            SHOWN_AS_ASKED: 100 * self.asked.agreement(judge(pictures))["all"],
            FIRST: 100 * (ranks == 1).float().mean().item(),
            RANK: ranks.float().mean().item(),
        }

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
