"""The kind *reference mean* of *Target Likeness* on the demo world: pictures like some references.

References are held-out scenes that share one thing, the colour of the floor or the shape. Judges,
which guide nothing, look whether the pictures have it too.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from demo.captions import NAMES, Seen, describe, judge
from demo.judges import Judge
from demo.scene_files import HELDOUT
from demo.scenes import Scenes, random_parameters
from demo.shapes import SHAPES
from evidence.quality import REAL, measure_quality
from evidence.task_rows import NO_GUIDANCE, Key, Measurement, sample_way
from ppap_core.guiders.picture_itself import picture_itself
from ppap_core.strength import Strength
from ppap_core.targets.likeness import build_likeness
from ppap_core.targets.map_target import Frame

KIND, NUM_REFERENCES = "reference mean", 20
FLOOR, SHAPE = NAMES.index("blue"), SHAPES.index("cone")
SHARED: dict[str, Callable[[Seen], Tensor]] = {  # task -> whether scenes have what is shared
    "blue floor": lambda seen: seen.floor == FLOOR,
    "cone": lambda seen: seen.shape == SHAPE,
}
STRENGTHS = (0.5, 1.0, 2.0, 4.0)


def planned() -> Iterator[Key]:
    for task in SHARED:
        yield task, NO_GUIDANCE, "", 0.0
        yield from ((task, KIND, "none", strength) for strength in STRENGTHS)


class ReferenceMeans:
    """Samples the pixel demo's `model`; all rows start from the noise of the same seeds."""

    def __init__(self, model, quality_judge: Judge, scenes: Scenes, num: int, seed: int):
        self.model, self.judge, self.scenes = model, quality_judge, scenes
        self.num, self.seed, self.real = num, seed, scenes.pictures(REAL)
        self.truth = describe(random_parameters(*HELDOUT))

    def references(self, task: str) -> Tensor:
        """The first scenes that have what is shared: (NUM_REFERENCES, 3, 32, 32) in [-1, 1]."""
        rows = SHARED[task](self.truth).nonzero()[:NUM_REFERENCES, 0]
        return self.scenes[rows].pictures()

    def sample(self, key: Key, num: int) -> tuple[Tensor, float]:
        """(num, 3, 32, 32) in [-1, 1], and seconds of the processor for each."""
        guided = partial(self._guided, key)
        return sample_way(self.model, key[3], guided, self.seed, num)

    def _guided(self, key: Key, rows: Tensor):
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        task, _, jacobian, strength = key
        target = build_likeness(KIND, self.references(task), None, 0, Frame()).target
        guider = LoadedGuider.of(picture_itself(KIND))
        return guide(self.model, guider, target, Strength(strength), jacobian=jacobian)

    def measure(self, key: Key) -> Measurement:
        pictures, seconds = self.sample(key, self.num)
        quality = measure_quality(self.judge, pictures, self.real)
        value = 100 * SHARED[key[0]](judge(pictures)).float().mean().item()
        return Measurement.of(key, f"{key[0]} (%)", value, quality, self.num, seconds)
