"""The rows of docs/evidence/tasks.csv, and their tables."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from demo.sampling import sample
from evidence.quality import Quality
from evidence.tables import markdown
from ppap_core.expert_file import load_experts
from ppap_core.guiders import load_guider

NO_GUIDANCE, ALONE, EXPERTS = "no guidance", "guider alone", "PPAP experts"
BATCH = 50
Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Measurement:
    """`kid` is times 1000. `seconds`: of the processor, for a picture. `strength`: 0 for none."""

    task: str
    method: str
    input: str
    jacobian: str
    strength: float
    measure: str
    value: float
    fid: float
    kid: float
    n: int
    seconds: float

    @property
    def key(self) -> Key:
        return self.task, self.method, self.jacobian, self.strength

    @classmethod
    def of(
        cls, key: Key, measure: str, value: float, quality: Quality, n: int, seconds: float
    ) -> "Measurement":
        task, method, jacobian, strength = key
        return cls(
            task=task,
            method=method,
            input="x0_hat" if strength else "",
            jacobian=jacobian,
            strength=strength,
            measure=measure,
            value=round(value, 2),
            fid=round(quality.fid, 3),
            kid=round(quality.kid, 2),
            n=n,
            seconds=round(seconds, 4),
        )


@cache
def load_with(folder: Path, experts: Path | None):
    """The LoadedGuider in `folder`, with the experts of a file or with none."""
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

    if experts:
        return load_with(folder, None).with_experts(load_experts(experts))
    return LoadedGuider.of(load_guider(folder))


def sample_rows(model_of: Callable[[Tensor], object], seed: int, num: int) -> tuple[Tensor, float]:
    """(num, 3, 32, 32) in [-1, 1], one for each seed from `seed` on, and seconds of the processor
    for each. `model_of`: numbers of some pictures (B,) -> the MODEL that makes them; what that
    takes, such as loading a guider, does not count.
    """
    parts, seconds = [], 0.0
    for rows in torch.arange(num).split(BATCH):
        model, begin = model_of(rows), time.process_time()
        parts.append(sample(model, (seed + rows).tolist()))
        seconds += time.process_time() - begin
    return torch.cat(parts), seconds / num


def sample_way(
    model, strength: float, guided: Callable[[Tensor], object], seed: int, num: int
) -> tuple[Tensor, float]:
    """`sample_rows` of `guided`, or without strength of `model` (MODEL) as it is."""
    return sample_rows(guided, seed, num) if strength else _sample_unguided(model, seed, num)


@cache
def _sample_unguided(model, seed: int, num: int) -> tuple[Tensor, float]:
    """Once for all parts of the table."""
    return sample_rows(lambda rows: model, seed, num)


def table(found: list[Measurement], column: str, name: Callable[[Measurement], str]) -> str:
    """Markdown: a line for each way to guide, called `name` in `column`; a column for each
    strength: the value, FID and KID. A way of which strength 1 is missing has no line.
    """
    plain = {m.task: m for m in found if not m.strength}
    lines = []
    for way in dict.fromkeys(m.key[:3] for m in found if m.strength):
        own = {m.strength: m for m in found if m.key[:3] == way}
        if way[0] not in plain or 1.0 not in own:
            continue
        line = {column: name(own[1.0]), "measure": own[1.0].measure}
        for strength, m in sorted({0.0: plain[way[0]], **own}.items()):
            title = f"{strength:g}" if strength else NO_GUIDANCE
            line[title] = f"{m.value:.1f} / {m.fid:.2f} / {m.kid:.1f}"
        more = own[1.0].seconds / plain[way[0]].seconds - 1
        lines.append(line | {"time at 1": f"{more:+.0%}"})
    return markdown(lines)
