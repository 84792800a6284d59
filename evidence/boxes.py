"""*Target Boxes* on the demo world, for evidence.tasks.

Pictures are asked for the shape of a held-out scene in its box. Judges, which guide nothing, look:
one names the shape, and the box is that around the object of one that answers per pixel. The
experts learned from 800 pictures (`demo.train`'s flags, and --num-images 800).
"""

from collections.abc import Iterator
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from demo.box_models import object_boxes
from demo.judges import Judge
from demo.measures import judge_answer
from demo.paths import BOXES_EXPERTS, BOXES_GUIDER
from demo.scenes import Scenes
from demo.shading import OBJECT
from demo.shapes import SHAPES
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
from ppap_core.targets.boxes import iou
from ppap_core.targets.boxes_drawing import draw_boxes
from ppap_core.targets.boxes_target import Box, BoxesTarget

OVERLAP, NAMED = "boxes", "shapes in boxes"
MEASURES = {OVERLAP: "IoU with the box (%)", NAMED: "shape as asked (%)"}
WAYS = ((ALONE, "none"), (ALONE, "jvp"), (EXPERTS, "none"), (EXPERTS, "jvp"))
STRENGTHS = (1.0, 2.0)
SHOWN = 8


def planned() -> Iterator[Key]:
    guided = ((*way, strength) for way in WAYS for strength in STRENGTHS)
    for way in ((NO_GUIDANCE, "", 0.0), *guided):
        yield from ((task, *way) for task in MEASURES)


class Boxes:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, real: Tensor, asked: Scenes, seed: int):
        self.model, self.judge, self.real, self.seed = model, quality_judge, real, seed
        self.asked = asked
        self.corners = object_boxes(self.asked.segmentation == OBJECT)
        self._sampled: dict[tuple, tuple[Tensor, float]] = {}

    def target(self, rows: Tensor) -> BoxesTarget:
        """What asks for the scenes with the numbers `rows`."""
        pairs = zip(self.asked.label[rows].tolist(), self.corners[rows].tolist(), strict=True)
        return BoxesTarget([[Box(label, tuple(box))] for label, box in pairs], len(SHAPES))

    def sample(self, method: str, jacobian: str, strength: float, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, method, jacobian, strength)
        return sample_way(self.model, strength, guided, self.seed, num)

    def _guided(self, method: str, jacobian: str, strength: float, rows: Tensor):
        from ppap_core.comfy_bridge.guide import guide

        guider = load_with(BOXES_GUIDER, BOXES_EXPERTS if method == EXPERTS else None)
        return guide(self.model, guider, self.target(rows), Strength(strength), jacobian=jacobian)

    def measure(self, key: Key) -> Measurement:
        task, way = key[0], key[1:]
        if way not in self._sampled:  # both tasks measure the same pictures
            self._sampled[way] = self.sample(*way, len(self.asked))
        pictures, seconds = self._sampled[way]
        quality = measure_quality(self.judge, pictures, self.real)
        value = 100 * self.values(pictures)[task]
        return Measurement.of(key, MEASURES[task], value, quality, len(pictures), seconds)

    @torch.no_grad()
    def values(self, pictures: Tensor) -> dict[str, float]:
        seen = object_boxes(judge_answer(pictures).logits.argmax(1) == OBJECT)
        named = self.judge(pictures).argmax(1) == self.asked.label
        return {OVERLAP: iou(seen, self.corners).mean().item(), NAMED: named.float().mean().item()}

    def draw(self) -> Image.Image:
        """The first boxes, and the pictures without guidance and in all ways at strength 1."""
        rows = torch.arange(SHOWN)
        boxes = draw_boxes(self.target(rows).rows, SHAPES, (1, 1), bold=True)
        small = F.interpolate(boxes, self.real.shape[-2:], mode="area")
        shown = [GridRow("boxes", "asked for", small)]
        for method, jacobian, strength in ((NO_GUIDANCE, "", 0.0), *((*way, 1.0) for way in WAYS)):
            pictures, _ = self.sample(method, jacobian, strength, SHOWN)
            shown.append(GridRow(method, jacobian, pictures))
        return draw_grid([SHAPES[label] for label in self.asked.label[:SHOWN]], shown)
