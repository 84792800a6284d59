"""Rebuild every shipped model of the demo world from nothing; a model that exists is kept.

Stages, in this order: render scenes; train the guiders and the judges on clean renders; train the
pixel diffusion model; sample pictures from it; teach the guiders' experts on these, without labels.
Then the same in latents: the autoencoder, the latent diffusion model, its pictures, its experts.

A stage that was interrupted continues when the command is run again: scenes and pictures that exist
are kept, and the generative models resume from their last checkpoint.
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
    EXPERTS,
    GENERATED,
    GUIDER,
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
from demo.scene_files import load_heldout_scenes, load_large_training_scenes, load_training_scenes
from ppap_core.reading import Reading

DIFFUSION_STEPS, AUTOENCODER_STEPS, LATENT_DIFFUSION_STEPS = 6400, 2400, 4800
NUM_GENERATED = 5000
# Flags of the trainer. Small guiders get adapters on every layer and of any size.
WIDE = {"max_touched": 1.0, "max_share": 1.0}
CLASS_FLAGS = WIDE | {"rank": 16, "lora_alpha": 16, "steps": 280, "partition": "timestep"}
MAP_FLAGS = WIDE | {"rank": 8, "lora_alpha": 8, "steps": 200}
LATENT_FLAGS = WIDE | {"rank": 16, "lora_alpha": 16, "steps": 1000}
DISTILLATIONS = {  # experts of the pixel model: guider, flags
    EXPERTS: (GUIDER, CLASS_FLAGS),
    DEPTH_EXPERTS: (DEPTH_GUIDER, MAP_FLAGS),
    SEGMENTATION_EXPERTS: (SEGMENTATION_GUIDER, MAP_FLAGS),
}


def run_module(module: str, *words: str, processes: int = 1, **flags: object) -> None:
    """Run `python -m module words --flag value ...`; CalledProcessError if it fails.

    `processes`: of one thread each; on two cores two of them are faster than one with two threads.
    """
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"]
    command += [module, *words]
    for name, value in flags.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    subprocess.run(command, check=True)


def train_diffusion() -> None:
    run_module(
        "demo.diffusion",
        processes=2,
        scenes=TRAIN_SCENES,
        checkpoint=CACHE / "diffusion.safetensors",
        out=PIXEL_MODEL,
        steps=DIFFUSION_STEPS,
    )


def generate_images(num: int = NUM_GENERATED) -> None:
    run_module("training", "generate", checkpoint=PIXEL_MODEL, images=GENERATED, num_images=num)


def distill_experts(file: Path) -> None:
    guider, flags = DISTILLATIONS[file]
    run_module(
        "training",
        "distill",
        checkpoint=PIXEL_MODEL,
        guider=guider,
        images=GENERATED,
        out=file,
        run=CACHE / file.stem,
        **flags,
    )


def train_autoencoder() -> None:
    load_large_training_scenes()
    run_module(
        "demo.autoencoder",
        processes=2,
        scenes=LARGE_TRAIN_SCENES,
        checkpoint=CACHE / "autoencoder.safetensors",
        out=AUTOENCODER,
        steps=AUTOENCODER_STEPS,
    )


def encode_latents() -> None:
    """Write the latents of the large scenes, unless they exist."""
    if not LATENTS.exists():
        load_large_training_scenes()
        encode_scenes(LARGE_TRAIN_SCENES, AUTOENCODER, LATENTS)


def train_latent_diffusion() -> None:
    encode_latents()
    run_module(
        "demo.latent_diffusion",
        processes=2,
        latents=LATENTS,
        checkpoint=CACHE / "latent_diffusion.safetensors",
        out=LATENT_MODEL,
        steps=LATENT_DIFFUSION_STEPS,
    )


def generate_latent_images() -> None:
    run_module(
        "training",
        "generate",
        checkpoint=LATENT_MODEL,
        vae=AUTOENCODER,
        images=LATENT_GENERATED,
        num_images=NUM_GENERATED,
        width=64,
        height=64,
        sampler_name="euler",
        scheduler="simple",
    )


def distill_latent_experts(reading: Reading) -> None:
    """Experts of the class guider, by what they read."""
    file = LATENT_EXPERTS[reading]
    run_module(
        "demo.latent_experts",
        checkpoint=LATENT_MODEL,
        vae=AUTOENCODER,
        guider=GUIDER,
        images=LATENT_GENERATED,
        out=file,
        run=CACHE / file.stem,
        input=reading.input,
        view=reading.view,
        batch_size=64 if reading.view == "linear_rgb" else 32,
        **LATENT_FLAGS,
    )


def train_pixel_models() -> None:
    load_training_scenes()
    load_heldout_scenes()
    clean_models.train_missing()
    dense_models.train_missing()
    if not PIXEL_MODEL.exists():
        train_diffusion()
    generate_images()
    for file in DISTILLATIONS:
        if not file.exists():
            distill_experts(file)


def train_latent_models() -> None:
    if not AUTOENCODER.exists():
        train_autoencoder()
    if not LATENT_MODEL.exists():
        train_latent_diffusion()
    missing = [reading for reading, file in LATENT_EXPERTS.items() if not file.exists()]
    if missing:
        generate_latent_images()
    for reading in missing:
        distill_latent_experts(reading)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    train_pixel_models()
    train_latent_models()


if __name__ == "__main__":
    main()
