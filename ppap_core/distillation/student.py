"""The student: a copy of the guider's network with one trainable adapter."""

import copy
import re

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ..experts import PEFT_PREFIX
from .lora_layers import choose_tensors, is_norm
from .settings import AdapterSettings


class Student(nn.Module):
    """A copy of a backbone with one trainable adapter. `tensors()` reads an expert off it."""

    def __init__(self, backbone: nn.Module, settings: AdapterSettings):
        super().__init__()
        self.spec = choose_tensors(backbone, settings)
        self.model = copy.deepcopy(backbone)
        owns_norms = settings.full or settings.modules_to_save == "norms"
        by_batch = owns_norms and settings.norm_statistics == "batch"
        self._by_batch = list(filter(is_norm, self.model.modules())) if by_batch else []
        if self.spec.layers:
            config = LoraConfig(
                r=self.spec.rank,
                lora_alpha=self.spec.lora_alpha,
                # A pattern has to match whole names; in a list, "conv1" means "layer1.0.conv1" too.
                target_modules="|".join(map(re.escape, self.spec.layers)),
            )
            self.model = inject_adapter_in_model(config, self.model)
            for layer in self.spec.layers:
                _show_shape(self.model.get_submodule(layer))
        self.model.requires_grad_(False)
        trained = self.spec.keys()
        for key, value in self._named().items():
            if key in trained and isinstance(value, nn.Parameter):
                value.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def train(self, mode: bool = True) -> "Student":
        """As when it guides, but for norms that learn statistics: no dropout, no skipped layers.

        What is thrown away at random would be missing in an answer that is the whole lesson.
        """
        super().train(False)
        for norm in self._by_batch:
            norm.train(mode)
        return self

    def statistics(self) -> list[Tensor]:
        """What a forward pass changes while it learns: the running statistics of norms."""
        return [buffer for norm in self._by_batch for buffer in norm.buffers()]

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def tensors(self) -> dict[str, Tensor]:
        """The adapter as it stands, under peft's keys; copies on the CPU."""
        named = self._named()
        return {key: named[key].detach().cpu().clone() for key in sorted(self.spec.keys())}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the adapter that `tensors()` gave."""
        named = self._named()
        with torch.no_grad():
            for key, value in tensors.items():
                named[key].copy_(value)

    def _named(self) -> dict[str, Tensor]:
        """peft's key -> the tensor itself."""
        state = self.model.state_dict(keep_vars=True)
        return {PEFT_PREFIX + n.replace(".default.", "."): value for n, value in state.items()}


def _show_shape(wrapped: nn.Module) -> None:
    """Some networks ask a convolution for its stride; peft's wrapper does not pass that on."""
    for name in ("stride", "padding", "dilation", "kernel_size", "groups"):
        if hasattr(base := wrapped.base_layer, name) and not hasattr(wrapped, name):
            setattr(wrapped, name, getattr(base, name))


def count_trainable(student: Student) -> int:
    return sum(p.numel() for p in student.trainable())
