"""What experts read of a checkpoint's states in training: the same as later in sampling."""

import comfy.model_management
from torch import Tensor

from ..distillation.batch import Reader
from ..distillation.settings import DistillSettings
from ..guiders import Guider
from .cancel import cancellable
from .checkpoint import Checkpoint
from .denoise import Denoiser
from .views import build_view

KEY = "ppap_reader"  # not guidance's: a guided model keeps its own guider loaded


def build_reader(
    checkpoint: Checkpoint,
    settings: DistillSettings,
    conditioning: list,
    cfg: float,
    *patchers,
    guider: Guider | None = None,
) -> tuple[str, Reader]:
    """(name of the view, reader) for the input and view in `settings`.

    Pictures are as large as `guider` reads them. `patchers`, and the view's own, are loaded with
    the model before each of its passes: ComfyUI may have unloaded them to make room for it.
    """
    view = build_view(settings.view, checkpoint.model, checkpoint.vae, guider)
    decoders = [patcher.model for patcher in view.patchers]

    def look(state: Tensor) -> Tensor:
        with cancellable(*decoders):
            return view.view(state)

    if settings.input == "x_t":
        comfy.model_management.load_models_gpu(view.patchers)
        return view.name, Reader(view=look)
    model = checkpoint.model.clone()
    model.set_additional_models(KEY, [*view.patchers, *patchers])
    denoise = Denoiser(model, conditioning, conditioning, cfg)

    def estimate(x_0: Tensor, sigma_ve: Tensor, eps: Tensor) -> Tensor:
        with cancellable(model.model.diffusion_model):
            return denoise(x_0, sigma_ve, eps)

    return view.name, Reader(estimate, look)
