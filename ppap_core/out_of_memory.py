"""Memory that runs out in the middle of work: told from other errors, answered by smaller parts."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or the processor had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)  # the processor's


class AtOnce:
    """How many pictures pass at once: half as many from then on, whenever they do not fit."""

    def __init__(self, num: int):
        self.num = num

    def of(self, work: Callable[[int], Result]) -> Result:
        """`work(num)`, begun again with fewer where it runs out of memory, down to one."""
        while True:
            try:
                return work(self.num)
            except (RuntimeError, MemoryError) as error:
                if self.num == 1 or not is_out_of_memory(error):
                    raise
            self.num //= 2  # here the error holds no tensors any more
            log.warning("out of memory: %d pictures at once from now on", self.num)
