"""Fill a folder with pictures that the user's own checkpoint draws.

Pictures come in aligned batches: batch k holds the seeds seed + k * batch_size and on. So a batch
can be drawn again exactly, by whichever process, and an interrupted run goes on where it stopped.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ..atomic import save_safetensors
from .images import append_manifest, check_source, read_manifest, save_png, write_source
from .workers import barrier, rank, world_size


@dataclass(frozen=True)
class GenerateSettings:
    """How training pictures are drawn. `seed`: of the first one; the next ones count up.

    `width`, `height`: 0 is what the checkpoint's family is used to. `prompts`: a file, one a line,
    of which each picture gets one at random; without it the prompt is empty.
    """

    num_images: int = 5000
    width: int = 0
    height: int = 0
    steps: int = 25
    cfg: float = 1.0
    sampler_name: str = "ddim"
    scheduler: str = "ddim_uniform"
    batch_size: int = 50
    seed: int = 0
    prompts: str = ""

    def __post_init__(self):
        for name in ("num_images", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if self.prompts and not Path(self.prompts).is_file():
            raise ValueError(f"there is no prompt file {self.prompts}")

    def read_prompts(self) -> list[str]:
        """Every line of the prompt file that says something; the empty prompt without one."""
        text = Path(self.prompts).read_text("utf-8") if self.prompts else ""
        return [line.strip() for line in text.splitlines() if line.strip()] or [""]


class Drawn(NamedTuple):
    """`image`: (B, 3, H, W) in [-1, 1]; `latent`: (B, C, ...), None if the image is the state."""

    image: Tensor
    latent: Tensor | None


# (seeds, one prompt for each) -> pictures
Draw = Callable[[list[int], list[str]], Drawn]


def prompt_for(seed: int, prompts: list[str]) -> str:
    return prompts[random.Random(seed).randrange(len(prompts))]


def missing_batches(settings: GenerateSettings, folder: Path) -> Iterator[list[int]]:
    """Seeds of the batches that are not in the manifest yet, this process' share of them."""
    done = {line.get("seed") for line in read_manifest(folder)}
    last = settings.seed + settings.num_images
    starts = range(settings.seed, last, settings.batch_size)
    batches = [list(range(start, min(start + settings.batch_size, last))) for start in starts]
    yield from [batch for batch in batches if not done.issuperset(batch)][rank() :: world_size()]


def generate(
    draw: Draw,
    settings: GenerateSettings,
    folder: Path,
    source: dict,
    *,
    force: bool = False,
    watch: Callable[[int], None] = lambda num: None,
) -> None:
    """Draw what `folder` lacks. `source`: {"checkpoint", "fingerprint", "latent_format", ...}.

    ValueError if another checkpoint drew what is there, unless forced.
    """
    check_source(folder, source["fingerprint"], force)
    batches = list(missing_batches(settings, folder))
    barrier()  # every process has looked before one begins to write
    if rank() == 0:
        write_source(folder, {**source, "settings": asdict(settings)})
    prompts = settings.read_prompts()
    for seeds in batches:
        chosen = [prompt_for(seed, prompts) for seed in seeds]
        lines = save_batch(draw(seeds, chosen), seeds, chosen, settings, folder)
        append_manifest(
            folder, [{**line, "checkpoint": source["checkpoint"]} for line in lines], rank()
        )
        watch(len(seeds))
    barrier()


def save_batch(
    drawn: Drawn, seeds: list[int], prompts: list[str], settings: GenerateSettings, folder: Path
) -> list[dict]:
    """Write pictures and latents; their manifest lines, which are all it takes to repeat them."""
    recipe = {
        name: getattr(settings, name) for name in ("steps", "cfg", "sampler_name", "scheduler")
    }
    latent_file = f"latents/{seeds[0]:07d}.safetensors"
    if drawn.latent is not None:
        latents = {str(seed): drawn.latent[i].half().cpu() for i, seed in enumerate(seeds)}
        save_safetensors(latents, folder / latent_file)
    lines = []
    for image, seed, prompt in zip(drawn.image, seeds, prompts, strict=True):
        name = f"images/{seed:07d}.png"
        save_png(image, folder / name)
        line = {"file": name, "seed": seed, "prompt": prompt, **recipe}
        line |= {"width": image.shape[2], "height": image.shape[1], "batch": [seeds[0], len(seeds)]}
        lines.append(line | ({"latent": latent_file} if drawn.latent is not None else {}))
    return lines
