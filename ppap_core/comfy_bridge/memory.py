"""Guiders in ComfyUI's memory management.

Read in ComfyUI 0.30.0: weights that its loader moves to the GPU inside torch.inference_mode()
become inference tensors, which refuse a backward pass; and its partial loading cannot stream the
weights of modules that are not its own (model_patcher.py).
"""

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

ALL = 1e32  # bytes: more than any device has


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


def build_patcher(module: nn.Module) -> WholeModulePatcher:
    """Hand `module` to ComfyUI: computed on its device, kept on its offload device."""
    tensors = [*module.parameters(), *module.buffers()]
    assert not any(t.is_inference() for t in tensors), "load it under torch.inference_mode(False)"
    return WholeModulePatcher(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
