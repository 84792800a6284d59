"""The estimates that sampling computes anyway, kept for experts that read them (x0_hat).

What is kept is what a guider reads while sampling, the conditional estimate (pre_cfg.py).
"""

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .noise_levels import sigma_to_sigma_ve
from .pre_cfg import with_reader

KEY = "ppap_harvest"


class Harvest:
    """Records every evaluation of `model` (MODEL), a clone of the one it is made with."""

    def __init__(self, model):
        self.model = model.clone()
        self.model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self._predict_noise)
        self._sigma_ve: list[float] = []
        self._estimates: list[Tensor] = []

    def take(self) -> tuple[Tensor, Tensor]:
        """(sigma_ve (T,), estimates (B, T, C, ...) in half precision), and forget them.

        One entry for each of the T evaluations since the last call, in the model's own scale.
        """
        taken = torch.tensor(self._sigma_ve), torch.stack(self._estimates, dim=1)
        self.forget()
        return taken

    def forget(self) -> None:
        """What a sampling that was given up has left."""
        self._sigma_ve, self._estimates = [], []

    def _predict_noise(self, executor, x, timestep, model_options=None, seed=None) -> Tensor:
        """The PREDICT_NOISE wrapper."""
        read: list[Tensor] = []
        options = with_reader(model_options, lambda estimate, sigma: read.append(estimate))
        denoised = executor(x, timestep, options, seed)
        model_sampling = executor.class_obj.inner_model.model_sampling
        self._sigma_ve.append(float(sigma_to_sigma_ve(model_sampling, timestep.float())[0]))
        self._estimates.append((read or [denoised])[0].half().cpu())
        return denoised
