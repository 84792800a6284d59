"""What experts see of a checkpoint's states while they learn: the same as later in sampling."""

import comfy.model_management

from ..distillation.distill import Reader, read_x_t
from ..distillation.settings import DistillSettings
from .checkpoint import Checkpoint
from .denoise import Denoiser
from .views import build_view


def build_reader(
    checkpoint: Checkpoint, settings: DistillSettings, conditioning: list, cfg: float
) -> tuple[str, Reader]:
    """(name of the view, reader) for the input and view in `settings`."""
    view = build_view(settings.view, checkpoint.model, checkpoint.vae)
    comfy.model_management.load_models_gpu(view.patchers)
    if settings.input == "x_t":
        return view.name, read_x_t(view.view)
    denoise = Denoiser(checkpoint.model, conditioning, conditioning, cfg)
    return view.name, lambda x_0, sigma_ve, eps: view.view(denoise(x_0, sigma_ve, eps))
