"""What every target has."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Target(Protocol):
    """What a guider of `task` should answer.

    It may also have `answer` (what the guider's numbers have to mean), `num_rows` (of how many
    pictures it is; 1 is for all), `made_for` (the fingerprint of the only guider that it can be
    asked of), `boxes` (the parts of the picture that the guider reads: cut_outs_target.py),
    `has_gradient` (False: it only chooses among pictures, as particles.py does), and `agreement`
    with its `wording`, for reports (wording.py); if that is a share, guidance can fade with what is
    `missing` of it, which is 1 - agreement unless the target knows it more exactly.
    """

    task: str

    def log_likelihood(self, prediction: Tensor) -> Tensor:
        """The guider's answer for B pictures -> (B,), in float32."""
        ...
