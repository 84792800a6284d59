"""Rebuild every shipped model of the demo world from nothing; what is there already is kept.

Order: render scenes; train the guiders and the judges on clean renders; train the diffusion model;
let it draw pictures; distil the guiders' experts on those, without labels; then the same for the
autoencoder and the latent diffusion model. Each stage can be interrupted and repeated: scenes,
models and pictures that exist are not made again, and the generative models go on from their last
checkpoint.
"""

import logging
import subprocess
import sys
from pathlib import Path

import torch

from demo import clean_models, dense_models
from demo.latent_diffusion import encode_scenes
from demo.paths import (
    AUTOENCODER,
    CACHE,
    DEPTH_EXPERTS,
    DEPTH_GUIDER,
    GENERATED,
    GUIDER,
    HELDOUT_SCENES,
    LARGE_TRAIN_SCENES,
    LATENT_EXPERTS,
    LATENT_GENERATED,
    LATENT_MODEL,
    LATENTS,
    PIXEL_MODEL,
    SEGMENTATION_EXPERTS,
    SEGMENTATION_GUIDER,
    TRAIN_SCENES,
)
from demo.paths import EXPERTS as CLASS_EXPERTS
from demo.scene_files import load_or_render
from ppap_core.reading import Reading

DIFFUSION_STEPS, AUTOENCODER_STEPS, LATENT_DIFFUSION_STEPS = 6400, 2400, 4800
NUM_GENERATED = 5000
WIDE = "--max-touched 1.0 --max-share 1.0 --rank".split()
LATENT = [*WIDE, *"16 --lora-alpha 16 --steps 1000".split()]
LATENT_CHECKPOINT = ("--checkpoint", LATENT_MODEL, "--vae", AUTOENCODER)
# Of one thread each: faster on two cores than one process of two threads.
TWO_PROCESSES = ("torch.distributed.run", "--nproc-per-node", "2", "-m")
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
    run_module(
        *(*TWO_PROCESSES, "demo.diffusion"),
        *("--scenes", TRAIN_SCENES, "--checkpoint", CACHE / "diffusion.safetensors"),
        *("--out", PIXEL_MODEL, "--steps", str(DIFFUSION_STEPS)),
    )


def generate_images(num: int = NUM_GENERATED) -> None:
    run_module(
        *("training", "generate", "--checkpoint", PIXEL_MODEL),
        *("--images", GENERATED, "--num-images", str(num)),
    )


def train_autoencoder() -> None:
    load_or_render(LARGE_TRAIN_SCENES, 24_000, seed=0, size=64)
    run_module(
        *(*TWO_PROCESSES, "demo.autoencoder", "--scenes", LARGE_TRAIN_SCENES),
        *("--checkpoint", CACHE / "autoencoder.safetensors", "--out", AUTOENCODER),
        *("--steps", str(AUTOENCODER_STEPS)),
    )


def encode_latents() -> None:
    if not LATENTS.exists():
        load_or_render(LARGE_TRAIN_SCENES, 24_000, seed=0, size=64)
        encode_scenes(LARGE_TRAIN_SCENES, AUTOENCODER, LATENTS)


def train_latent_diffusion() -> None:
    encode_latents()
    run_module(
        *(*TWO_PROCESSES, "demo.latent_diffusion", "--latents", LATENTS),
        *("--checkpoint", CACHE / "latent_diffusion.safetensors", "--out", LATENT_MODEL),
        *("--steps", str(LATENT_DIFFUSION_STEPS)),
    )


def generate_latent_images() -> None:
    run_module(
        *("training", "generate", *LATENT_CHECKPOINT, "--images", LATENT_GENERATED),
        *("--num-images", str(NUM_GENERATED), "--width", "64", "--height", "64"),
        *("--sampler-name", "euler", "--scheduler", "simple"),
    )


def distill_latent_experts(reading: Reading) -> None:
    """For the guider of classes, by what it reads."""
    file = LATENT_EXPERTS[reading]
    run_module(
        *("demo.latent_experts", *LATENT_CHECKPOINT, "--guider", GUIDER),
        *("--images", LATENT_GENERATED, "--out", file, "--run", CACHE / file.stem),
        *("--input", reading.input, "--view", reading.view, *LATENT),
        *("--batch-size", "64" if reading.view == "linear_rgb" else "32"),
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
    if not AUTOENCODER.exists():
        train_autoencoder()
    if not LATENT_MODEL.exists():
        train_latent_diffusion()
    if all(file.exists() for file in LATENT_EXPERTS.values()):
        return
    generate_latent_images()
    for reading, file in LATENT_EXPERTS.items():
        if not file.exists():
            distill_latent_experts(reading)


if __name__ == "__main__":
    main()
