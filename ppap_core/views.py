"""Views: how the state of a diffusion model becomes an image that a guider can read."""

from collections.abc import Callable

from torch import Tensor

View = Callable[[Tensor], Tensor]


def identity(x_vp: Tensor) -> Tensor:
    """Pixel models: the state (B, 3, H, W) is the image, in [-1, 1] where it is clean."""
    if x_vp.ndim != 4 or x_vp.shape[1] != 3:
        raise ValueError(
            f"the identity view reads pixel models (B, 3, H, W); this model's state is "
            f"{tuple(x_vp.shape)}: guide a pixel-space model"
        )
    return x_vp


VIEWS: dict[str, View] = {"identity": identity}
