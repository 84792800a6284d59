"""A label map that a segmentation model should see in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..maps import check_rows, own_maps, own_mask
from .wording import Wording

VOID = -1  # the label of pixels that may show any class


@dataclass(frozen=True, eq=False)
class SegmentationTarget:
    """Mean over the map's pixels of the log-probability of each pixel's class.

    `labels`: (R, H, W) or (H, W), class indices, VOID where nothing is asked for; R is 1 or the
    batch's size. `mask`: where it counts, (R or 1, H, W) in [0, 1]. `temperature` divides the
    logits. The map keeps its own resolution: each of its pixels reads the logits of the guider's
    coarser pixel at that place. So thin things count with their area; resizing the map would lose
    them, and resizing the logits would need the memory of every class at full size.
    """

    labels: Tensor
    num_classes: int
    mask: Tensor | None = None
    temperature: float = 1.0
    # size -> shares: only those of the last size are kept
    _shares: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False, repr=False)
    task = "segmentation"
    answer = "softmax"

    def __post_init__(self) -> None:
        if self.labels.is_floating_point():
            raise ValueError(f"a label map holds whole numbers, got {self.labels.dtype}")
        labels = own_maps(self.labels, torch.int64)
        wrong = labels[(labels < VOID) | (labels >= self.num_classes)]
        if len(wrong):
            raise ValueError(
                f"the map asks for class {int(wrong[0])}, the guider knows 0 to "
                f"{self.num_classes - 1} (void is {VOID}): use a map made for this guider's classes"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature has to be above 0, got {self.temperature}")
        mask = own_mask(self.mask, labels)
        if not ((labels != VOID) & (mask > 0)).flatten(1).any(1).all():
            raise ValueError(
                "the label map is void wherever it counts: there is nothing to ask for"
            )
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "mask", mask)

    @property
    def num_rows(self) -> int:
        return len(self.labels)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: logits (B, K, h, w) -> (B,), in float32."""
        self._check(prediction)
        log_p = (prediction.float() / self.temperature).log_softmax(dim=1)
        return (log_p * self.shares(prediction.shape[-2:]).to(log_p.device)).sum((1, 2, 3))

    def agreement(self, prediction: Tensor) -> Tensor:
        """The share of the map's pixels whose class the guider sees there: (B, K, h, w) -> (B,)."""
        self._check(prediction)
        seen = prediction.argmax(dim=1, keepdim=True)
        shares = self.shares(prediction.shape[-2:]).to(prediction.device)
        return shares.expand(len(seen), -1, -1, -1).gather(1, seen).sum((1, 2, 3))

    def wording(self, labels: Sequence[str]) -> Wording:
        """How `agreement` is told."""
        return Wording(
            "{} of the pixels were as asked, now {}",
            "{} -> {} of the pixels as asked",
            "pixels as asked",
        )

    def _check(self, prediction: Tensor) -> None:
        """ValueError unless `prediction` is (B, K, h, w) for these classes and rows."""
        if prediction.ndim != 4:
            raise ValueError(
                f"a segmentation target reads logits (B, K, h, w), the guider answers "
                f"{tuple(prediction.shape)}: connect a segmentation model"
            )
        if prediction.shape[1] != self.num_classes:
            raise ValueError(
                f"the target was made for {self.num_classes} classes, the guider answers "
                f"{prediction.shape[1]}: connect the same guider to both nodes"
            )
        check_rows(self.num_rows, len(prediction), "target")

    @torch.inference_mode(False)
    def shares(self, size: tuple[int, int]) -> Tensor:
        """Which share of the map is class k in coarse pixel (i, j): (R, K, *size), sums to 1."""
        if size not in self._shares:
            pairs = zip(self.labels, self.mask.expand_as(self.labels), strict=True)
            counted = [
                _count(labels=labels, weight=mask, num_classes=self.num_classes, size=size)
                for labels, mask in pairs
            ]
            self._shares.clear()
            self._shares[size] = torch.stack(counted)
        return self._shares[size]


def _count(labels: Tensor, weight: Tensor, num_classes: int, size: tuple[int, int]) -> Tensor:
    """The shares of one map (H, W): (K, *size). A map smaller than `size` repeats its pixels."""
    (from_row, to_row), (from_column, to_column) = (
        _pair_up(have, want) for have, want in zip(labels.shape, size, strict=True)
    )
    labels, weight = labels[from_row][:, from_column], weight[from_row][:, from_column]
    cell = (labels * size[0] + to_row[:, None]) * size[1] + to_column
    counts = torch.bincount(
        cell[labels != VOID], weight[labels != VOID], minlength=num_classes * size[0] * size[1]
    )
    return (counts / counts.sum()).float().view(num_classes, *size)


def _pair_up(have: int, want: int) -> tuple[Tensor, Tensor]:
    """Along one side: pairs of a map's pixel (of `have`) and a coarse one (of `want`).

    Two index tensors (max(have, want),); every pixel of both sides occurs.
    """
    middle = torch.arange(max(have, want)) + 0.5
    return (middle * have / len(middle)).long(), (middle * want / len(middle)).long()
