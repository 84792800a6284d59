"""A batch of sampled pictures, and how it is kept in a folder."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .checksums import save_rows
from .estimates import estimate_tensors
from .images import append_manifest, recipe_of, save_png
from .workers import rank

if TYPE_CHECKING:
    from .generate import GenerateSettings


class Pictures(NamedTuple):
    """`image`: (B, 3, H, W) in [-1, 1]; `latent`: (B, C, ...), None if the image is the state.

    `sigma_ve`: (T,), `estimates`: (B, T, C, ...) of all evaluations of the model, if recorded.
    """

    image: Tensor
    latent: Tensor | None
    sigma_ve: Tensor | None = None
    estimates: Tensor | None = None


def save_batch(
    batch: Pictures,
    seeds: list[int],
    prompts: list[str],
    settings: "GenerateSettings",
    folder: Path,
    source: dict,
) -> None:
    """Write a batch, then its lines in the manifest, which hold all it takes to sample it again.

    `source`: names the "checkpoint".
    """
    height, width = batch.image.shape[-2:]
    sampled = {"checkpoint": source["checkpoint"], "width": width, "height": height}
    recipe = recipe_of({**asdict(settings), **sampled})
    latent_file = f"latents/{seeds[0]:07d}.safetensors"
    if batch.latent is not None:
        latents = {str(seed): batch.latent[i].half().cpu() for i, seed in enumerate(seeds)}
        save_rows(latents, folder / latent_file, recipe)
    estimate_file = f"estimates/{seeds[0]:07d}.safetensors"
    if batch.estimates is not None:
        kept = estimate_tensors(batch.sigma_ve, batch.estimates, seeds, settings.num_estimates)
        save_rows(kept, folder / estimate_file, recipe)
    lines = []
    for image, seed, prompt in zip(batch.image, seeds, prompts, strict=True):
        name = f"images/{seed:07d}.png"
        save_png(image, folder / name)
        line = {"file": name, "seed": seed, "prompt": prompt, **recipe}
        line["batch"] = [seeds[0], len(seeds)]
        if batch.latent is not None:
            line["latent"] = latent_file
        if batch.estimates is not None:
            line["estimates"] = estimate_file
        lines.append(line)
    append_manifest(folder, lines, rank())
