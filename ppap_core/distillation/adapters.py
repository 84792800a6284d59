"""Adapters on any backbone: where LoRA goes, what is trained whole, how to read it off again."""

import copy
import inspect
import logging
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ..expert_file import LoraSpec
from ..experts import PEFT_PREFIX

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
SMALL = 2**16  # parameters that an expert may have on any guider, however small
BESIDE_LORA = ("norms", "biases", "nothing")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterSettings:
    """Where an expert's parameters go, and how many there may be.

    `max_touched`: share of the backbone's weights that LoRA may change, from the input on; it
    bounds what a switch of experts has to copy, and what memory that takes. All layers guide better
    than the same number of parameters in the first quarter (docs/evidence/ablations.md).
    `max_share`: trained parameters of one expert, as a share of the backbone's; the rank is lowered
    until they fit (guiders under a million parameters: SMALL). 5.8 % is the paper's ResNet50.
    `pattern`: a regular expression that names of layers have to contain; "" takes all.
    `full`: the baseline of full fine-tuning; no LoRA, every weight is trained and stored.
    `beside_lora`: what else an expert has of its own: "norms" and all biases; all "biases", those
    of norms too; "nothing". The guider's norms keep their statistics in the last two. Norms are
    worth much, biases little (docs/evidence/ablations.md).
    """

    rank: int = 8
    lora_alpha: float = 8.0
    max_touched: float = 1.0
    max_share: float = 0.058
    pattern: str = ""
    full: bool = False
    beside_lora: str = "norms"

    def __post_init__(self):
        if self.rank < 1 or not self.lora_alpha > 0 or not 0 < self.max_touched <= 1:
            raise ValueError(
                f"rank is at least 1, lora_alpha above 0, max_touched in (0, 1]; got {self}"
            )
        if not 0 < self.max_share <= 1:
            raise ValueError(f"max_share is in (0, 1], got {self.max_share}")
        if self.beside_lora not in BESIDE_LORA:
            raise ValueError(
                f"beside_lora is one of {', '.join(BESIDE_LORA)}, got {self.beside_lora!r}"
            )
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(
                f"pattern {self.pattern!r} is no regular expression: {error}"
            ) from None


def lora_layers(backbone: nn.Module, max_touched: float, pattern: str = "") -> list[str]:
    """Linear layers and plain convolutions, from the input on, without the head.

    What peft's LoRA (0.21) does not follow is left out, see `left_out`.
    """
    budget = max_touched * sum(p.numel() for p in backbone.parameters())
    layers = []
    for name, module, reason in _weighted(backbone, pattern):
        if reason:
            continue
        budget -= module.weight.numel()
        if budget < 0:
            break
        layers.append(name)
    return layers


def left_out(backbone: nn.Module, pattern: str = "") -> dict[str, int]:
    """Kinds of layers that get no LoRA whatever the budget, and how many there are of each."""
    return dict(Counter(reason for _, _, reason in _weighted(backbone, pattern) if reason))


def _weighted(backbone: nn.Module, pattern: str):
    """(name, module, reason to leave it out or "") of all layers that multiply by a weight."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.modules.conv._ConvNd, Conv1D, nn.MultiheadAttention)
    heads = _head_modules(backbone)
    uncalled = _uncalled(backbone)
    owners = Counter(id(p) for _, p in backbone.named_parameters(remove_duplicate=False))
    for name, module in backbone.named_modules():
        if not isinstance(module, kinds):
            continue
        reason = ""
        if id(module) in heads:
            reason = "head"
        elif id(module) in uncalled:
            reason = "weight used without a call of its layer"
        elif getattr(module, "groups", 1) > 1:
            reason = "grouped convolution"
        elif getattr(module, "transposed", False):
            reason = "transposed convolution"
        elif set(getattr(module, "dilation", [1])) != {1}:
            reason = "dilated convolution"
        elif type(module).forward not in (nn.Linear.forward, nn.Conv2d.forward):
            reason = "layer with a forward pass of its own"
        elif owners[id(module.weight)] > 1:
            reason = "weight shared by several layers"
        elif not re.search(pattern, name):
            reason = "not in the pattern"
        yield name, module, reason


def _uncalled(backbone: nn.Module) -> set[int]:
    """Layers whose parent multiplies by their weight itself, past peft: qkv of timm's BEiT, ..."""
    found = {id(m) for m in backbone.modules() if isinstance(m, nn.MultiheadAttention)}
    for parent in backbone.modules():
        source = _forward_source(type(parent))
        for name, child in parent.named_children():
            if re.search(rf"\bself\.{name}\.weight\b(?!\.(dtype|device))", source):
                found.add(id(child))
    return found


