"""The pack's model folders in ComfyUI, and their files."""

from pathlib import Path

import folder_paths

from ..files_below import files_below
from ..no_weights import PICKLES

GUIDERS, EXPERTS, PIXEL_MODELS = "ppap_guiders", "ppap_experts", "ppap_pixel_models"
SCORE_HEADS = "ppap_score_heads"
OWN = (GUIDERS, EXPERTS, PIXEL_MODELS, SCORE_HEADS)
# Besides .safetensors: guided-diffusion's checkpoints; heads that are refused, with the reason.
MORE_FILES = {PIXEL_MODELS: [".pt"], SCORE_HEADS: list(PICKLES)}

SHIPPED = Path(__file__).parents[2] / "demo" / "models"  # what the templates use


def register_folders() -> None:
    """Register `models/ppap_*` with ComfyUI, and the models that come with the pack.

    Folders from extra_model_paths.yaml stay; the pack's own folders come last, so that new files go
    to the user's and a user's file of the same name wins.
    """
    for name in OWN:
        folder_paths.add_model_folder_path(name, str(own_folder(name)))
        paths, _ = folder_paths.folder_names_and_paths[name]
        extensions = {".safetensors", *MORE_FILES.get(name, [])}
        folder_paths.folder_names_and_paths[name] = (paths, extensions)
    for name in (*OWN, "diffusion_models", "vae"):
        folder_paths.add_model_folder_path(name, str(SHIPPED / name))


def own_folder(name: str) -> Path:
    """The folder `name` in ComfyUI's own `models`, where new files go."""
    return Path(folder_paths.models_dir) / name


def file_names(folder: str) -> list[str]:
    """The files in every registered place of `folder`, as paths from there, sorted.

    As ComfyUI lists its own, with linked folders; but ComfyUI does not see a loop of links.
    """
    places, extensions = folder_paths.folder_names_and_paths[folder]
    return sorted(
        {
            str(path.relative_to(place))
            for place in places
            for path in files_below(Path(place))
            if path.suffix.lower() in extensions
        }
    )


def file_path(folder: str, name: str) -> Path:
    """Where the file `name` of `folder` is. FileNotFoundError if it is nowhere."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        places = " or ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(
            f"there is no file {name!r} in {places}: choose another, or put it there"
        )
    return Path(path)
