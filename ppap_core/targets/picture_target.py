"""What the targets of *Target Likeness* share: they compare the picture itself with a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .pictures import check_picture, own_pictures, psnr
from .wording import Wording


@dataclass(frozen=True, eq=False)
class PictureTarget:
    """Minus the `error` of a picture, from `reference`: (R, 3, H, W) in [-1, 1].

    `words`: how `agreement` is told, a Wording's first three fields.
    """

    reference: Tensor
    task = "likeness"
    answer = "picture"
    words: ClassVar[tuple[str, str, str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", own_pictures(self.reference))

    @property
    def num_rows(self) -> int:
        return len(self.reference)

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """`prediction`: pictures (B, 3, h, w) in about [-1, 1] -> (B,), in float32."""
        return -self.error(prediction)

    def agreement(self, prediction: Tensor) -> Tensor:
        """PSNR in dB: (B, 3, h, w) -> (B,)."""
        return psnr(self.error(prediction))

    def wording(self, labels: Sequence[str]) -> Wording:
        return Wording(*self.words, is_share=False, has_end=False, decimals=1)

    def error(self, prediction: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B,). ValueError for what is no pictures, or another number of them."""
        check_picture(prediction, self.num_rows)
        return self._error(prediction.float())

    def _error(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError
