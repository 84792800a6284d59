"""A run that can be stopped at any moment: one file holds all it takes to go on, bit for bit."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from ..atomic import load_safetensors, save_safetensors
from .settings import DistillSettings

Tensors = dict[str, Tensor]


@dataclass
class Run:
    """How far a distillation has come.

    `phase`, `step`: what comes next. `losses`: per phase, one per step. `experts`: those finished.
    `shared`: where branches start. `learner`: the unfinished phase's state. `identity` names the
    settings and the data; a file of another identity is refused.
    """

    identity: str
    phase: int = 0
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)
    experts: list[Tensors] = field(default_factory=list)
    shared: Tensors | None = None
    learner: Tensors | None = None

    def start_of(self, starts_from: str) -> Tensors | None:
        """The adapter that a phase begins with; None is the guider as it is."""
        previous = self.experts[-1] if self.experts else None
        return {"guider": None, "previous": previous, "shared": self.shared}[starts_from]

    def save(self, path: Path) -> None:
        groups = {f"experts.{index}": tensors for index, tensors in enumerate(self.experts)}
        groups |= {"shared": self.shared or {}, "learner": self.learner or {}}
        tensors = {f"{group}/{key}": v for group, ts in groups.items() for key, v in ts.items()}
        progress = {name: getattr(self, name) for name in ("phase", "step", "losses")}
        save_safetensors(
            tensors, path, {"identity": self.identity, "progress": json.dumps(progress)}
        )


def resume(path: Path | None, identity: str) -> Run:
    """The run that `path` holds, or a new one. ValueError if it is another run's, or damaged."""
    if path is None or not path.is_file():
        return Run(identity)
    try:
        metadata, tensors = load_safetensors(path)
        groups: dict[str, Tensors] = {}
        for name, value in tensors.items():
            group, key = name.split("/", 1)
            groups.setdefault(group, {})[key] = value
        progress = json.loads(metadata["progress"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to begin again") from None
    if metadata.get("identity") != identity:
        raise ValueError(
            f"{path} belongs to a run with other settings, images or guider: repeat those, take "
            f"another name or run folder, or delete it to begin again"
        )
    experts = [groups[f"experts.{i}"] for i in range(sum(g.startswith("experts.") for g in groups))]
    return Run(
        identity,
        **progress,
        experts=experts,
        shared=groups.get("shared"),
        learner=groups.get("learner"),
    )


def identity(settings: DistillSettings, *inputs: str) -> str:
    """A short name for all that decides what comes out of a run."""
    text = json.dumps([asdict(settings), *inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
