"""Where the benchmark keeps what it makes: experts, guiders, the conditional model and renders."""

import os
from pathlib import Path

from demo.paths import CACHE, DEPTH_GUIDER, GENERATED, GUIDER, SEGMENTATION_GUIDER
from evidence.benchmark.budgets import Budget
from evidence.benchmark.methods import Teaching
from ppap_core.distillation.state import training_fingerprint

FOLDER = Path(os.environ.get("PPAP_BENCHMARK_FOLDER", CACHE / "benchmark"))
GUIDERS = {
    "resnet": GUIDER,
    "vit": FOLDER / "demo-shapes-vit",
    "small resnet": FOLDER / "demo-shapes-small-resnet",
    "depth": DEPTH_GUIDER,
    "segmentation": SEGMENTATION_GUIDER,
}


def experts_file(guider: str, teaching: Teaching, budget: Budget, seed: int) -> Path:
    """Where finished experts are kept; other settings give another name."""
    settings = teaching.settings(guider, budget, seed)
    pictures = budget.renders if teaching.is_supervised else budget.generated
    used = str(round(teaching.pictures * pictures))
    other = [teaching.drawn] if teaching.drawn else []
    other += [f"{teaching.num_fresh} fresh"] if teaching.num_fresh else []
    name = training_fingerprint(settings, guider, str(teaching.is_supervised), used, *other)
    return FOLDER / f"{guider}-{name}.safetensors"


def drawn_folder(drawn: str) -> Path:
    """Of the diffusion model's pictures, drawn in one of the ways of DRAWINGS."""
    return FOLDER / f"drawn {drawn}" if drawn else GENERATED


def conditional_file(budget: Budget) -> Path:
    return FOLDER / f"conditional_{budget.conditional_steps}_{budget.renders}.safetensors"


def renders_file(num: int) -> Path:
    return FOLDER / f"renders_{num}.safetensors"
