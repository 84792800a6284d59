"""Expert files: one .safetensors holds a set of experts and says what it was made for.

Tensors are named `experts.<i>.<peft key>`. The header holds `ppap.*` (below) and, for model
managers, `modelspec.*` (ModelSpec 1.0.1). Nothing is returned unless the whole file is sound.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from .atomic import load_safetensors, save_safetensors
from .errors import one_line
from .experts import LORA_A, LORA_B, PEFT_PREFIX, Expert, NoiseExperts
from .guiders import Guider
from .noise import NoiseRange, check_ranges, sigma_ve_to_timestep
from .reading import INPUTS, Reading

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class LoraSpec:
    """Which tensors every expert holds: `layers` get LoRA, `replaced` are stored whole."""

    rank: int
    lora_alpha: float
    layers: tuple[str, ...]
    replaced: tuple[str, ...]

    def __post_init__(self):
        if self.rank < 1 or not 0 < self.lora_alpha < math.inf:
            raise ValueError(
                f"LoRA has a rank of at least 1 and a lora_alpha above 0, got {self.rank} and "
                f"{self.lora_alpha}"
            )

    def keys(self) -> set[str]:
        """The peft keys that a complete expert has, and no others."""
        factors = {layer + end for layer in self.layers for end in (LORA_A, LORA_B)}
        return {PEFT_PREFIX + name for name in factors | set(self.replaced)}


@dataclass(frozen=True)
class ExpertHeader:
    """What a set of experts was made for.

    `latent_format`: ComfyUI's name of the space the states live in. `checkpoint`: the diffusion
    model that drew the training images. `training`: a summary for people.
    """

    source: str
    architecture: str
    task: str
    guider_fingerprint: str
    input: str
    view: str
    latent_format: str
    checkpoint: str
    noise_ranges: tuple[NoiseRange, ...]
    lora: LoraSpec
    preprocessing: dict
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        check_ranges(self.noise_ranges)
        if self.input not in INPUTS:
            raise ValueError(f"input is one of {', '.join(INPUTS)}, got {self.input!r}")

    @classmethod
    def for_guider(cls, guider: Guider, **settings) -> "ExpertHeader":
        info = guider.info
        return cls(
            source=info.source,
            architecture=info.architecture,
            task=info.task,
            guider_fingerprint=info.fingerprint,
            preprocessing=asdict(guider.preprocessing),
            **settings,
        )

    def check_guider(self, guider: Guider) -> None:
        """ValueError unless the experts were trained on exactly this guider's weights."""
        if guider.info.fingerprint != self.guider_fingerprint:
            raise ValueError(
                f"these experts were trained for the guider {self.source} "
                f"({self.guider_fingerprint[:12]}), not for {guider.info.source} "
                f"({guider.info.fingerprint[:12]}): load that guider, or train experts for this one"
            )

    @property
    def reading(self) -> Reading:
        """What the experts were trained on."""
        return Reading(self.input, self.view)

    def settle_reading(self, asked: Reading) -> Reading:
        """`asked`, "auto" standing for what the experts were trained on. Warns of anything else."""
        settled = asked.or_else(self.reading)
        if settled != self.reading:
            log.warning(
                "the experts were trained on %s through the view %s, and are given %s through %s",
                self.input,
                self.view,
                settled.input,
                settled.view,
            )
        return settled

    def check_latent_format(self, name: str) -> None:
        if name != self.latent_format:
            raise ValueError(
                f"these experts read {self.latent_format} states, the model works in {name}: "
                f"train experts for this model"
            )


@dataclass(frozen=True)
class ExpertSet:
    """The contents of one file, checked. `name`: the file's."""

    header: ExpertHeader
    experts: NoiseExperts
    name: str = ""

    def for_guider(self, guider: Guider) -> NoiseExperts:
        """The experts, once they are known to belong to `guider`. ValueError if they do not."""
        with _naming(self.name):
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
    save_safetensors(tensors, path, _to_metadata(expert_set.header, tensors))


def load_experts(path: Path | str) -> ExpertSet:
    """Read and check one file. ValueError, in one line, for anything that is not right with it."""
    path = Path(path)
    with _naming(path.name):
        metadata, tensors = _read(path)
        header = _from_metadata(metadata)
        experts = [_expert(header, index, tensors) for index in range(len(header.noise_ranges))]
        _check_no_extra(tensors, len(experts))
        if metadata.get("modelspec.hash_sha256") != hash_tensors(tensors):
            raise ValueError("its tensors are not those it was saved with (checksum)")
        return ExpertSet(header, NoiseExperts(experts), path.name)


