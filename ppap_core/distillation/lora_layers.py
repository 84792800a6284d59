"""Which layers of a guider get LoRA, which tensors an expert stores whole, and LoRA's rank."""

import inspect
import logging
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from torch import nn

from ..errors import SettingError
from ..expert_header import LoraSpec
from .settings import AdapterSettings

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
SMALL = 2**16  # parameters that an expert may have on any guider, however small

log = logging.getLogger(__name__)


def choose_tensors(backbone: nn.Module, settings: AdapterSettings) -> LoraSpec:
    """What every expert of `backbone` holds. ValueError if that is nothing, or over its limits."""
    if settings.full:
        floating = (n for n, t in backbone.state_dict().items() if t.is_floating_point())
        return LoraSpec(settings.rank, settings.lora_alpha, (), tuple(sorted(floating)))
    pattern = settings.target_modules
    layers = lora_layers(backbone, settings.max_touched, pattern)
    if not layers and any(not reason for *_, reason in _weighted(backbone, pattern)):
        raise SettingError(
            "no layer of this guider is small enough for LoRA's share of its weights",
            max_touched="raise max_touched",
            guider="choose another guider",
        )
    rank = _fit_rank(backbone, layers, settings)
    without = ", ".join(f"{n} x {kind}" for kind, n in left_out(backbone, pattern).items())
    log.info("LoRA of rank %d on %d layers; left out: %s", rank, len(layers), without or "none")
    whole = whole_tensors(backbone, settings)
    if not layers and not whole:
        raise SettingError(
            "nothing to train in this guider: no layer gets LoRA, and no tensor is stored whole",
            target_modules="choose other layers",
            guider="choose another guider",
        )
    wrapped = {f"{layer}.bias": f"{layer}.base_layer.bias" for layer in layers}
    replaced = tuple(wrapped.get(name, name) for name in whole)
    lora_alpha = settings.lora_alpha * rank / settings.rank  # the scaling stays as it was set
    return LoraSpec(rank, lora_alpha, tuple(layers), replaced)


def lora_layers(backbone: nn.Module, max_touched: float, target_modules: str = ".*") -> list[str]:
    """Linear layers and plain convolutions, from the input on, without the head.

    What peft's LoRA (0.21) does not follow is left out, see `left_out`.
    """
    budget = max_touched * sum(p.numel() for p in backbone.parameters())
    layers = []
    for name, module, reason in _weighted(backbone, target_modules):
        if reason:
            continue
        budget -= module.weight.numel()
        if budget < 0:
            break
        layers.append(name)
    return layers


def left_out(backbone: nn.Module, target_modules: str = ".*") -> dict[str, int]:
    """Reasons for which layers get no LoRA whatever the budget, and how many have each."""
    reasons = (reason for *_, reason in _weighted(backbone, target_modules))
    return dict(Counter(reason for reason in reasons if reason))


def whole_tensors(backbone: nn.Module, settings: AdapterSettings) -> list[str]:
    """Names of what an expert stores whole: biases and norms, with statistics if it has its own."""
    names = set()
    if settings.bias == "all":
        names |= {n for n, _ in backbone.named_parameters() if n.endswith(".bias")}
    if settings.modules_to_save == "norms":
        own_statistics = settings.norm_statistics == "batch"
        for name, module in filter(lambda named: is_norm(named[1]), backbone.named_modules()):
            names |= {f"{name}.{n}" for n in _norm_tensors(module, own_statistics)}
    return sorted(names & backbone.state_dict().keys())


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, NORMS) or "norm" in type(module).__name__.lower()


def _norm_tensors(norm: nn.Module, own_statistics: bool) -> list[str]:
    tensors = list(norm.named_parameters(recurse=False))
    if own_statistics:
        tensors += norm.named_buffers(recurse=False)
    return [n for n, t in tensors if t.is_floating_point() and t.ndim == 1]


def _weighted(backbone: nn.Module, target_modules: str) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, module, reason to leave it out or "") of all layers that multiply by a weight."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.modules.conv._ConvNd, Conv1D, nn.MultiheadAttention)
    heads = _head_modules(backbone)
    bypassed = _bypassed(backbone)
    owners = Counter(id(p) for _, p in backbone.named_parameters(remove_duplicate=False))
    for name, module in backbone.named_modules():
        if not isinstance(module, kinds):
            continue
        reason = ""
        if id(module) in heads:
            reason = "head"
        elif id(module) in bypassed:
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
        elif not re.fullmatch(target_modules, name):
            reason = "not in target_modules"
        yield name, module, reason


def _bypassed(backbone: nn.Module) -> set[int]:
    """Layers whose parent uses `.weight` directly, bypassing peft's wrapper (timm's BEiT, ...)."""
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


def _fit_rank(backbone: nn.Module, layers: list[str], settings: AdapterSettings) -> int:
    """The settings' rank, or the highest that keeps an expert within `max_share`."""
    parameters = dict(backbone.named_parameters())
    total = sum(p.numel() for p in parameters.values())
    whole = sum(parameters[n].numel() for n in whole_tensors(backbone, settings) if n in parameters)
    budget = max(settings.max_share * total, SMALL) - whole
    weights = [parameters[f"{layer}.weight"] for layer in layers]
    per_rank = sum(len(weight) + weight[0].numel() for weight in weights)
    rank = min(settings.rank, int(budget // per_rank)) if layers else settings.rank
    if rank < 1:
        raise SettingError(
            f"rank 1 on {len(layers)} layers and {whole:,} whole parameters are more than "
            f"{settings.max_share:.1%} of the guider's {total:,}",
            max_share="raise max_share",
            max_touched="lower max_touched",
            guider="choose another guider",
        )
    if rank < settings.rank:
        log.warning(
            "LoRA rank %d instead of %d: an expert has at most %.1f %% of the guider's parameters",
            rank,
            settings.rank,
            100 * settings.max_share,
        )
    return rank
