"""CIFAR-10, enlarged twice, its latents, and what its classes are called in ImageNet."""

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from evidence.photographs.latents import encode
from evidence.photographs.sources import CIFAR
from ppap_core.atomic import save_safetensors

SIDE = 64  # pixels of every picture: twice CIFAR's
LATENT = (128, 4, 4)
ENCODED_AT_ONCE = 5000
GROUPS = {  # class of CIFAR-10: classes of ImageNet, in the order of the 1000
    "airplane": (404, 895),
    "automobile": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 288)),
    "deer": (350, 351, 352, 353),  # ImageNet has no deer: ibex, hartebeest, impala, gazelle
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339, 340),
    "ship": (403, 472, 484, 510, 554, 625, 628, 724, 780, 814, 833, 871, 914),
    "truck": (555, 569, 675, 864, 867),  # CIFAR has large ones only, and no buses
}
NAMES = tuple(GROUPS)


@dataclass(frozen=True)
class Labelled:
    """`pictures`: (N, 3, 32, 32) uint8, the classes one after another by turns; `label`: (N,)."""

    pictures: Tensor
    label: Tensor

    def __getitem__(self, rows: slice) -> "Labelled":
        return Labelled(self.pictures[rows], self.label[rows])


def load_cifar(root: Path | None, part: str, cache: Path) -> Labelled:
    """`part`: "train" (50,000) or "test" (10,000) of those in `root`, kept in the folder `cache`.

    ValueError if they are not there.
    """
    file = cache / f"{part}.safetensors"
    if not file.exists():
        if root is None:
            raise ValueError(f"--photographs is missing: it holds {CIFAR.path}, {CIFAR.address}")
        CIFAR.check(root)
        folders = [sorted((root / CIFAR.path / part / name).glob("*.jpg")) for name in NAMES]
        paths = [path for turn in zip(*folders, strict=True) for path in turn]
        arrays = [torch.from_numpy(numpy.array(Image.open(p).convert("RGB"))) for p in paths]
        pictures = torch.stack(arrays).permute(0, 3, 1, 2).contiguous()
        save_safetensors({"pictures": pictures}, file, {})
    pictures = load_file(file)["pictures"]
    return Labelled(pictures, torch.arange(len(pictures)) % len(NAMES))


def doubled(pictures: Tensor) -> Tensor:
    """(N, 3, 32, 32) uint8 -> (N, 3, SIDE, SIDE) uint8."""
    large = F.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic")
    return large.round().clamp(0, 255).byte()


def latents_file(pictures: Tensor, networks: Path, cache: Path) -> Path:
    """A file of the latents (N, *LATENT) of `pictures`, enlarged; made in parts that are kept."""
    file = cache / f"latents of {len(pictures)}.safetensors"
    if not file.exists():
        parts = []
        for start in tqdm(range(0, len(pictures), ENCODED_AT_ONCE), desc="latents"):
            part = cache / f"latents {start} of {len(pictures)}.safetensors"
            if not part.exists():
                large = doubled(pictures[start : start + ENCODED_AT_ONCE])
                save_safetensors({"latents": encode(large, networks).half()}, part, {})
            parts.append(part)
        whole = torch.cat([load_file(part)["latents"] for part in parts])
        save_safetensors({"latents": whole}, file, {})
    return file
