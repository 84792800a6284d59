"""How long a distillation step takes, against a bare forward and backward pass of its student.

`python -m evidence.distill_throughput` prints one table; both are timed in turns in one run. A step
loads the batch, adds noise, preprocesses, computes the loss, clips gradients and updates weights.
"""

import argparse
import statistics
import sys

import torch

from evidence.random_guiders import random_guider
from evidence.timing import in_turns
from ppap_core.distillation.distill import Progress, distill
from ppap_core.distillation.learner import Learner
from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.training_set import TrainingSet

BATCH, STEPS = 4, 12


def throughput(name: str) -> str:
    guider = random_guider(name)
    settings = DistillSettings(input="x_t", num_experts=1, steps=STEPS, batch_size=BATCH)
    student = Learner(guider, settings, STEPS).student.train()
    batch = guider.preprocessing(torch.rand(BATCH, 3, 224, 224) * 2 - 1)

    def bare() -> None:
        student.zero_grad(set_to_none=True)
        student(batch).logsumexp(dim=1).sum().backward()

    times, shares = {"bare": [], "step": []}, []

    def watch(progress: Progress) -> None:
        """Time a bare pass after every training step."""
        times["step"].append(BATCH / progress.images_per_second)
        times["bare"].append(in_turns({"bare": bare}, repeats=1)["bare"])
        shares.append(progress.data_share)

    images = torch.randint(0, 256, (64, 3, 224, 224), dtype=torch.uint8)
    distill(guider, TrainingSet(images, torch.randn(64, 1000)), settings, watch=watch)
    step, bare_pass = (statistics.median(times[key][2:]) for key in ("step", "bare"))
    return (
        f"{name:<24} bare pass {bare_pass:6.3f} s   step {step:6.3f} s   "
        f"ratio {step / bare_pass:5.3f} x   loading the batch {statistics.median(shares):5.1%}"
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(0)
    for name in ("resnet50", "deit_small_patch16_224"):
        sys.stdout.write(throughput(name) + "\n")


if __name__ == "__main__":
    main()