@contextmanager
def _naming(file_name: str) -> Iterator[None]:
    """Errors inside become ValueErrors that begin with the file's name."""
    try:
        yield
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"expert file {file_name!r}: {one_line(error)}") from None
    except Exception as error:  # what a header or a tensor of any kind can cause
        raise ValueError(f"expert file {file_name!r} is damaged: {one_line(error)}") from error


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"there is no such file in {path.parent}")
    return load_safetensors(path)


def _expert(header: ExpertHeader, index: int, tensors: Mapping[str, Tensor]) -> Expert:
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
    return Expert(header.noise_ranges[index], own, header.lora.lora_alpha / header.lora.rank)


def _check_no_extra(tensors: Mapping[str, Tensor], num_experts: int) -> None:
    prefixes = tuple(f"experts.{index}." for index in range(num_experts))
    if extra := sorted(key for key in tensors if not key.startswith(prefixes)):
        raise ValueError(
            f"it holds {len(extra)} tensor(s) of no expert in its header, the first is {extra[0]!r}"
        )


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(tensors[key].contiguous().flatten().view(torch.uint8).numpy())
    return "0x" + digest.hexdigest()


def _to_metadata(header: ExpertHeader, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    values = asdict(header)
    values["noise_ranges"] = [[r.low, r.high] for r in header.noise_ranges]
    first, last = _timesteps(header.noise_ranges[0].low, header.noise_ranges[-1].high)
    return {
        "ppap.format_version": str(FORMAT_VERSION),
        **{f"ppap.{name}": json.dumps(value) for name, value in values.items()},
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{header.architecture}/ppap-experts",
        "modelspec.implementation": "ppap-guidance",
        "modelspec.title": f"PPAP experts for {header.source}",
        "modelspec.description": f"{len(header.noise_ranges)} noise-aware experts for "
        f"{header.task} guidance of {header.latent_format} models, taught with {header.checkpoint}",
        "ss_base_model_version": header.latent_format,  # by which LoRA managers sort
        "modelspec.preprocessor": header.task,
        "modelspec.timestep_range": f"{first},{last}",
        "modelspec.hash_sha256": hash_tensors(tensors),
    }


def _timesteps(low: float, high: float) -> tuple[int, int]:
    """The first and last whole DDPM timestep between two sigma_ve."""
    ends = torch.tensor([low, high], dtype=torch.float64)
    first, last = sigma_ve_to_timestep(ends).tolist()
    return math.ceil(first - 1e-6), math.floor(last + 1e-6)


def _from_metadata(metadata: Mapping[str, str]) -> ExpertHeader:
    version = metadata.get("ppap.format_version")
    if version is None:
        raise ValueError("this is no PPAP expert file (its header has no ppap.format_version)")
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"it has format version {version}, this pack reads {FORMAT_VERSION}: update the pack"
        )
    try:
        values = {
            name: json.loads(metadata[f"ppap.{name}"]) for name in ExpertHeader.__annotations__
        }
        values["noise_ranges"] = tuple(NoiseRange(*edges) for edges in values["noise_ranges"])
        lora = values["lora"]
        values["lora"] = LoraSpec(
            int(lora["rank"]),
            float(lora["lora_alpha"]),
            *map(tuple, (lora["layers"], lora["replaced"])),
        )
        return ExpertHeader(**values)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"its header is damaged: {error!r}") from None


def describe(header: ExpertHeader) -> str:
    """The header in a few lines for people."""
    lines = [
        f"{len(header.noise_ranges)} expert(s) for {header.source} ({header.architecture})",
        f"task {header.task}, input {header.input}, view {header.view}, {header.latent_format}",
        f"LoRA rank {header.lora.rank} on {len(header.lora.layers)} layers, "
        f"{len(header.lora.replaced)} tensors replaced",
    ]
    gains = header.training.get("agreement") or []
    gains = gains if len(gains) == len(header.noise_ranges) else [None] * len(header.noise_ranges)
    for index, (noise_range, gain) in enumerate(zip(header.noise_ranges, gains, strict=True)):
        first, last = _timesteps(noise_range.low, noise_range.high)
        agrees = f"; agreement {gain[0]:.2f} -> {gain[1]:.2f}" if gain else ""
        lines.append(f"  {index}: sigma {noise_range}, DDPM timesteps {first} to {last}{agrees}")
    return "\n".join(lines)
