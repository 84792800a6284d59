"""LoRA as a parametrisation: wherever a layer reads its weight, it reads W + scaling B A.

The same formula that `ppap_core.experts.merge` writes into the weights, so what is trained is what
is merged, also for layers that peft's LoRA does not follow: dilated convolutions, convolutions
that standardise their weight, and linears whose weight is used without calling them (fused qkv).
Names and shapes of the factors are peft's.
"""

import math

from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """Hu et al., 2021: B starts at zero, A as peft starts it; a conv's A keeps its kernel."""

    def __init__(self, weight: Tensor, rank: int, scaling: float):
        super().__init__()
        ones = (1,) * (weight.ndim - 2)
        self.scaling = scaling
        self.lora_A = nn.Parameter(weight.new_empty(rank, *weight.shape[1:]))
        self.lora_B = nn.Parameter(weight.new_zeros(len(weight), rank, *ones))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        change = self.lora_B.flatten(1) @ self.lora_A.flatten(1)
        return weight + self.scaling * change.view(weight.shape)


def attach(layer: nn.Module, rank: int, scaling: float) -> None:
    """Give `layer`'s weight, of two or more dimensions, a low-rank change that starts at zero."""
    low_rank = LowRank(layer.weight.detach(), rank, scaling)
    parametrize.register_parametrization(layer, "weight", low_rank, unsafe=True)


def cost(weight: Tensor) -> int:
    """Parameters that one rank costs."""
    return len(weight) + weight[0].numel()


def peft_name(name: str) -> str:
    """A parameter's name inside a parametrised module -> peft's name of it."""
    for factor in ("lora_A", "lora_B"):
        name = name.replace(f".parametrizations.weight.0.{factor}", f".{factor}.weight")
    return name.replace(".parametrizations.weight.original", ".base_layer.weight")
