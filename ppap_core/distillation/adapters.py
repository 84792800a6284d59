"""Adapters on any backbone: where LoRA goes, what is trained whole, how to read it off again."""

import copy
import re
from dataclasses import dataclass

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ..expert_file import LoraSpec
from ..experts import PEFT_PREFIX

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class AdapterSettings:
    """`max_touched`: share of the backbone's weights that LoRA may change, from the input on.

    Noise is a shift of the input, and early layers are where such shifts are best met (Lee et al.,
    "Surgical fine-tuning", 2023); the limit also bounds what a switch of experts has to copy.
    """

    rank: int = 8
    lora_alpha: float = 8.0
    max_touched: float = 0.25

    def __post_init__(self):
        if self.rank < 1 or not self.lora_alpha > 0 or not 0 < self.max_touched <= 1:
            raise ValueError(
                f"rank is at least 1, lora_alpha above 0, max_touched in (0, 1]; got {self}"
            )


def lora_layers(backbone: nn.Module, max_touched: float) -> list[str]:
    """Linear layers and plain convolutions, from the input on, without the head.

    Grouped and dilated convolutions are left out: peft's LoRA (0.21) does not follow them.
    """
    budget = max_touched * sum(p.numel() for p in backbone.parameters())
    head = backbone.get_classifier() if hasattr(backbone, "get_classifier") else None
    layers = []
    for name, module in backbone.named_modules():
        if module is head or not (isinstance(module, nn.Linear) or _is_plain_conv(module)):
            continue
        budget -= module.weight.numel()
        if budget < 0:
            break
        layers.append(name)
    return layers


def _is_plain_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1 and set(module.dilation) == {1}


def whole_tensors(backbone: nn.Module) -> list[str]:
    """Norms (with running statistics) and all biases: small, so each expert has its own."""
    names = {n for n, _ in backbone.named_parameters() if n.endswith(".bias")}
    for name, module in backbone.named_modules():
        if isinstance(module, NORMS):
            tensors = [*module.named_parameters(), *module.named_buffers()]
            names |= {f"{name}.{n}" for n, t in tensors if t.is_floating_point()}
    return sorted(names)


class Student(nn.Module):
    """A copy of a backbone with one trainable adapter. `tensors()` reads an expert off it."""

    def __init__(self, backbone: nn.Module, settings: AdapterSettings):
        super().__init__()
        layers = lora_layers(backbone, settings.max_touched)
        if not layers:
            raise ValueError("no layer of the guider fits LoRA's share: raise max_touched")
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.lora_alpha,
            # A pattern has to match whole names; in a list, "conv1" means "layer1.0.conv1" too.
            target_modules="|".join(map(re.escape, layers)),
        )
        self.model = inject_adapter_in_model(config, copy.deepcopy(backbone))
        wrapped = {f"{layer}.bias": f"{layer}.base_layer.bias" for layer in layers}
        replaced = [wrapped.get(name, name) for name in whole_tensors(backbone)]
        self.spec = LoraSpec(settings.rank, settings.lora_alpha, tuple(layers), tuple(replaced))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name or name in replaced)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def tensors(self) -> dict[str, Tensor]:
        """The adapter as it stands, under peft's keys; copies on the CPU."""
        state = {
            PEFT_PREFIX + name.replace(".default.", "."): value
            for name, value in self.model.state_dict().items()
        }
        return {key: state[key].detach().cpu().clone() for key in sorted(self.spec.keys())}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the adapter that `tensors()` gave."""
        state = self.model.state_dict()
        own = {PEFT_PREFIX + name.replace(".default.", "."): name for name in state}
        with torch.no_grad():
            for key, value in tensors.items():
                state[own[key]].copy_(value)


def count_trainable(student: Student) -> int:
    return sum(p.numel() for p in student.trainable())
