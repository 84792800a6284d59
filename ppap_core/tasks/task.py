"""What a task is: all that the rest of the pack has to know about a kind of answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from ..targets.map_making import MapMaking
from ..targets.target import Target

if TYPE_CHECKING:  # both import the registry of tasks
    from ..distillation.rows import Rows
    from ..guiders import GuiderInfo

CLASSES = "K"  # the axis of an answer that has a place for each of the guider's labels
CLASSES_AND_BOX = "K + 4"  # that has four places more, of a box
REQUIRED = ("name", "answers", "shape", "targets", "model", "target_nodes", "recommended")


def shrink_smoothly(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", antialias=True)


class Recommendation(NamedTuple):
    """`scale`: what strength 1 stands for in the rule relative. `spectrum`: of the shift.
    `when_met`: what becomes of it as the target is met.
    """

    scale: float
    spectrum: str = "plain"
    when_met: str = "push on"


@dataclass(frozen=True)
class Recommended:
    """What evidence recommends, by what the guider reads: `x_t`, `x0_hat` without a Jacobian, or
    x0_hat with a gradient that passes `through_model`. `wiener`: the scale of that Jacobian, which
    changes the gradient but not a shift's length; None: x0_hat's. `fading`: in place of
    `through_model` where a guider has experts, or alone if it `fades_alone`; None: the same.
    `jacobian`: of a guider alone. `experts_jacobian`: of one with experts.
    """

    x_t: Recommendation
    x0_hat: Recommendation
    through_model: Recommendation
    jacobian: str = "jvp"
    experts_jacobian: str = "none"
    wiener: float | None = None
    fading: Recommendation | None = None
    fades_alone: bool = False


@dataclass(frozen=True)
class Comparison:
    """How answers of a student and of its teacher are compared.

    `loss`: (answer, teacher, temperature) -> scalar, a mean per picture; answers without logits
    ignore the temperature. `agreement`: (answer, teacher) -> (B,) in [-1, 1] or [0, 1], 1 where
    both answers are the same: the report prints it as a percentage. `constant`: (teacher,
    temperature) -> the answer, of one row, that has the least loss among those that ignore the
    picture. `labelled`: class labels (N,) and the number of classes -> the answers of a teacher who
    is certain; None where labels cannot take a teacher's place. `variants`: other comparisons, by
    the value of the trainer's setting that chooses them. `shrink`: (maps (B, K, h, w), a smaller
    size) -> maps of that size, at which large ones are compared.
    """

    loss: Callable[..., Tensor]
    agreement: Callable[[Tensor, Tensor], Tensor]
    agreement_name: str
    constant: Callable[[Tensor, float], Tensor]
    labelled: Callable[[Tensor, int], Tensor] | None = None
    variants: Mapping[str, "Comparison"] = field(default_factory=dict)
    shrink: Callable[[Tensor, tuple[int, int]], Tensor] = shrink_smoothly


class Preview(NamedTuple):
    """What a training's sheet of pictures asks for: a target with a row for each picture, a name
    for each, and pictures of the rows, (N, 3, H, W) in [-1, 1], if they can be shown.
    """

    target: Target
    names: list[str]
    maps: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A kind of answer: what it means, what can be asked, and how experts learn to give it.

    `name`: in expert files, so it never changes. `answers`: what its numbers can be, each with its
    meaning in words; the first is the usual one. `shape`: the axes of the answer about one picture:
    a number, CLASSES, CLASSES_AND_BOX, or any other letter for a free size. `targets`: classes of
    targets, each with the attribute `task`, this name. `model`: what a guider of it is called, such
    as "a classifier".
    `target_nodes`: the names of the nodes that make its targets. `comparisons`: for each of
    `answers`; none where no experts can be trained. `preview`: (the guider's info, the teacher's
    answers, how many pictures) -> what a training's sheet asks for. `recommended_for`: in place of
    `recommended`, for targets of these classes. `maps`: how targets are made from pictures, where
    they are maps. `label_names`: what one of the guider's labels is called, and what several are.
    `tells_answers`: those answers that reports call by their own name, not by the task's.
    ValueError, in one line, for a task that lacks something.
    """

    name: str | None = None
    answers: Mapping[str, str] | None = None
    shape: tuple[int | str, ...] | None = None
    targets: tuple[type, ...] | None = None
    model: str | None = None
    target_nodes: str | None = None
    recommended: Recommended | None = None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    preview: Callable[["GuiderInfo", "Rows", int], Preview] | None = None
    recommended_for: Mapping[type, Recommended] = field(default_factory=dict)
    maps: MapMaking | None = None
    label_names: tuple[str, str] = ("class", "classes")
    tells_answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = [*REQUIRED, "preview"] if self.comparisons else REQUIRED
        if missing := [part for part in needed if self._lacks(part)]:
            raise ValueError(
                f"{self._told} lacks {', '.join(missing)}: a task is made of "
                f"{', '.join(REQUIRED)}, and of comparisons and preview if experts can be trained "
                f"for it"
            )
        if unknown := [a for a in self.comparisons if a not in self.answers]:
            raise ValueError(f"{self._told} compares answers that it does not have: {unknown[0]!r}")
        if self.comparisons and (left := [a for a in self.answers if a not in self.comparisons]):
            raise ValueError(f"{self._told} lacks a comparison of answers that are {left[0]!r}")
        if not _is_shape(self.shape):
            raise ValueError(
                f"{self._told}: its shape is made of whole numbers above 0 and names of axes, such "
                f"as ('{CLASSES}', 'h', 'w'), got {self.shape!r}"
            )
        for target in self.targets:
            if getattr(target, "task", None) != self.name or not hasattr(target, "log_likelihood"):
                raise ValueError(
                    f"{self._told}: its target {target.__name__} needs a method log_likelihood, "
                    f"and the attribute task = {self.name!r}"
                )

    def _lacks(self, part: str) -> bool:
        value = getattr(self, part)
        return value is None or (part != "shape" and value in ("", (), {}))

    @property
    def _told(self) -> str:
        return f"the task {self.name!r}" if self.name else "a task"

    @property
    def usual(self) -> str:
        """What most of its guiders answer."""
        return next(iter(self.answers))

    def recommends(self, target: Target) -> Recommended:
        """What evidence recommends for guidance towards `target`, or those that it is made of."""
        asked = getattr(target, "targets", (target,))[0]
        return self.recommended_for.get(type(asked), self.recommended)

    @property
    def is_dense(self) -> bool:
        """Whether it answers with maps, so that nothing of the picture may be cut off."""
        return len(self.shape) >= 2

    @property
    def knows_classes(self) -> bool:
        return CLASSES in self.shape or CLASSES_AND_BOX in self.shape

    def kind(self, answer: str) -> str:
        """The name, and what the numbers are where that is not the usual."""
        return self.name if answer == self.usual else f"{self.name}, {answer}"

    def axes(self, num_labels: int) -> tuple[int | str, ...]:
        """The shape of the answer about one picture, of a guider with so many labels."""
        sizes = {CLASSES: num_labels, CLASSES_AND_BOX: num_labels + 4}
        return 1, *(sizes.get(axis, axis) for axis in self.shape)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(
        axis > 0 if isinstance(axis, int) else isinstance(axis, str) and axis for axis in shape
    )
