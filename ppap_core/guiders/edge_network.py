"""Networks that answer with edges, from a local folder: HED and DexiNed.

Neither has a folder layout of its own; ours is `model.safetensors`, with the names that the
authors' files have, and `config.json`: {"edge_network": "hed"} or "dexined". "size" may say to how
many pixels the shorter side of a picture is resized, 512 if nothing is said, as controlnet_aux does
it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from .guider import Guider, GuiderInfo, fingerprint
from .hed import Hed, is_hed, read_hed, subtracting
from .model_folder import CONFIG, fill, read_weights, unwrapped
from .preprocessing import Preprocessing

SIGN = "edge_network"  # the entry of config.json
HED, DEXINED = "hed", "dexined"
SIZE, SIZES = 512, range(32, 4097)
DEXINED_MEANS = (103.939, 116.779, 123.68)  # of blue, green, red in 0 to 255


class DexiNedModel(nn.Module):
    """Pixels (B, 3, h, w) -> the log-odds of an edge, (B, 1, h, w).

    Soria, Riba and Sappa (2020), arXiv:1909.01955, as kornia builds it.
    """

    def __init__(self):
        super().__init__()
        self.model = _kornias_dexined()
        for layer in self.model.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # before kornia 0.9 one overwrote what training still needs

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.model(pixels)
        return answer[-1] if isinstance(answer, list) else answer  # kornia 0.7.1: all of its sizes


def network_of(weights: dict[str, Tensor]) -> str | None:
    """Which of both these weights are of, by their names; None for others."""
    if is_hed(weights):
        return HED
    return DEXINED if any("dblock_6.denselayer1." in name for name in weights) else None


def load_edge_folder(folder: Path, config: dict) -> Guider:
    """Build the network that `config` names and load `folder`'s weights.

    ValueError, in one line, for another name or size, and for weights that do not fit.
    """
    name, size = config[SIGN], config.get("size", SIZE)
    if name not in (HED, DEXINED):
        raise ValueError(f"{folder / CONFIG}: {SIGN!r} is {HED!r} or {DEXINED!r}, got {name!r}")
    if size not in SIZES:
        raise ValueError(
            f"{folder / CONFIG}: 'size' is a number of pixels from {SIZES[0]} to {SIZES[-1]}, "
            f"got {size!r}"
        )
    weights = read_weights(folder)
    prints = fingerprint(weights)
    with torch.inference_mode(False):
        if name == HED:
            backbone, (weights, pixels) = Hed(), read_hed(weights)
            fill(backbone, weights, folder)
        else:
            backbone, pixels = DexiNedModel(), subtracting(DEXINED_MEANS, reverse_channels=True)
            fill(backbone.model, unwrapped(weights, backbone.model), folder)
    preprocessing = Preprocessing(size=(size, size), crop_mode="shortest", **pixels)
    info = GuiderInfo(f"{name}/{folder.name}", name, "edges", (), prints)
    return Guider(backbone, preprocessing, info)


def _kornias_dexined() -> nn.Module:
    try:
        from kornia.filters.dexined import DexiNed
    except ImportError:
        raise ValueError(
            "DexiNed needs the package kornia, which ComfyUI's requirements.txt names: install it "
            "with ComfyUI's Python (python -m pip install kornia)"
        ) from None
    return DexiNed(pretrained=False)
