"""A blind denoiser of grey faces as a ComfyUI MODEL of pictures with three equal channels.

Kadkhodaie, Guth, Mallat and Simoncelli (2023): f(y) is the noise of y = face + noise, with pixels
in [0, 1] and noise up to 1; the network learns from y alone how strong it is.
"""

from itertools import pairwise
from pathlib import Path

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM
from safetensors.torch import load_file
from torch import Tensor, nn

from ppap_core.comfy_bridge.pixel_model import PixelModelConfig

SIGMA_MAX, SIGMA_MIN = 2 * 3**0.5, 0.02  # of a state: 1 in the mean of its channels, in [0, 1]


class Scale(nn.Module):
    """A batch normalisation without means: (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("running_sd", torch.ones(1, channels, 1, 1))
        self.gammas = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x / self.running_sd * self.gammas


class FaceDenoiser(nn.Module):
    """`widths`: of the convolutions' inputs and of the last one's output."""

    dtype = torch.float32

    def __init__(self, widths: list[int], **_from_host):
        super().__init__()
        self.conv_layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=3, padding=1, bias=False) for a, b in pairwise(widths)
        )
        self.BN_layers = nn.ModuleList(Scale(width) for width in widths[2:-1])

    def forward(self, x: Tensor, timestep: Tensor, *_, **__) -> Tensor:
        """The host's scaled states, (B, 3, H, W), and its timesteps, log(sigma) / 4 -> eps.

        The denoiser reads the mean of the channels: that the others are noise is exact for grey.
        """
        sigma = (4 * timestep).exp().view(-1, 1, 1, 1)
        state = x * (sigma.square() + 1).sqrt()
        y = (state.mean(dim=1, keepdim=True) + 1) / 2
        face = 2 * (y - self.noise_of(y)) - 1
        return (state - face) / sigma

    def noise_of(self, y: Tensor) -> Tensor:
        """What is noise in (B, 1, H, W), with pixels in [0, 1]."""
        y = self.conv_layers[0](y)
        for conv, scale in zip(self.conv_layers[1:-1], self.BN_layers, strict=True):
            y = scale(conv(y)).relu()
        return self.conv_layers[-1](y)


def load_face_model(path: Path) -> comfy.model_patcher.ModelPatcher:
    """MODEL; its noise is set by the host's own node."""
    weights = load_file(path)
    kernels = [weights[f"conv_layers.{i}.weight"] for i in range(_count(weights, "conv_layers"))]
    config = PixelModelConfig({"widths": [kernels[0].shape[1], *(len(k) for k in kernels)]})
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        base = comfy.model_base.BaseModel(config, unet_model=FaceDenoiser)
        base.diffusion_model.load_state_dict(weights)
    model = comfy.model_patcher.CoreModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    node = ModelSamplingContinuousEDM()
    return node.patch(model, sampling="eps", sigma_max=SIGMA_MAX, sigma_min=SIGMA_MIN)[0]


def _count(weights: dict[str, Tensor], name: str) -> int:
    return sum(key.startswith(name) for key in weights)
