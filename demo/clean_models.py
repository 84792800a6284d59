"""Train the demo world's classifiers on clean renders: an off-the-shelf guider, and a judge.

`python -m demo.clean_models` trains what is missing. The guider is an ordinary timm network in the
Hugging Face layout, loaded by `timm.create_model("local-dir:<folder>", pretrained=True)`. It never
sees noise, which is why it fails on noisy images.
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from demo.judges import Judge, load_judge
from demo.paths import GUIDER, JUDGE
from demo.scene_files import load_heldout_scenes, load_training_scenes
from demo.scenes import Scenes
from demo.shapes import SHAPES
from ppap_core.atomic import save_safetensors

# Replaces what timm says about its own weights. Mean and deviation 0.5: the network reads [-1, 1].
GUIDER_DESCRIPTION = {
    "input_size": (3, 32, 32),
    "pool_size": (2, 2),
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "test_input_size": None,
    "test_crop_pct": None,
    "tag": "demo_shapes",
    "license": None,
    "origin_url": None,
}
# What the demo's transformers for maps share, as transformers' configurations name it.
SMALL_BACKBONE = {
    "image_size": 32,
    "patch_size": 4,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "mlp_ratio": 3,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
}
SMALL_NECK = {
    "reassemble_factors": [2, 1, 0.5, 0.25],
    "neck_hidden_sizes": [32, 48, 64, 64],
    "fusion_hidden_size": 32,
}
REPORTED_SIGMAS = (0.0, 0.1, 0.3, 0.7, 1.5, 4.0)

log = logging.getLogger(__name__)

Architecture = tuple[str, dict]  # a timm network's name and arguments
RESNET: Architecture = (
    "resnet10t",
    {
        "channels": (48, 96, 128, 192),
        "stem_width": 24,
        "replace_stem_pool": True,
        "output_stride": 16,
    },
)
SMALL_RESNET: Architecture = (
    "resnet10t",
    RESNET[1]
    | {  # a fifth of the parameters
        "channels": (20, 44, 60, 84),
        "stem_width": 12,
    },
)
VIT: Architecture = (
    "vit_tiny_patch16_224",
    {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 96,
        "depth": 4,
        "num_heads": 3,
    },
)


@dataclass(frozen=True)
class Recipe:
    """How a vision model is trained on clean renders."""

    seed: int  # of the weights, the order and the augmentation
    epochs: int = 3
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    max_noise: float = 0.0  # largest deviation of the noise added to images in [-1, 1]


def move(maps: Tensor) -> Tensor:
    """(B, C, H, W) shifted by up to two pixels; never flipped, as stairs would become others."""
    down, right = torch.randint(5, (2,)).tolist()
    height, width = maps.shape[-2:]
    return F.pad(maps, (2, 2, 2, 2), mode="replicate")[
        ..., down : down + height, right : right + width
    ]


def relight(image: Tensor, max_noise: float) -> Tensor:
    """Pictures in [-1, 1] under light of a random colour, with noise."""
    light = 1 + 0.15 * (2 * torch.rand(len(image), 3, 1, 1) - 1)
    image = ((image + 1) * light - 1).clamp(-1, 1)
    if max_noise:
        image = image + max_noise * torch.rand(len(image), 1, 1, 1) * torch.randn_like(image)
    return image


def batches(num: int, recipe: Recipe) -> Iterator[Tensor]:
    """The rows of every batch of every epoch, each epoch in a new random order."""
    for _ in range(recipe.epochs):
        yield from torch.randperm(num).split(recipe.batch)[: num // recipe.batch]


def train_model(
    model: nn.Module, loss_of: Callable[[Tensor], Tensor], num: int, recipe: Recipe, name: str
) -> None:
    """AdamW with a short warm-up and cosine decay. `loss_of`: rows (B,) of `num` scenes -> loss."""
    model.train().to(memory_format=torch.channels_last)
    steps = recipe.epochs * (num // recipe.batch)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, steps, pct_start=0.1
    )
    progress = tqdm(batches(num, recipe), f"train {name}", steps)
    for rows in progress:
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval().to(memory_format=torch.contiguous_format)


def train_classifier(model: nn.Module, scenes: Scenes, recipe: Recipe, name: str) -> None:
    """Minimise the cross entropy on clean renders."""

    def loss_of(rows: Tensor) -> Tensor:
        image = relight(move(scenes.pictures(rows)), recipe.max_noise)
        image = image.contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(model(image), scenes.label[rows])

    train_model(model, loss_of, len(scenes), recipe, name)


@torch.no_grad()
def accuracy(model: nn.Module, scenes: Scenes, sigma: float = 0.0) -> float:
    """Share of scenes, in [0, 1], recognised in x_t = (x_0 + sigma eps) / sqrt(1 + sigma^2)."""
    generator = torch.Generator().manual_seed(0)
    right = 0
    for rows in torch.arange(len(scenes)).split(250):
        x_0 = scenes.pictures(rows)
        x_t = (x_0 + sigma * torch.randn(x_0.shape, generator=generator)) / (1 + sigma**2) ** 0.5
        right += (model(x_t).argmax(1) == scenes.label[rows]).sum().item()
    return right / len(scenes)


def train_guider(
    scenes: Scenes, recipe: Recipe, folder: Path, architecture: Architecture = RESNET
) -> None:
    torch.manual_seed(recipe.seed)
    guider = untrained_guider(architecture)
    train_classifier(guider, scenes, recipe, folder.name)
    labels = {"label_names": SHAPES}
    save_for_hf(guider, folder, labels, architecture[1], safe_serialization=True)


def untrained_guider(architecture: Architecture) -> nn.Module:
    name, arguments = architecture
    described = {"num_classes": len(SHAPES), "pretrained_cfg_overlay": GUIDER_DESCRIPTION}
    return timm.create_model(name, **described, **arguments)


def train_judge(scenes: Scenes, recipe: Recipe, path: Path) -> None:
    torch.manual_seed(recipe.seed)
    judge = Judge(len(SHAPES))
    train_classifier(judge, scenes, recipe, path.stem)
    save_safetensors(half_weights(judge), path)


def half_weights(model: nn.Module) -> dict[str, Tensor]:
    """What the demo's files hold: float16 for floats."""
    return {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}


def is_trained(path: Path) -> bool:
    """Whether a guider's folder is complete, or a judge's file exists."""
    return path.is_file() or (path / "config.json").exists()


def halves(scenes: Scenes) -> tuple[Scenes, Scenes]:
    middle = len(scenes) // 2
    return scenes[:middle], scenes[middle:]


def train_missing() -> None:
    if is_trained(GUIDER) and is_trained(JUDGE):
        return
    first, second = halves(load_training_scenes())
    if not is_trained(GUIDER):
        train_guider(first, Recipe(seed=0), GUIDER)
    if not is_trained(JUDGE):
        train_judge(second, Recipe(seed=1, max_noise=0.06), JUDGE)


def begin(description: str) -> None:
    """Start a command without flags, on one thread, that tells what it finds."""
    argparse.ArgumentParser(description=description).parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)


def main() -> None:
    begin(__doc__)
    train_missing()
    heldout = load_heldout_scenes()
    guider = timm.create_model(f"local-dir:{GUIDER}", pretrained=True).eval()
    for name, model in {"guider": guider, "judge": load_judge(JUDGE)}.items():
        for sigma in REPORTED_SIGMAS:
            log.info("%s at sigma %g: %.2f %%", name, sigma, 100 * accuracy(model, heldout, sigma))


if __name__ == "__main__":
    main()
