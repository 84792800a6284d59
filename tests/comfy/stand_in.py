"""What a MODEL is guided by in tests that bring their own score."""

import torch


class StandIn:
    """As ppap_core's Guidance for a run at scale 1; subclasses say what `gradient` is."""

    experts, target, input, jacobian = None, None, "x0_hat", "jvp"
    view = staticmethod(lambda x: x)
    at_once = staticmethod(lambda shape: shape[0])
    read_shape = staticmethod(lambda images: images)

    def __init__(self, comfyui, guider):
        self.strength = comfyui.module("ppap_core.strength").Strength(1.0, "raw")
        self.shaping = comfyui.module("ppap_core.shaping").Shaping(
            spectrum="plain", when_met="push on"
        )
        self.data_spectrum = comfyui.module("ppap_core.spectrum").GENERIC
        self.score_of = comfyui.module("ppap_core.guidance").Score
        self.guider = guider

    def region_like(self, x):
        return self.shaping.region_like(x)

    def score(self, x_vp, sigma_ve, denoised, denoise):
        gradient = self.gradient(x_vp, x_vp.new_tensor([sigma_ve]), denoised, denoise)
        return self.score_of(gradient, torch.zeros(len(x_vp)), torch.zeros(1, 3, 1, 1), False)
