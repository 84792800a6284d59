"""From pickled weights that a person trusts to the safetensors that this pack reads."""

import json
from pathlib import Path
from pickle import UnpicklingError

from ..atomic import replace_file, save_safetensors
from ..pickles import read_pickle
from .edge_network import SIGN, network_of
from .model_folder import CONFIG, WEIGHTS


def convert_pickle(path: Path, out: Path) -> list[Path]:
    """Write the weights in `path`, and return the files that were made.

    `out`: a .safetensors file, or a guider's folder, which gets model.safetensors, and config.json
    if it has none and the weights are those of an edge network. ValueError, in one line, for a file
    that holds no weights or more than weights, for others in a folder without config.json, and if
    there is such a file already.
    """
    is_file = out.suffix.lower() == ".safetensors"
    written, config = out if is_file else out / WEIGHTS, out / CONFIG
    if written.exists():
        raise ValueError(f"{written} exists: delete it, or choose another place (--out)")
    try:
        weights = read_pickle(path)
    except UnpicklingError:
        raise ValueError(
            f"{path} is damaged, or holds code or other objects beside weights, so it was not "
            f"opened: look for a safetensors copy"
        ) from None
    except (EOFError, RuntimeError):
        raise ValueError(f"{path} is damaged or no pickle: download it again") from None
    if not weights:
        raise ValueError(f"{path} holds no weights: choose another file")
    made = [written]
    if not is_file and not config.is_file():
        if (network := network_of(weights)) is None:
            raise ValueError(
                f"{path} is neither HED nor DexiNed, so its {CONFIG} cannot be written: download "
                f"the one on the model's page into {out}; of a score head give --out a name that "
                f"ends in .safetensors"
            )
        made.append(config)
        with replace_file(config) as partial:
            partial.write_text(json.dumps({SIGN: network}) + "\n", encoding="utf-8")
    # Copies, since safetensors refuses tensors that share their memory.
    save_safetensors({name: tensor.clone() for name, tensor in weights.items()}, written)
    return made
