"""Experts: one adapter per noise range on one frozen guider; the active one is merged into it.

So a guided step costs what the plain guider costs. The weights from before the merge are kept and
copied back, never recomputed by subtraction: any number of switches leaves the guider bit for bit
as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from .noise import NoiseRange, check_ranges, find_range

PEFT_PREFIX = "base_model.model."
LORA_A, LORA_B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Expert:
    """LoRA factors and replaced tensors for one noise range.

    `tensors` has peft's keys: `<layer>.lora_A.weight` and `<layer>.lora_B.weight` are the factors
    of a weight's low-rank change, any other key is a parameter or buffer to replace. `scaling` is
    lora_alpha / rank. Names are cached, because experts are switched many times.
    """

    noise_range: NoiseRange
    tensors: Mapping[str, Tensor]
    scaling: float

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose weights get a low-rank change."""
        factors = (key for key in self.tensors if key.endswith(LORA_A))
        return tuple(sorted(_plain(key.removesuffix(LORA_A)) for key in factors))

    @cached_property
    def replacements(self) -> Mapping[str, Tensor]:
        """Backbone tensor name -> its value for this expert."""
        return {
            _plain(key): value
            for key, value in self.tensors.items()
            if not key.endswith((LORA_A, LORA_B))
        }

    @cached_property
    def touched(self) -> set[str]:
        """Names of all backbone tensors that this expert changes."""
        return {f"{layer}.weight" for layer in self.layers} | self.replacements.keys()

    def factors(self, layer: str) -> tuple[Tensor, Tensor]:
        """LoRA's (B, A) of `layer`: (out, rank, ...) and (rank, in, ...)."""
        key = PEFT_PREFIX + layer
        return self.tensors[key + LORA_B], self.tensors[key + LORA_A]


def _plain(peft_key: str) -> str:
    """The backbone's own name of a tensor or layer."""
    return peft_key.removeprefix(PEFT_PREFIX).replace(".base_layer.", ".")


class NoiseExperts:
    """The experts of one guider, by rising noise. Each owns a half-open range of sigma_ve."""

    def __init__(self, experts: list[Expert]):
        check_ranges([expert.noise_range for expert in experts])
        self.experts = tuple(experts)
        self.ranges = tuple(expert.noise_range for expert in experts)

    def __len__(self) -> int:
        return len(self.experts)

    def index(self, sigma_ve: float) -> int:
        """Which expert's range holds `sigma_ve`; beyond the ends, the nearest one."""
        return find_range(self.ranges, sigma_ve)

    def select(self, sigma_ve: float) -> Expert:
        return self.experts[self.index(sigma_ve)]

    def check_fit(self, backbone: nn.Module) -> None:
        """ValueError, naming the first misfit, unless every tensor fits into `backbone`."""
        shapes = {k: v.shape for k, v in backbone.state_dict().items()}
        for index, expert in enumerate(self.experts):
            for name, wanted in _shapes(expert).items():
                if name not in shapes:
                    raise ValueError(f"expert {index}: the guider has no tensor {name!r}")
                if wanted != shapes[name]:
                    raise ValueError(
                        f"expert {index}: {name!r} is {tuple(wanted)} in the file and "
                        f"{tuple(shapes[name])} in the guider"
                    )


def _shapes(expert: Expert) -> dict[str, torch.Size]:
    """Backbone tensor name -> the shape that it must have for `expert`."""
    shapes = {name: value.shape for name, value in expert.replacements.items()}
    for layer in expert.layers:
        lora_b, lora_a = expert.factors(layer)
        if lora_b.shape[1] != lora_a.shape[0]:
            raise ValueError(
                f"LoRA factors of {layer!r} are {tuple(lora_b.shape)} and {tuple(lora_a.shape)}, "
                f"which do not fit together"
            )
        shapes[f"{layer}.weight"] = torch.Size([lora_b.shape[0], *lora_a.shape[1:]])
    return shapes


class ExpertSwitch:
    """Merges one expert at a time into `backbone` and restores it exactly.

    `originals`: the touched weights by name as they were before, held only while an expert is
    active. The backbone may be on any device; the experts stay where they were loaded.
    """

    def __init__(self, backbone: nn.Module):
        self.backbone = backbone
        self.active: Expert | None = None
        self.originals: dict[str, Tensor] = {}
        self._owners = {
            f"{path}.{name}" if path else name: (module, name)
            for path, module in backbone.named_modules()
            for name in (*module._parameters, *module._buffers)
        }

    def _tensor(self, name: str) -> Tensor:
        """Looked up at every use: moving a model to a device can replace its tensors."""
        module, attribute = self._owners[name]
        return getattr(module, attribute)

    def activate(self, expert: Expert | None) -> None:
        """Make `expert` the active one (None: the plain backbone). Free if it already is."""
        if expert is self.active:
            return
        with torch.inference_mode(False), torch.no_grad():  # the former alone enables gradients
            wanted = expert.touched if expert else set()
            weights = {name: self._tensor(name) for name in wanted | self.originals.keys()}
            for name in wanted - self.originals.keys():
                self.originals[name] = weights[name].detach().clone()
            for name in self.originals.keys() - wanted:
                weights[name].copy_(self.originals.pop(name))
            if expert:
                merge(expert, weights, self.originals)
            self.active = expert

    def restore(self) -> None:
        """Put the plain backbone back, bit for bit."""
        self.activate(None)


def merge(expert: Expert, weights: Mapping[str, Tensor], originals: Mapping[str, Tensor]) -> None:
    """Write `originals + scaling B A`, and the replaced tensors, into `weights`."""
    for layer in expert.layers:
        name = f"{layer}.weight"
        weight = weights[name]
        lora_b, lora_a = (f.flatten(1).to(weight) for f in expert.factors(layer))
        original = originals[name].to(weight.device).flatten(1)
        # A weight that is stored channels last cannot be viewed as a matrix.
        out = weight.view(original.shape) if weight.is_contiguous() else None
        merged = torch.addmm(original, lora_b, lora_a, alpha=expert.scaling, out=out)
        if out is None:
            weight.copy_(merged.view(weight.shape))
    if expert.replacements:
        replaced = [weights[name] for name in expert.replacements]
        torch._foreach_copy_(replaced, list(expert.replacements.values()))
