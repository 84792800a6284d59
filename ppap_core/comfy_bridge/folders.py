"""The pack's model folders, and their files."""

from pathlib import Path

import folder_paths

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


def file_names(folder: str) -> list[str]:
    return folder_paths.get_filename_list(folder)


def file_path(folder: str, name: str) -> Path:
    return Path(folder_paths.get_full_path_or_raise(folder, name))
