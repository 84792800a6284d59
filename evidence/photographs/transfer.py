"""What a gradient moves, for its own guider and for a network of another family that looks on.

A photograph's latent takes one step along the gradient that asks for another class, read through
each way to decode. Whole pictures judge the step: by the guider, and by a judge that has the same
classes. What only the guider sees is worth nothing.
"""

import logging
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from evidence.photographs.gradients import target_of_others
from evidence.photographs.latents import (
    FIRST,
    FIRST_TWO,
    FULL,
    HALF,
    LAST_TWO,
    LINEAR,
    build_view,
    encode,
)
from evidence.photographs.networks import MOBILENET_V2
from ppap_core.atomic import save_safetensors
from ppap_core.guidance import Guidance
from ppap_core.guiders import Guider
from ppap_core.strength import Strength

STEPS = (0.02, 0.05)  # shares of the latent's norm
WAYS = (FULL, HALF, LAST_TWO, FIRST, FIRST_TWO, LINEAR)
GUIDER, JUDGE = "guider", MOBILENET_V2
BACKGROUND = 1  # the judge's first class, which the guider lacks
AT_ONCE = 2
NUM, SIDE = 16, 512  # pictures, and their side

log = logging.getLogger(__name__)


def transfer_file(folder: Path) -> Path:
    return folder / "transfer.safetensors"


def read_transfer(folder: Path) -> dict[str, Tensor]:
    """As `measure_transfer` writes it; {} before it has."""
    file = transfer_file(folder)
    return load_file(file) if file.exists() else {}


def measure_transfer(
    guider: Guider, judge: Guider, answers: Tensor, pictures: Tensor, networks: Path, folder: Path
) -> None:
    """Keep in `folder`, by "<way>, <step>, <who>", how much surer each is of the class (N,), in
    nats. `answers`: the guider's to the clean `pictures` (N, 3, H, W) uint8. Ways that are there
    are not measured again.
    """
    found = read_transfer(folder)
    missing = [way for way in WAYS if f"{way}, {STEPS[-1]:g}, {JUDGE}" not in found]
    if not missing:
        return
    latents = encode(pictures, networks)
    whole = build_view(FULL, networks)
    classes = answers.roll(-1, dims=0).argmax(dim=1)

    @torch.no_grad()
    def sure(states: Tensor) -> dict[str, Tensor]:
        image = torch.cat([whole(part) for part in states.split(AT_ONCE)])
        asked = {GUIDER: (guider, classes), JUDGE: (judge, classes + BACKGROUND)}
        return {
            who: network(image).log_softmax(dim=1).gather(1, index[:, None])[:, 0]
            for who, (network, index) in asked.items()
        }

    before = sure(latents)
    for way in missing:
        asked = Guidance(
            guider,
            target_of_others(guider, answers),
            Strength(1.0, "raw"),
            input="x_t",
            view=build_view(way, networks),
        )
        gradient = asked.score(latents, 0.0).gradient
        direction = gradient * (_norm(latents) / _norm(gradient))
        for step in STEPS:
            for who, after in sure(latents + step * direction).items():
                found[f"{way}, {step:g}, {who}"] = after - before[who]
            log.info("%s, %g", way, step)
        save_safetensors(found, transfer_file(folder), {})


def _norm(states: Tensor) -> Tensor:
    return torch.linalg.vector_norm(states.flatten(1), dim=1)[:, None, None, None]
