"""The header of an expert file: what a set of experts was made for.

Stored as JSON in `ppap.*` entries; `modelspec.*` entries (ModelSpec 1.0.1) are for model managers.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from .experts import LORA_A, LORA_B, PEFT_PREFIX
from .guiders import Guider
from .noise import NoiseRange, check_ranges, range_to_timesteps
from .reading import INPUTS, Reading
from .spectrum import GENERIC, DataSpectrum
from .tasks import find_task

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class LoraSpec:
    """Which tensors every expert holds: `layers` get LoRA, `replaced` are stored whole."""

    rank: int
    lora_alpha: float
    layers: tuple[str, ...]
    replaced: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.lora_alpha < math.inf:
            raise ValueError(
                f"LoRA has a rank of at least 1 and a lora_alpha above 0, got {self.rank} and "
                f"{self.lora_alpha}"
            )

    @property
    def scaling(self) -> float:
        return self.lora_alpha / self.rank

    def keys(self) -> set[str]:
        """The peft keys that a complete expert has, and no others."""
        factors = {layer + end for layer in self.layers for end in (LORA_A, LORA_B)}
        return {PEFT_PREFIX + name for name in factors | set(self.replaced)}


@dataclass(frozen=True)
class ExpertHeader:
    """`input`: what the experts read, one of INPUTS. `view`: how they see a latent as an image.
    `latent_format`: ComfyUI's name of the space the states live in. `checkpoint`: the diffusion
    model that sampled the training images. `training`: a summary for people. `spectrum`: of the
    training states (spectrum.py); older files have none.
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
    spectrum: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if find_task(self.task) is None:
            raise ValueError(
                f"its experts are for the task {self.task!r}, which no pack that is loaded brings: "
                f"install or enable the pack that does, and load its guider first"
            )
        check_ranges(self.noise_ranges)
        if self.input not in INPUTS:
            raise ValueError(f"input is one of {', '.join(INPUTS)}, got {self.input!r}")
        _ = self.reading, self.data_spectrum  # which check what they are made of

    @classmethod
    def for_guider(cls, guider: Guider, **settings) -> "ExpertHeader":
        """A header that takes from `guider` what concerns it, and the rest from `settings`."""
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
                f"these experts were trained for the {self.task} guider {self.source} "
                f"({self.guider_fingerprint[:12]}), not for the {guider.info.task} guider "
                f"{guider.info.source} ({guider.info.fingerprint[:12]}): connect that guider, "
                f"choose another expert file, or train experts for this guider"
            )

    @property
    def data_spectrum(self) -> DataSpectrum:
        """Of the training states, or a generic one. ValueError for one that cannot be."""
        return DataSpectrum(self.spectrum) if self.spectrum else GENERIC

    @property
    def reading(self) -> Reading:
        """What the experts were trained on."""
        return Reading(self.input, self.view)

    def settle_reading(self, asked: Reading) -> Reading:
        """`asked`; "auto" becomes what the experts were trained on. Warns of anything else."""
        settled = asked.or_else(self.reading)
        if settled != self.reading:
            log.warning(
                f"PPAP experts were trained on {self.input} through the view {self.view}, but now "
                f"read {settled.input} through the view {settled.view}"
            )
        return settled

    def check_latent_format(self, name: str) -> None:
        """ValueError unless the experts read states of ComfyUI's latent format `name`."""
        if name != self.latent_format:
            raise ValueError(
                f"these experts were trained with {self.checkpoint}, whose latents are of the kind "
                f"{self.latent_format}, but this model's are of the kind {name}: connect the model "
                f"they were trained for, choose another expert file, or train experts for this "
                f"model"
            )


def header_to_metadata(header: ExpertHeader) -> dict[str, str]:
    """The entries of a safetensors header, without the checksum of the tensors."""
    ranges = header.noise_ranges
    values = asdict(header) | {"noise_ranges": [[r.low, r.high] for r in ranges]}
    first, last = _whole_timesteps(NoiseRange(ranges[0].low, ranges[-1].high))
    return {
        "ppap.format_version": str(FORMAT_VERSION),
        **{f"ppap.{name}": json.dumps(value) for name, value in values.items()},
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{header.architecture}/ppap-experts",
        "modelspec.implementation": "ppap-guidance",
        "modelspec.title": f"PPAP experts for {header.source}",
        "modelspec.description": f"{len(ranges)} noise-aware experts for "
        f"{header.task} guidance of {header.latent_format} models, taught with {header.checkpoint}",
        "ss_base_model_version": header.latent_format,  # LoRA managers sort by it
        "modelspec.preprocessor": header.task,
        "modelspec.timestep_range": f"{first},{last}",
    }


def metadata_to_header(metadata: Mapping[str, str]) -> ExpertHeader:
    """The inverse of `header_to_metadata`. ValueError for another format or a damaged entry."""
    version = metadata.get("ppap.format_version")
    if version is None:
        raise ValueError("this is no PPAP expert file (its header has no ppap.format_version)")
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"it has format version {version}, this pack reads {FORMAT_VERSION}: update the pack"
        )
    try:
        metadata = {"ppap.spectrum": "[]", **metadata}  # files of earlier versions have none
        values = {
            entry.name: json.loads(metadata[f"ppap.{entry.name}"]) for entry in fields(ExpertHeader)
        }
        spectrum = tuple(map(float, values["spectrum"]))
        ranges = tuple(NoiseRange(low, high) for low, high in values["noise_ranges"])
        lora = LoraSpec(
            rank=int(values["lora"]["rank"]),
            lora_alpha=float(values["lora"]["lora_alpha"]),
            layers=tuple(values["lora"]["layers"]),
            replaced=tuple(values["lora"]["replaced"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its header is damaged: {error!r}") from None
    settled = {"noise_ranges": ranges, "lora": lora, "spectrum": spectrum}
    return ExpertHeader(**values | settled)


def describe(header: ExpertHeader) -> str:
    """The header in a few lines for people."""
    lines = [
        f"{len(header.noise_ranges)} expert(s) for {header.source} ({header.architecture})",
        f"for {header.task} guidance of models with latents like {header.checkpoint}'s "
        f"({header.latent_format})",
        f"they read {header.input} through the view {header.view}",
        f"LoRA rank {header.lora.rank} on {len(header.lora.layers)} layers, "
        f"{len(header.lora.replaced)} tensors replaced",
    ]
    if unfinished := header.training.get("unfinished"):
        lines.append(f"unfinished, {unfinished}: the last one reads all noise above its range")
    gains = header.training.get("agreement") or []  # none where silent ranges were merged
    known = len(gains) == len(header.noise_ranges)
    for index, noise_range in enumerate(header.noise_ranges):
        first, last = _whole_timesteps(noise_range)
        agrees = f"; agreement {gains[index][0]:.2f} -> {gains[index][1]:.2f}" if known else ""
        lines.append(f"  {index}: sigma {noise_range}, DDPM timesteps {first} to {last}{agrees}")
    return "\n".join(lines)


def _whole_timesteps(noise_range: NoiseRange) -> tuple[int, int]:
    """The first and last whole DDPM timestep in `noise_range`."""
    first, last = range_to_timesteps(noise_range).tolist()
    return math.ceil(first - 1e-6), math.floor(last + 1e-6)
