"""How far a training has come: one file holds all it takes to resume, with the same bits."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ..atomic import load_safetensors, save_safetensors
from ..errors import one_line
from .checksums import seal, tensors_checksum, unseal
from .settings import DistillSettings

Tensors = dict[str, Tensor]
HEADER = ("fingerprint", "settings", "phase", "step", "losses", "best_step", "best_loss", "kept")


@dataclass
class TrainingState:
    """What a stopped training leaves.

    `fingerprint`: of the settings and the data. `settings`: by name, to say later which differ.
    `phase`, `step`: what comes next. `losses`: per phase, one per step. `experts`: those finished.
    `shared`: the adapter that branches start from. `learner`: the unfinished phase's state. `best`:
    its best adapter so far, of `best_step`, by its loss on pictures held out; None: not looked yet.
    `kept`: of each of `experts`, the step after which it had its weights.
    """

    fingerprint: str
    settings: dict[str, object] = field(default_factory=dict)
    phase: int = 0
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)
    experts: list[Tensors] = field(default_factory=list)
    shared: Tensors | None = None
    learner: Tensors | None = None
    best: Tensors | None = None
    best_step: int = 0
    best_loss: float = math.inf
    kept: list[int] = field(default_factory=list)

    def start_of(self, starts_from: str) -> Tensors | None:
        """The adapter that a phase begins with; None is the guider as it is."""
        previous = self.experts[-1] if self.experts else None
        return {"guider": None, "previous": previous, "shared": self.shared}[starts_from]

    def save(self, path: Path) -> None:
        groups = {f"experts.{index}": tensors for index, tensors in enumerate(self.experts)}
        groups |= {name: getattr(self, name) or {} for name in ("shared", "learner", "best")}
        tensors = {f"{group}/{key}": v for group, ts in groups.items() for key, v in ts.items()}
        header = {name: getattr(self, name) for name in HEADER}
        header |= {"tensors": tensors_checksum(tensors)}
        save_safetensors(tensors, path, {"state": json.dumps(seal(header))})


def settings_by_name(settings: DistillSettings) -> dict[str, object]:
    """All settings, those of the adapter among them."""
    values = asdict(settings)
    adapter = values.pop("adapter")
    return values | adapter


def resume(
    path: Path | None, fingerprint: str, settings: dict[str, object] | None = None
) -> TrainingState:
    """The state in `path`, or a new one without a file. `settings`: as of `settings_by_name`.

    ValueError if the state is damaged, or belongs to a training with another fingerprint.
    """
    settings = settings or {}
    if path is None or not path.is_file():
        return TrainingState(fingerprint, settings)
    check_state(path, settings)
    header = _header(path)
    if header["fingerprint"] != fingerprint:
        raise _other_training(path, [])
    groups: dict[str, Tensors] = {}
    for name, value in _tensors(path, header["tensors"]).items():
        group, key = name.split("/", 1)
        groups.setdefault(group, {})[key] = value
    experts = [groups[f"experts.{i}"] for i in range(sum(g.startswith("experts.") for g in groups))]
    return TrainingState(
        **{name: header[name] for name in HEADER} | {"settings": settings},
        experts=experts,
        shared=groups.get("shared"),
        learner=groups.get("learner"),
        best=groups.get("best"),
    )


def check_state(path: Path, settings: dict[str, object]) -> None:
    """ValueError, naming what differs, if the state in `path` is that of other `settings`.

    Reads no more than the file's header. Settings that one of both does not know count as equal.
    """
    if not path.is_file():
        return
    stored = _header(path)["settings"]
    differences = [
        f"{name} was {stored[name]!r}, now {value!r}"
        for name, value in settings.items()
        if stored.get(name, value) != value
    ]
    if differences:
        raise _other_training(path, differences)


def is_finished(path: Path) -> bool:
    """Whether the training that left its state in `path` has learned all it was to learn."""
    if not path.is_file():
        return False
    header = _header(path)
    shared = header["settings"].get("initialisation") == "shared"
    return header["phase"] == header["settings"].get("num_experts", 0) + shared


def forget_finished(path: Path, fingerprint: str) -> None:
    """Delete the state of a training with another fingerprint, unless it is unfinished."""
    if is_finished(path) and _header(path)["fingerprint"] != fingerprint:
        path.unlink()


def _header(path: Path) -> dict[str, Any]:
    """HEADER and the checksum of the tensors, by name; reads nothing else of the state in `path`.

    ValueError if it is not what was saved.
    """
    try:
        with safe_open(path, "pt") as file:
            return unseal(json.loads((file.metadata() or {}).get("state", "null")))
    except Exception as error:  # a damaged header can raise anything
        raise _damaged(path, error) from None


def _tensors(path: Path, checksum: str) -> Tensors:
    """The tensors of the state in `path`. ValueError if they are not those that were saved."""
    try:
        _, tensors = load_safetensors(path)
        if tensors_checksum(tensors) != checksum:
            raise ValueError("the checksum of its tensors is wrong")
    except Exception as error:
        raise _damaged(path, error) from None
    return tensors


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({one_line(error)}): delete it to begin again")


def _other_training(path: Path, differences: list[str]) -> ValueError:
    known = f" ({'; '.join(differences)})" if differences else ""
    other = "settings" if differences else "settings, images or guider"
    return ValueError(
        f"{path} belongs to a run with other {other}{known}: use the old ones, take another name "
        f"or run folder, or delete the file to begin again"
    )


def training_fingerprint(settings: DistillSettings, *inputs: str) -> str:
    """Changes with everything that decides which experts come out of a training."""
    text = json.dumps([asdict(settings), *inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
