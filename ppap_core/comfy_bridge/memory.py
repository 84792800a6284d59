"""Guiders in ComfyUI's memory management.

Read in ComfyUI 0.30.0: weights that its loader moves to the GPU inside torch.inference_mode()
become inference tensors, which refuse a backward pass; and its partial loading cannot stream the
weights of modules that are not its own (model_patcher.py).
"""

import logging
import math
import weakref
from collections.abc import Sequence

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

from ..activations import activation_bytes
from ..errors import one_line
from ..guidance import Guidance
from ..views import DecodePlan, DecoderView

PIXELS_PER_LATENT = 8  # each side, of most decoders
ALL = 1e32  # bytes: more than any device has

log = logging.getLogger(__name__)


class WholeModulePatcher(comfy.model_patcher.ModelPatcher):
    """Loads a foreign module wholly or not at all, as ordinary tensors that autograd accepts."""

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        with torch.inference_mode(False), torch.no_grad():
            return super().partially_load(device_to, ALL, force_patch_weights=force_patch_weights)

    def partially_unload(self, device_to, memory_to_free=0, force_patch_weights=False):
        return 0  # ComfyUI then unloads the whole module

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        with torch.inference_mode(False), torch.no_grad():
            return super().unpatch_model(device_to, unpatch_weights)

    def deepclone_multigpu(self, new_load_device=None, models_cache=None):
        return self  # guidance is on one device, which a MODEL's clones on others share


def build_patcher(module: nn.Module) -> WholeModulePatcher:
    """Hand `module` to ComfyUI: computed on its device, kept on its offload device."""
    tensors = [*module.parameters(), *module.buffers()]
    assert not any(t.is_inference() for t in tensors), "load it under torch.inference_mode(False)"
    return WholeModulePatcher(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


_known_bytes: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def guidance_bytes(guidance: Guidance, shape: Sequence[int]) -> int:
    """What the passes of guider and decoder keep, for states of `shape`.

    0 where it cannot be told. ValueError if there is no room to decode such states.
    """
    frames = math.prod(shape[2:-2])
    frames = min(len(guidance.shaping.frames) or frames, frames)
    num, scale, decoding = shape[0] * frames, 1, 0.0
    if (plan := decode_plan(guidance, shape)) is not None:
        scale, decoding = PIXELS_PER_LATENT // 2**plan.left_out, plan.num_bytes
    images = torch.Size((num, 3, *(scale * side for side in shape[-2:])))
    read = guidance.read_shape(images)
    guiding = bytes_of_one(guidance.guider, read) * min(read[0], guidance.at_once(read))
    return int(guiding + decoding)


def decode_plan(guidance: Guidance, shape: Sequence[int]) -> DecodePlan | None:
    """How the view decodes what it is shown of states of `shape`; None if it decodes nothing."""
    if not isinstance(guidance.view, DecoderView):
        return None
    shown = torch.Size(shape)
    if len(shape) == 5 and (chosen := guidance.shaping.frames):
        shown = torch.Size((*shape[:2], min(len(chosen), shape[2]), *shape[3:]))
    return guidance.view.plan(shown)


def images_at_once(
    guider: nn.Module,
    share: float,
    most: int | None,
    images: Sequence[int],
    device: torch.device | None = None,
) -> int:
    """How many of `images` (N, 3, H, W) the guider reads in one pass: what keeps to `share` of the
    memory of `device` (None: where it is), and at most `most`; at least 1.

    Of all the memory, not of what is free now: the same images take the same passes every time.
    """
    if images[0] <= 1:
        return 1
    most = images[0] if most is None else min(most, images[0])
    one = bytes_of_one(guider, images)
    if not one:
        return 1
    device = device or next(guider.parameters()).device
    total = comfy.model_management.get_total_memory(device)
    return max(1, min(most, int(share * total // one)))


def bytes_of_one(guider: nn.Module, images: Sequence[int]) -> int:
    """Of a pass with its backward pass, for one of `images` (N, 3, H, W); 0 if it is unknown."""
    known = _known_bytes.setdefault(guider, {})
    one = (1, *images[1:])
    if one not in known:
        known[one] = _count_bytes(guider, one)
    return known[one]


def _count_bytes(guider: nn.Module, picture: Sequence[int]) -> int:
    try:
        return activation_bytes(guider, picture)
    except (RuntimeError, ValueError, TypeError) as error:
        log.debug("the guider's memory cannot be told beforehand: %s", one_line(error))
        return 0


def with_room(model, noise_shape: Sequence[int], num_bytes: float) -> list[int]:
    """`noise_shape` with more rows, so that ComfyUI's estimate of memory includes `num_bytes`.

    ComfyUI uses the shape for its estimate alone (sampler_helpers.py, prepare_sampling), and asks
    for twice the memory of the rows but makes do with once.
    """
    of_a_row = model.model.memory_required([1, *noise_shape[1:]])
    return [noise_shape[0] + math.ceil(num_bytes / max(of_a_row, 1.0)), *noise_shape[1:]]
