"""Scenes rendered by several processes, and kept in files."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import torch
from safetensors.torch import load_file
from tqdm import tqdm

from demo.scenes import Scenes, draw_parameters, render_parameters
from ppap_core.atomic import save_safetensors

PART = 1000  # scenes handed to a process at a time


def render_in_parallel(
    num: int, seed: int, *, size: int = 32, workers: int = 2, style: str = "shaded"
) -> Scenes:
    """As `render`, by several processes of one thread each, with a progress bar."""
    parameters = draw_parameters(num, seed)
    parts = [
        {n: c[i : i + PART].clone() for n, c in parameters.items()} for i in range(0, num, PART)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        progress = tqdm(total=num, desc="render", unit="img")
        rendered = []
        for part in pool.map(render_parameters, parts, repeat(size), repeat(style)):
            rendered.append(part)
            progress.update(len(part))
    return Scenes(**{n: torch.cat([vars(part)[n] for part in rendered]) for n in vars(rendered[0])})


def save_scenes(scenes: Scenes, path: Path | str) -> None:
    """Keys as the fields of Scenes; the depth is rounded to float16."""
    save_safetensors(vars(scenes) | {"depth": scenes.depth.half()}, path)


def load_scenes(path: Path | str) -> Scenes:
    tensors = load_file(path)
    return Scenes(**tensors | {"depth": tensors["depth"].float()})


def load_or_render(
    path: Path | str,
    num: int,
    seed: int,
    *,
    size: int = 32,
    workers: int = 2,
    style: str = "shaded",
) -> Scenes:
    """The scenes in `path`, rendered if it is missing; ValueError if it holds another number."""
    path = Path(path)
    if not path.exists():
        save_scenes(render_in_parallel(num, seed, size=size, workers=workers, style=style), path)
    scenes = load_scenes(path)
    if len(scenes) != num:
        raise ValueError(
            f"{path} holds {len(scenes)} scenes, expected {num}: delete it to render it again"
        )
    return scenes
