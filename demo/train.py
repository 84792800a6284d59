"""Rebuild every shipped model of the demo world from nothing; what is there already is kept.

Order: render scenes; train the guiders and the judges on clean renders; train the diffusion model;
let it draw pictures; distil the guiders' experts on those, without labels. Each stage can be
interrupted and repeated: scenes, models and pictures that exist are not made again, and the
diffusion model goes on from its last checkpoint.
"""

import logging
import subprocess
import sys
from pathlib import Path

import torch

from demo import clean_models, dense_models
from demo.paths import (
    CACHE,
    DEPTH_EXPERTS,
    DEPTH_GUIDER,
    GENERATED,
    GUIDER,
    HELDOUT_SCENES,
    PIXEL_MODEL,
    SEGMENTATION_EXPERTS,
    SEGMENTATION_GUIDER,
    TRAIN_SCENES,
)
from demo.paths import EXPERTS as CLASS_EXPERTS
from demo.scene_files import load_or_render

DIFFUSION_STEPS = 6400
NUM_GENERATED = 5000
WIDE = "--max-touched 1.0 --max-share 1.0 --rank".split()
MAPS = [*WIDE, *"8 --lora-alpha 8 --steps 200".split()]
EXPERTS = {  # file: guider, flags
    CLASS_EXPERTS: (
        GUIDER,
        [*WIDE, *"16 --lora-alpha 16 --steps 280 --partition timestep".split()],
    ),
    DEPTH_EXPERTS: (DEPTH_GUIDER, MAPS),
    SEGMENTATION_EXPERTS: (SEGMENTATION_GUIDER, MAPS),
}


def run_module(module: str, *flags: str | Path) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, flags)], check=True)


def train_diffusion() -> None:
    """Two processes of one thread each: faster on two cores than one process of two threads."""
    run_module(
        *("torch.distributed.run", "--nproc-per-node", "2", "-m", "demo.diffusion"),
        *("--scenes", TRAIN_SCENES, "--checkpoint", CACHE / "diffusion.safetensors"),
        *("--out", PIXEL_MODEL, "--steps", str(DIFFUSION_STEPS)),
    )


def generate_images() -> None:
    run_module(
        *("training", "generate", "--checkpoint", PIXEL_MODEL),
        *("--images", GENERATED, "--num-images", str(NUM_GENERATED)),
    )


def distill_experts(file: Path) -> None:
    guider, flags = EXPERTS[file]
    run_module(
        *("training", "distill", "--checkpoint", PIXEL_MODEL, "--guider", guider),
        *("--images", GENERATED, "--out", file, "--run", CACHE / file.stem, *flags),
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    load_or_render(TRAIN_SCENES, 60_000, seed=0)
    load_or_render(HELDOUT_SCENES, 6_000, seed=1)
    clean_models.train_missing()
    dense_models.train_missing()
    if not PIXEL_MODEL.exists():
        train_diffusion()
    generate_images()
    for file in EXPERTS:
        if not file.exists():
            distill_experts(file)


if __name__ == "__main__":
    main()
