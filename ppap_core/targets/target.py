"""What every target has."""

from typing import Protocol

from torch import Tensor


class Target(Protocol):
    """What a guider of `task` should answer.

    It may also have `answer` (what the guider's numbers have to mean), and `agreement` with its
    `wording`, for reports (wording.py).
    """

    task: str

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """The guider's answer for B pictures -> (B,), in float32."""
        ...
