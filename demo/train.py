"""Rebuild every shipped model of the demo world from nothing; a model that exists is kept.

Stages, in this order: render scenes; train the guiders and the judges on clean renders; train the
pixel diffusion model; sample pictures from it; teach the guiders' experts on these, without labels.
Then the same in latents: the autoencoder, the latent diffusion model, its pictures, its experts.

A stage that was interrupted continues when the command is run again: scenes and pictures that exist
are kept, and the generative models resume from their last checkpoint.
"""

import subprocess
import sys
from pathlib import Path

from demo import (
    box_models,
    clean_models,
    dense_models,
    normals_models,
    paths,
    pose_models,
    score_head,
    word_model,
)
from demo.latent_diffusion import encode_scenes
from demo.scene_files import load_heldout_scenes, load_large_training_scenes, load_training_scenes
from ppap_core.reading import Reading

DIFFUSION_STEPS, AUTOENCODER_STEPS, LATENT_DIFFUSION_STEPS = 6400, 2400, 4800
NUM_GENERATED, SAMPLING_STEPS = 5000, 25
# Files of the pixel model and of the latent model.
PIXELS = {"checkpoint": paths.PIXEL_MODEL, "images": paths.GENERATED}
LATENT = {
    "checkpoint": paths.LATENT_MODEL,
    "images": paths.LATENT_GENERATED,
    "vae": paths.AUTOENCODER,
}
# Flags of the trainer. Small guiders get adapters on every layer and of any size.
WIDE = {"max_touched": 1.0, "max_share": 1.0}
# As in the tables of docs/evidence (evidence/benchmark/methods.py).
TAUGHT = WIDE | {"partition": "timestep", "budget": "total", "steps": 1500, "batch_size": 32}
CLASS_FLAGS = TAUGHT | {"rank": 7, "lora_alpha": 7}
MAP_FLAGS = TAUGHT | {"rank": 2, "lora_alpha": 2}
NORMALS_FLAGS = MAP_FLAGS | {"steps": 600, "batch_size": 16}
LATENT_FLAGS = WIDE | {"rank": 16, "lora_alpha": 16, "steps": 1000}
DISTILLATIONS = {  # experts of the pixel model: guider, flags
    paths.EXPERTS: (paths.GUIDER, CLASS_FLAGS),
    paths.DEPTH_EXPERTS: (paths.DEPTH_GUIDER, MAP_FLAGS),
    paths.SEGMENTATION_EXPERTS: (paths.SEGMENTATION_GUIDER, MAP_FLAGS),
    paths.WORDS_EXPERTS: (paths.WORDS_GUIDER, MAP_FLAGS),
    paths.NORMALS_EXPERTS: (paths.NORMALS_GUIDER, NORMALS_FLAGS),
    paths.POSE_EXPERTS: (paths.POSE_GUIDER, NORMALS_FLAGS),
    paths.BOXES_EXPERTS: (paths.BOXES_GUIDER, NORMALS_FLAGS),
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


def train_generative_model(name: str, out: Path, steps: int, **data: Path) -> None:
    """Run `python -m demo.<name>`, which continues from its checkpoint in the cache."""
    checkpoint = paths.CACHE / f"{name}.safetensors"
    run_module(f"demo.{name}", processes=2, checkpoint=checkpoint, out=out, steps=steps, **data)


def generate_images(num: int = NUM_GENERATED, **flags: object) -> None:
    drawn = {"num_images": num, "steps": SAMPLING_STEPS}
    run_module("training", "generate", **drawn | PIXELS | flags)


def distill_experts(file: Path) -> None:
    guider, flags = DISTILLATIONS[file]
    files = {"guider": guider, "out": file, "run": paths.CACHE / file.stem}
    run_module("training", "distill", **files, **PIXELS, **flags)


def encode_latents() -> None:
    """Write the latents of the large scenes, unless they exist."""
    if not paths.LATENTS.exists():
        load_large_training_scenes()
        encode_scenes(paths.LARGE_TRAIN_SCENES, paths.AUTOENCODER, paths.LATENTS)


def generate_latent_images() -> None:
    size = {"width": 64, "height": 64, "num_images": NUM_GENERATED, "steps": SAMPLING_STEPS}
    run_module("training", "generate", sampler_name="euler", scheduler="simple", **size, **LATENT)


def distill_latent_experts(reading: Reading) -> None:
    """Experts of the class guider, by what they read."""
    file = paths.LATENT_EXPERTS[reading]
    read = {"input": reading.input, "view": reading.view}
    files = {"guider": paths.GUIDER, "out": file, "run": paths.CACHE / file.stem}
    batch = 64 if reading.view == "linear_rgb" else 32
    run_module("demo.latent_experts", batch_size=batch, **read, **files, **LATENT, **LATENT_FLAGS)


def train_pixel_models() -> None:
    load_training_scenes()
    load_heldout_scenes()
    clean_models.train_missing()
    dense_models.train_missing()
    word_model.train_missing()
    score_head.fit_missing()
    normals_models.train_missing()
    pose_models.train_missing()
    box_models.train_missing()
    if not paths.PIXEL_MODEL.exists():
        scenes = paths.TRAIN_SCENES
        train_generative_model("diffusion", paths.PIXEL_MODEL, DIFFUSION_STEPS, scenes=scenes)
    generate_images()
    for file in DISTILLATIONS:
        if not file.exists():
            distill_experts(file)


def train_latent_models() -> None:
    if not paths.AUTOENCODER.exists():
        load_large_training_scenes()
        scenes = paths.LARGE_TRAIN_SCENES
        train_generative_model("autoencoder", paths.AUTOENCODER, AUTOENCODER_STEPS, scenes=scenes)
    if not paths.LATENT_MODEL.exists():
        encode_latents()
        out, steps = paths.LATENT_MODEL, LATENT_DIFFUSION_STEPS
        train_generative_model("latent_diffusion", out, steps, latents=paths.LATENTS)
    missing = [reading for reading, file in paths.LATENT_EXPERTS.items() if not file.exists()]
    if missing:
        generate_latent_images()
    for reading in missing:
        distill_latent_experts(reading)


def main() -> None:
    clean_models.begin(__doc__)
    train_pixel_models()
    train_latent_models()


if __name__ == "__main__":
    main()
