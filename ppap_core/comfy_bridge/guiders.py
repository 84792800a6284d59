"""Guiders by name: the pack's own folders, presets on the hub, and ComfyUI's own depth models.

Read in ComfyUI 0.30.0. Its Depth Anything 3 (comfy_extras/nodes_depth_anything_3.py) is an ordinary
module and can be differentiated, although ComfyUI's nodes run it without gradients. ComfyUI's MoGe
is not offered: its class runs without gradients and answers with a cloud of points.
"""

from pathlib import Path

import comfy.model_base
import comfy.sd
import folder_paths
import torch
from torch import Tensor, nn

from ..guiders import (
    BUILT_IN,
    PRESETS,
    Guider,
    GuiderInfo,
    Preprocessing,
    check_by_trial,
    fetch_preset,
    find_guiders,
    fingerprint,
    load_guider,
)
from ..guiders.transformers_answers import MIN_DEPTH
from .folders import GUIDERS

HOSTS_OWN = "geometry_estimation"  # ComfyUI's name of the folder with its depth models
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, MULTIPLE = 504, 14  # Depth Anything 3: the side of its training pictures, of its patches


def guider_names() -> list[str]:
    """The guiders in the pack's folders, ComfyUI's depth models, presets, and those built in."""
    here = _folders()
    own = [f"{HOSTS_OWN}/{name}" for name in _own_files()]
    return [*sorted(here), *own, *(name for name in PRESETS if name not in here), *BUILT_IN]


def load_named_guider(name: str, allow_download: bool = False) -> Guider:
    """The guider called `name`; a preset that is not here is downloaded, if that is allowed.

    ValueError, in one line, for a name that is not found and for a model that is no guider.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if (path := _own_path(name)) is not None:
        return load_depth_anything_3(path)
    if folder := _folders().get(name):
        return load_guider(folder)
    if name in PRESETS:
        first = Path(folder_paths.get_folder_paths(GUIDERS)[0])
        return load_guider(fetch_preset(PRESETS[name], first, allow_download))
    folders = " or ".join(folder_paths.get_folder_paths(GUIDERS))
    raise ValueError(f"no guider {name!r} in {folders}: choose another, or put its folder there")


def guider_stamp(name: str) -> list[int]:
    """The times at which the files of guider `name` were changed; empty if there are none."""
    if (path := _own_path(name)) is not None:
        return [path.stat().st_mtime_ns]
    folder = _folders().get(name)
    files = filter(Path.is_file, folder.iterdir()) if folder else ()
    return sorted(file.stat().st_mtime_ns for file in files)


def _folders() -> dict[str, Path]:
    """The guiders in the pack's folders, by name; the first folder that has a name counts."""
    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths(GUIDERS):
        found = find_guiders(root) | found
    return found


def _own_files() -> list[str]:
    """The safetensors files in ComfyUI's folder of depth models."""
    if HOSTS_OWN not in folder_paths.folder_names_and_paths:  # hosts before 0.30
        return []
    return [f for f in folder_paths.get_filename_list(HOSTS_OWN) if f.endswith(".safetensors")]


def _own_path(name: str) -> Path | None:
    """The file of a guider in ComfyUI's folder of depth models; None if `name` is none of them."""
    file = name.removeprefix(f"{HOSTS_OWN}/")
    if file == name or file not in _own_files():
        return None
    return Path(folder_paths.get_full_path_or_raise(HOSTS_OWN, file))


class Nearness(nn.Module):
    """Depth Anything 3 as a guider's backbone: pixels (B, 3, h, w) -> 1 / depth (B, h, w)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return 1 / self.network(pixels)["depth"].clamp(min=MIN_DEPTH)


def load_depth_anything_3(path: Path) -> Guider:
    """ComfyUI's network with weights of its own, in float32, and tried once.

    ValueError for any other model, and for one that does not answer with a map of nearness.
    """
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
    info = GuiderInfo(
        source=f"comfyui/{path.name}",
        architecture=type(network).__name__,
        task="depth",
        labels=(),
        fingerprint=fingerprint(network.state_dict()),
    )
    preprocessing = Preprocessing(
        size=(SIDE, SIDE),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        crop_mode="fit",
        multiple=MULTIPLE,
    )
    guider = Guider(Nearness(network), preprocessing, info)
    check_by_trial(guider, path.name)
    return guider
