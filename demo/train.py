"""Rebuild every shipped model of the demo world from nothing; what is there already is kept.

Order: render scenes; train the guiders and the judges on clean renders; train the diffusion model;
let it draw pictures; distil the guider's experts on those, without labels. Each stage can be
interrupted and repeated: scenes, models and pictures that exist are not made again, and the
diffusion model goes on from its last checkpoint.
"""

import logging
import subprocess
import sys
from pathlib import Path

import torch

from demo import clean_models, dense_models
from demo.paths import CACHE, EXPERTS, GENERATED, GUIDER, HELDOUT_SCENES, PIXEL_MODEL, TRAIN_SCENES
from demo.scene_files import load_or_render

DIFFUSION_STEPS = 6400
NUM_GENERATED = 5000
EXPERT_FLAGS = "--steps 280 --rank 16 --lora-alpha 16 --max-touched 1.0 --max-share 1.0".split()


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


def distill_experts() -> None:
    run_module(
        *("training", "distill", "--checkpoint", PIXEL_MODEL, "--guider", GUIDER),
        *("--images", GENERATED, "--out", EXPERTS, "--run", CACHE / "experts", *EXPERT_FLAGS),
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
    if not EXPERTS.exists():
        distill_experts()


if __name__ == "__main__":
    main()
