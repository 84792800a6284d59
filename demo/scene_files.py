"""Scenes are rendered once, in several processes, and kept in files."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import torch
from safetensors.torch import load_file
from tqdm import tqdm

from demo.paths import HELDOUT_SCENES, LARGE_TRAIN_SCENES, TRAIN_SCENES
from demo.scenes import Scenes, random_parameters, render_parameters
from ppap_core.atomic import save_safetensors

HELDOUT = (6_000, 1)  # number and seed of the scenes that no model is trained on
PART, WORKERS = 1000, 2  # scenes handed to a process at a time; processes


def render_in_parallel(num: int, seed: int, size: int, style: str) -> Scenes:
    """As `render`, in several processes of one thread each, with a progress bar."""
    parameters = random_parameters(num, seed)
    starts = range(0, num, PART)
    parts = [{n: c[i : i + PART].clone() for n, c in parameters.items()} for i in starts]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, torch.set_num_threads, (1,)) as pool:
        found = pool.map(render_parameters, parts, repeat(size), repeat(style))
        rendered = list(tqdm(found, f"render {num} pictures", len(parts)))
    return Scenes(**{n: torch.cat([vars(part)[n] for part in rendered]) for n in vars(rendered[0])})


def save_scenes(scenes: Scenes, path: Path) -> None:
    """The file's keys are the fields of Scenes; the depth is rounded to float16."""
    save_safetensors(vars(scenes) | {"depth": scenes.depth.half()}, path)


def load_scenes(path: Path) -> Scenes:
    tensors = load_file(path)
    return Scenes(**tensors | {"depth": tensors["depth"].float()})


def load_or_render(
    path: Path, num: int, seed: int, *, size: int = 32, style: str = "shaded"
) -> Scenes:
    """The scenes in `path`, rendered if it is missing; ValueError if it holds another number."""
    if not path.exists():
        save_scenes(render_in_parallel(num, seed, size, style), path)
    scenes = load_scenes(path)
    if len(scenes) != num:
        raise ValueError(
            f"{path} holds {len(scenes)} scenes, expected {num}: delete it to render it again"
        )
    return scenes


def load_training_scenes() -> Scenes:
    """60,000 scenes of 32 x 32 pixels, rendered at first use."""
    return load_or_render(TRAIN_SCENES, 60_000, seed=0)


def load_large_training_scenes() -> Scenes:
    """24,000 scenes of 64 x 64 pixels, rendered at first use."""
    return load_or_render(LARGE_TRAIN_SCENES, 24_000, seed=0, size=64)


def load_heldout_scenes() -> Scenes:
    """6,000 scenes of 32 x 32 pixels that no model is trained on, rendered at first use."""
    return load_or_render(HELDOUT_SCENES, *HELDOUT)
