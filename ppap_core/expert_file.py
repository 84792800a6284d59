"""Expert files: one .safetensors holds a set of experts and the header that describes it.

Tensors are named `experts.<i>.<peft key>`. Nothing is returned unless the whole file is sound.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from .atomic import load_safetensors, save_safetensors
from .errors import one_line
from .expert_header import ExpertHeader, header_to_metadata, metadata_to_header
from .experts import Expert, NoiseExperts
from .guiders import Guider
from .no_weights import what_it_is

CHECKSUM = "modelspec.hash_sha256"


@dataclass(frozen=True)
class ExpertSet:
    """The contents of one file, checked. `name`: the file's."""

    header: ExpertHeader
    experts: NoiseExperts
    name: str = ""

    def for_guider(self, guider: Guider) -> NoiseExperts:
        """The experts, once they are known to belong to `guider`. ValueError if they do not."""
        with _errors_name(self.name):
            self.header.check_guider(guider)
            self.experts.check_fit(guider.backbone)
        return self.experts


def save_experts(expert_set: ExpertSet, path: Path | str) -> None:
    """Write one file, whole or not at all."""
    tensors = {
        f"experts.{index}.{key}": value.detach().cpu()
        for index, expert in enumerate(expert_set.experts.experts)
        for key, value in expert.tensors.items()
    }
    metadata = header_to_metadata(expert_set.header) | {CHECKSUM: hash_tensors(tensors)}
    save_safetensors(tensors, path, metadata)


def load_experts(path: Path | str) -> ExpertSet:
    """Read and check one file. ValueError, in one line, for whatever is wrong with it."""
    path = Path(path)
    with _errors_name(path.name):
        if not path.is_file():
            raise ValueError(f"there is no such file in {path.parent}")
        metadata, tensors = _read(path)
        header = metadata_to_header(metadata)
        experts = [_expert(header, index, tensors) for index in range(len(header.noise_ranges))]
        known = tuple(f"experts.{index}." for index in range(len(experts)))
        if extra := sorted(key for key in tensors if not key.startswith(known)):
            raise ValueError(
                f"it holds {len(extra)} tensor(s) of no expert in its header, the first is "
                f"{extra[0]!r}"
            )
        if metadata.get(CHECKSUM) != hash_tensors(tensors):
            raise ValueError("its tensors are not those it was saved with (checksum)")
        return ExpertSet(header=header, experts=NoiseExperts(experts), name=path.name)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """ModelSpec's checksum: "0x" and the SHA-256 of all values, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(tensors[key].contiguous().flatten().view(torch.uint8).numpy())
    return "0x" + digest.hexdigest()


@contextmanager
def _errors_name(file_name: str) -> Iterator[None]:
    """Errors inside become ValueErrors that begin with the file's name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"expert file {file_name!r}: {one_line(error)}") from None
    except Exception as error:  # a damaged header or tensor can raise anything
        raise ValueError(f"expert file {file_name!r} is damaged: {one_line(error)}") from error


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        return load_safetensors(path)
    except SafetensorError as error:
        otherwise = f"is no complete .safetensors file ({one_line(error)})"
        raise ValueError(f"it {what_it_is(path, otherwise)}") from None


def _expert(header: ExpertHeader, index: int, tensors: Mapping[str, Tensor]) -> Expert:
    """Expert number `index` of the file. ValueError unless its tensors are complete and finite."""
    prefix = f"experts.{index}."
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    wanted = header.lora.keys()
    for what, keys in (("lacks", wanted - own.keys()), ("has unknown", own.keys() - wanted)):
        if keys:
            raise ValueError(
                f"expert {index} {what} {len(keys)} tensor(s), the first is {min(keys)!r}"
            )
    for key, value in own.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"expert {index} holds NaN or infinity in {key!r}")
    return Expert(header.noise_ranges[index], own, header.lora.scaling)
