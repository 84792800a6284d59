"""What the jacobian "backprop" keeps of an evaluation of ComfyUI's model, told beforehand.

Read in ComfyUI 0.30.0 (samplers.py, process_conds and calc_cond_batch; model_base.py).
"""

import logging
import math
import weakref
from collections.abc import Mapping, Sequence

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..errors import one_line
from ..peak_memory import peak_of
from .differentiable import differentiable, with_torch_attention

# Of each place of the latent and each of its model's memory_usage_factor, in float32, where it
# cannot be told: a rule of thumb, after SD1.5.
TYPICAL = 0.9 * 2**20
CPU = torch.device("cpu")

log = logging.getLogger(__name__)
_known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def backprop_bytes(model, shape: Sequence[int], conds: Mapping[str, list[dict]]) -> float:
    """Of one evaluation of `model` (MODEL) and its backward pass, for states of `shape`.

    `conds`: as a PREPARE_SAMPLING wrapper gets them; one of them is evaluated.
    """
    cond = next((entry for entries in conds.values() for entry in entries), {})
    crossed = cond.get("cross_attn")
    key = tuple(shape), None if crossed is None else tuple(crossed.shape)
    known = _known.setdefault(model.model, {})
    if key not in known:
        known[key] = _told_beforehand(model, torch.Size(shape), cond)
    return known[key]


def _told_beforehand(model, shape: torch.Size, cond: dict) -> float:
    base = model.model
    try:
        with torch.no_grad():
            given = _model_conds(base, shape, cond)
        device = "cuda" if model.load_device.type == "cuda" else "cpu"

        def evaluate(network, x: Tensor) -> Tensor:
            network.current_patcher = None
            for part in network.modules():  # places in the memory of ComfyUI's dynamic VRAM
                part.__dict__.pop("_v", None)
            here = tree_map_only(Tensor, lambda t: t.new_empty(t.shape, device=device), given)
            crossed = here.pop("c_crossattn", None)
            options = with_torch_attention({})["transformer_options"]
            sigma = torch.ones(len(x), device=device)
            with differentiable(network):
                return network._apply_model(
                    x, sigma, c_crossattn=crossed, transformer_options=options, **here
                )

        shared = [v for k, v in vars(base).items() if k not in ("_modules", "_buffers")]
        return peak_of(base, evaluate, shape, device, shared=shared).num_bytes
    except Exception as error:  # models of other packs may do anything
        log.debug("what backprop keeps cannot be told beforehand: %s", one_line(error))
        places = shape[0] * math.prod(shape[2:])
        size = comfy.model_management.dtype_size(base.get_dtype_inference())
        return TYPICAL * places * base.memory_usage_factor * size / 4


def _model_conds(base, shape: torch.Size, cond: dict) -> dict[str, object]:
    """What the model gets beside the state, as calc_cond_batch would hand it over."""
    noise = torch.zeros(shape)
    place = {"latent_image": noise, "denoise_mask": None, "seed": 0, "latent_shapes": [shape]}
    entry = {"model_conds": {}, **cond}
    (entry,) = comfy.samplers.encode_model_conds(
        base.extra_conds, [entry], noise, CPU, "positive", **place
    )
    return {
        name: value.process_cond(batch_size=shape[0], area=None).cond
        for name, value in entry["model_conds"].items()
    }
