"""The pack's model folders, and their files."""

from pathlib import Path

import folder_paths

from ..ppap_core.guiders import PRESETS, fetch_preset, list_guiders

GUIDERS, EXPERTS, PIXEL_MODELS = "ppap_guiders", "ppap_experts", "ppap_pixel_models"
MORE_FILES = {PIXEL_MODELS: [".pt"]}  # guided-diffusion's checkpoints come so


def register_folders() -> None:
    """Make `models/ppap_*` known to ComfyUI, beside what extra_model_paths.yaml already gave."""
    for name in (GUIDERS, EXPERTS, PIXEL_MODELS):
        folder_paths.add_model_folder_path(name, str(own_folder(name)))
        paths, _ = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (
            paths,
            {".safetensors", *MORE_FILES.get(name, [])},
        )


def own_folder(name: str) -> Path:
    """The folder in ComfyUI's own `models`, where new files go."""
    return Path(folder_paths.models_dir) / name


def guider_names() -> list[str]:
    """The guiders that are here, then the presets that are not."""
    roots = folder_paths.get_folder_paths(GUIDERS)
    here = {name for root in roots if Path(root).is_dir() for name in list_guiders(root)}
    return sorted(here) + [name for name in PRESETS if name not in here]


def guider_folder(name: str, allow_download: bool = False) -> Path:
    """Where guider `name` lies; a preset that is not here is downloaded, if that is allowed."""
    roots = folder_paths.get_folder_paths(GUIDERS)
    for root in roots:
        if name in (list_guiders(root) if Path(root).is_dir() else []):
            return Path(root) / name
    if name in PRESETS:
        return fetch_preset(PRESETS[name], Path(roots[0]), allow_download)
    raise ValueError(f"no guider {name!r} in {' or '.join(roots)}")


def file_names(folder: str) -> list[str]:
    return folder_paths.get_filename_list(folder)


def file_path(folder: str, name: str) -> Path:
    return Path(folder_paths.get_full_path_or_raise(folder, name))
