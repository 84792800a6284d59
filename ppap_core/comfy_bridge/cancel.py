"""ComfyUI's cancel button, inside the passes of our networks (read in ComfyUI 0.30.0).

The host asks between two steps of a sampler, and since lately before each of its own layers. A
guider's layers are not its own, and no backward pass asks.
"""

from contextlib import AbstractContextManager

import comfy.model_management
from torch import nn

from ..interruptible import interruptible


def ask_for_cancel() -> None:
    """Raises ComfyUI's InterruptProcessingException once, if the cancel button was pressed."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def cancellable(*modules: nn.Module | None) -> AbstractContextManager[None]:
    """Inside, the cancel button ends passes of `modules`, forwards and backwards."""
    return interruptible(modules, ask_for_cancel)
