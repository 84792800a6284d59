"""What a dry run says, beside what the training then takes.

`python -m evidence.dry_run` trains small experts in the demo's world, each in a process of its own,
and writes docs/evidence/dry_run.csv and dry_run.md: seconds, and GB of memory and of disk, as the
dry run says and as they were. Rows that are in the CSV already are not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo.paths import AUTOENCODER, DEPTH_GUIDER, GUIDER, LATENT_MODEL, PIXEL_MODEL
from evidence.flags import add_output
from evidence.tables import read_table, write_table
from ppap_core.distillation.files import TrainingFiles
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.progress import PREVIEW
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from training.__main__ import load_trainer
from training.config import Config, Sources

PIXELS = {"checkpoint": str(PIXEL_MODEL)}, {"num_images": 300}
LATENTS = (
    {"checkpoint": str(LATENT_MODEL), "vae": str(AUTOENCODER)},
    {"num_images": 60, "width": 64, "height": 64, "sampler_name": "euler", "scheduler": "simple"},
)
KEPT, FRESH = ({"input": "x0_hat", "estimates": kind} for kind in ("kept", "fresh"))
NOISY = {"input": "x_t"}
CASES = {  # what is trained: guider, checkpoint and pictures, settings of the experts
    "pixels, class, x_t": (GUIDER, PIXELS, NOISY),
    "pixels, class, kept estimates": (GUIDER, PIXELS, KEPT),
    "pixels, class, fresh estimates": (GUIDER, PIXELS, FRESH),
    "pixels, depth, kept estimates": (DEPTH_GUIDER, PIXELS, KEPT),
    "latents, class, x_t by linear_rgb": (GUIDER, LATENTS, NOISY | {"view": "linear_rgb"}),
    "latents, class, kept estimates by vae": (GUIDER, LATENTS, KEPT | {"view": "vae"}),
}


def trainer_of(name: str, folder: Path):
    guider, (checkpoint, pictures), settings = CASES[name]
    whole = AdapterSettings(rank=4, lora_alpha=4.0, max_touched=1.0, max_share=1.0)
    config = Config(
        Sources(guider=str(guider), **checkpoint),
        TrainingFiles(out=str(folder / "experts.safetensors")),
        GenerateSettings(**pictures),
        DistillSettings(num_experts=3, steps=60, batch_size=32, adapter=whole, **settings),
    )
    return load_trainer(config)


def said(name: str, folder: Path) -> dict[str, float]:
    """By the dry run."""
    trainer = trainer_of(name, folder)
    from ppap_core.comfy_bridge.plan import measure

    plan = measure(trainer)
    return {
        "seconds": sum(plan.seconds.values()),
        "memory": plan.trial.num_bytes / 1e9,
        "disk": plan.disk / 1e9,
    }


def real(name: str, folder: Path) -> dict[str, float]:
    """By the training. The memory is the most that it took until the preview."""
    trainer, memory = trainer_of(name, folder), []
    from ppap_core.comfy_bridge.trial import peak_memory

    def say(words: str) -> None:
        if words == PREVIEW:
            device = next(trainer.guider.parameters()).device
            memory.append(peak_memory(device))

    start = time.perf_counter()
    with trainer.working():
        trainer.generate_pictures(lambda num: None)
        data = trainer.training_set(lambda num: None)
        trainer.train(data, lambda progress: None, say=say)
    seconds = time.perf_counter() - start
    files = [path for path in trainer.files.image_folder().rglob("*") if path.is_file()]
    disk = sum(path.stat().st_size for path in files)
    return {"seconds": seconds, "memory": memory[0] / 1e9, "disk": disk / 1e9}


def alone(way: str, name: str) -> dict[str, float]:
    """`said` or `real`, in a process of its own."""
    command = [sys.executable, "-m", "evidence.dry_run", "--way", way, "--case", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(output: Path) -> None:
    rows = read_table(output.with_suffix(".csv"), text=["training"])
    for name in CASES:
        if any(row["training"] == name for row in rows):
            continue
        plan, found = alone("said", name), alone("real", name)
        row: dict = {"training": name}
        for figure in plan:
            row |= {f"{figure}, said": plan[figure], figure: found[figure]}
            row[f"{figure}, said / real"] = plan[figure] / found[figure]
        rows.append(row)
        sys.stdout.write(write_table(rows, output).splitlines()[-1] + "\n")
        sys.stdout.flush()


WAYS = {"said": said, "real": real}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    add_output(parser)
    args = parser.parse_args()
    if args.way:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(json.dumps(WAYS[args.way](args.case, Path(folder))) + "\n")
    else:
        compare(args.output / "dry_run")


if __name__ == "__main__":
    main()