@cache
def _forward_source(kind: type[nn.Module]) -> str:
    try:
        return inspect.getsource(kind.forward)
    except (OSError, TypeError):  # compiled, or made at run time
        return ""


def _head_modules(backbone: nn.Module) -> set[int]:
    head = backbone.get_classifier() if hasattr(backbone, "get_classifier") else None
    heads = head if isinstance(head, tuple) else (head,)
    return {id(module) for head in heads if head is not None for module in head.modules()}


def whole_tensors(backbone: nn.Module, beside_lora: str = "norms") -> list[str]:
    """Norms (with running statistics) and all biases: small, so each expert has its own.

    `beside_lora`: as in AdapterSettings.
    """
    if beside_lora == "nothing":
        return []
    names = {n for n, _ in backbone.named_parameters() if n.endswith(".bias")}
    for name, module in backbone.named_modules() if beside_lora != "biases" else ():
        if _is_norm(module):
            tensors = [
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ]
            small = (n for n, t in tensors if t.is_floating_point() and t.ndim == 1)
            names |= {f"{name}.{n}" for n in small}
    return sorted(names & backbone.state_dict().keys())


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, NORMS) or "norm" in type(module).__name__.lower()


def _all_tensors(backbone: nn.Module) -> list[str]:
    return sorted(n for n, t in backbone.state_dict().items() if t.is_floating_point())


def _fit_rank(backbone: nn.Module, layers: list[str], settings: AdapterSettings) -> int:
    """The settings' rank, or the highest that keeps an expert within `max_share`."""
    parameters = dict(backbone.named_parameters())
    total = sum(p.numel() for p in parameters.values())
    own = whole_tensors(backbone, settings.beside_lora)
    whole = sum(parameters[n].numel() for n in own if n in parameters)
    budget = max(settings.max_share * total, SMALL) - whole
    weights = [parameters[f"{layer}.weight"] for layer in layers]
    per_rank = sum(len(weight) + weight[0].numel() for weight in weights)
    rank = min(settings.rank, int(budget // per_rank)) if layers else settings.rank
    if rank < 1:
        raise ValueError(
            f"rank 1 on {len(layers)} layers and {whole:,} whole parameters are more than "
            f"{settings.max_share:.1%} of the guider's {total:,}: raise max_share or lower "
            f"max_touched"
        )
    if rank < settings.rank:
        log.warning(
            "LoRA rank %d instead of %d: an expert has at most %.1f %% of the guider's parameters",
            *(rank, settings.rank, 100 * settings.max_share),
        )
    return rank


class Student(nn.Module):
    """A copy of a backbone with one trainable adapter. `tensors()` reads an expert off it."""

    def __init__(self, backbone: nn.Module, settings: AdapterSettings):
        super().__init__()
        self.spec = _full_spec(backbone, settings) if settings.full else _spec(backbone, settings)
        self.model = copy.deepcopy(backbone)
        self.owns_norms = settings.full or settings.beside_lora == "norms"
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
        """Norms that are not the expert's keep the guider's statistics."""
        super().train(mode)
        if not self.owns_norms:
            for norm in filter(_is_norm, self.model.modules()):
                norm.eval()
        return self

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


def _spec(backbone: nn.Module, settings: AdapterSettings) -> LoraSpec:
    layers = lora_layers(backbone, settings.max_touched, settings.pattern)
    if not layers and any(not reason for *_, reason in _weighted(backbone, settings.pattern)):
        raise ValueError("no layer of the guider fits LoRA's share: raise max_touched")
    rank = _fit_rank(backbone, layers, settings)
    without = ", ".join(f"{n} x {kind}" for kind, n in left_out(backbone, settings.pattern).items())
    log.info("LoRA of rank %d on %d layers; left out: %s", rank, len(layers), without or "none")
    wrapped = {f"{layer}.bias": f"{layer}.base_layer.bias" for layer in layers}
    own = whole_tensors(backbone, settings.beside_lora)
    if not layers and not own:
        raise ValueError("nothing to train: no layer gets LoRA, and nothing is beside it")
    replaced = [wrapped.get(name, name) for name in own]
    lora_alpha = settings.lora_alpha * rank / settings.rank  # the scaling stays as it was set
    return LoraSpec(rank, lora_alpha, tuple(layers), tuple(replaced))


def _full_spec(backbone: nn.Module, settings: AdapterSettings) -> LoraSpec:
    return LoraSpec(settings.rank, settings.lora_alpha, (), tuple(_all_tensors(backbone)))


def count_trainable(student: Student) -> int:
    return sum(p.numel() for p in student.trainable())
