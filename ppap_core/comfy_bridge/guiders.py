"""Guiders by name: the pack's own folders, known ones on the hub, and ComfyUI's own depth models.

Read in ComfyUI 0.30.0. Its Depth Anything 3 (comfy_extras/nodes_depth_anything_3.py) is an ordinary
module and can be differentiated; its own nodes run it without gradients. MoGe's answer is a cloud
of points through a class without gradients: not offered.
"""

from pathlib import Path

import comfy.model_base
import comfy.sd
import folder_paths
import torch
from torch import Tensor, nn

from ..guiders import (
    PRESETS,
    Guider,
    GuiderInfo,
    Preprocessing,
    fetch_preset,
    fingerprint,
    list_guiders,
    load_guider,
)
from ..guiders.transformers_guider import MIN_DEPTH
from .folders import GUIDERS

HOSTS_OWN = "geometry_estimation"  # the folder of ComfyUI's depth models
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIDE, MULTIPLE = 504, 14  # Depth Anything 3: of its training pictures, and of its patches


def guider_names() -> list[str]:
    """The guiders that are here, ComfyUI's depth models, then the presets that are not here."""
    here = {name for root in _roots() for name in list_guiders(root)}
    own = [f"{HOSTS_OWN}/{name}" for name in _own_files()]
    return [*sorted(here), *own, *(name for name in PRESETS if name not in here)]


def load_named_guider(name: str, allow_download: bool = False) -> Guider:
    """The guider called `name`; a preset that is not here is downloaded, if that is allowed.

    ValueError, in one line, for a name that is nowhere and a model that is no guider.
    """
    if (path := _own_path(name)) is not None:
        return load_depth_anything_3(path)
    for root in _roots():
        if name in list_guiders(root):
            return load_guider(root / name)
    if name in PRESETS:
        first = Path(folder_paths.get_folder_paths(GUIDERS)[0])
        return load_guider(fetch_preset(PRESETS[name], first, allow_download))
    raise ValueError(f"no guider {name!r} in {' or '.join(folder_paths.get_folder_paths(GUIDERS))}")


def guider_stamp(name: str) -> list[int]:
    """Changes when the files of guider `name` do; empty while there are none."""
    if (path := _own_path(name)) is not None:
        return [path.stat().st_mtime_ns]
    folders = [root / name for root in _roots() if (root / name).is_dir()]
    return sorted(file.stat().st_mtime_ns for folder in folders[:1] for file in folder.iterdir())


def _roots() -> list[Path]:
    return [
        path for root in folder_paths.get_folder_paths(GUIDERS) if (path := Path(root)).is_dir()
    ]


def _own_files() -> list[str]:
    if HOSTS_OWN not in folder_paths.folder_names_and_paths:  # hosts before 0.30
        return []
    return [f for f in folder_paths.get_filename_list(HOSTS_OWN) if f.endswith(".safetensors")]


def _own_path(name: str) -> Path | None:
    file = name.removeprefix(f"{HOSTS_OWN}/")
    if file == name or file not in _own_files():
        return None
    return Path(folder_paths.get_full_path_or_raise(HOSTS_OWN, file))


class Nearness(nn.Module):
    """Depth Anything 3: pixels (B, 3, h, w) -> 1 / depth (B, h, w)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return 1 / self.network(pixels)["depth"].clamp(min=MIN_DEPTH)


def load_depth_anything_3(path: Path) -> Guider:
    """ComfyUI's network with weights of its own, in float32. ValueError for any other model."""
    kind = getattr(comfy.model_base, "DepthAnything3", None)  # hosts before 0.30 have none
    try:
        with torch.inference_mode(False):
            loaded = comfy.sd.load_diffusion_model(
                str(path), {"dtype": torch.float32}, disable_dynamic=True
            )
    except RuntimeError:
        loaded = None
    if loaded is None or kind is None or not isinstance(loaded.model, kind):
        raise ValueError(
            f"guider {path.name!r} is not a Depth Anything 3 that this ComfyUI knows: choose one, "
            f"or a folder in models/{GUIDERS}"
        )
    network = loaded.model.diffusion_model
    weights = network.state_dict()
    info = GuiderInfo(
        f"comfyui/{path.name}", type(network).__name__, "depth", (), fingerprint(weights)
    )
    preprocessing = Preprocessing(
        (SIDE, SIDE), **IMAGENET, interpolation="bicubic", crop_mode="fit", multiple=MULTIPLE
    )
    return Guider(Nearness(network), preprocessing, info)
