"""What guidance did in a sampling: curves over the steps, and what the guider saw."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .grid import GridRow, draw_grid
from .guidance_run import GuidanceRecord, Outcome
from .plot import Curve, Panel, draw_panels

CELL = 128  # pixels


def plot_curves(outcomes: Sequence[Outcome], size: tuple[int, int] = (960, 900)) -> Image.Image:
    """How far the guider sees the target, shift, gradient and expert over the noise."""
    guided = [outcome for outcome in outcomes if outcome.records]
    if not guided:
        return _page(size, "no step was guided")
    panels = [
        *_agreement_panels(guided),
        Panel(
            "how far a step moved the picture, as a share of its noise",
            _curves(guided, lambda record: float(record.share)),
            low=0.0,
            high=0.0,
            unit="%",
        ),
        Panel(
            "norm of the gradient",
            _curves(guided, lambda record: float(record.gradient)),
            is_log=True,
        ),
    ]
    if any(outcome.num_experts for outcome in guided):
        panels.append(Panel("expert", _curves(guided, _expert), unit="whole"))
    legend = [f"{outcome.info.told}: {outcome.info.architecture}" for outcome in guided]
    return draw_panels(panels, legend, "noise in the picture, from all (1) to none (0)", size)


def _agreement_panels(outcomes: Sequence[Outcome]) -> list[Panel]:
    """One panel for shares, one for correlations and one for each other figure; see Wording."""
    panels, shares, others = [], [], []
    for colour, outcome in enumerate(outcomes):
        if outcome.wording is None:
            others.append(("log-likelihood", outcome, colour, _log_likelihood))
        elif outcome.wording.is_share:
            shares.append((outcome.wording.axis, outcome, colour, _agreement))
        else:
            others.append((outcome.wording.axis, outcome, colour, _agreement))
    if shares:
        title = ", ".join(dict.fromkeys(axis for axis, *_ in shares))
        curves = [_curve(outcome, colour, value) for _, outcome, colour, value in shares]
        panels.append(Panel(title, curves, low=0.0, high=1.0, unit="%"))
    return panels + [
        Panel(axis, [_curve(outcome, colour, value)]) for axis, outcome, colour, value in others
    ]


def _curves(outcomes: Sequence[Outcome], value: Callable[[GuidanceRecord], float]) -> list[Curve]:
    return [_curve(outcome, colour, value) for colour, outcome in enumerate(outcomes)]


def _curve(outcome: Outcome, colour: int, value: Callable[[GuidanceRecord], float]) -> Curve:
    points = [(r.sigma_ve / (1 + r.sigma_ve), value(r)) for r in outcome.records]
    return Curve(points, colour)


def _agreement(record: GuidanceRecord) -> float:
    return float(record.agreement)


def _log_likelihood(record: GuidanceRecord) -> float:
    return float(record.log_likelihood)


def _expert(record: GuidanceRecord) -> float:
    return float("nan") if record.expert is None else float(record.expert)


def show_steps(outcomes: Sequence[Outcome], num: int = 6) -> Image.Image:
    """What the guider saw, and where it moved the picture, at `num` steps from first to last."""
    rows, columns = [], []
    for outcome in outcomes:
        chosen = _spread(outcome.records, num)
        if not chosen:
            continue
        columns = max(columns, [f"sigma {record.sigma_ve:.3g}" for record in chosen], key=len)
        task = outcome.info.told
        seen = [_square(record.seen) for record in chosen]
        where = [_square(record.where.expand(3, -1, -1), heat=True) for record in chosen]
        rows.append(GridRow(f"{task}: seen", "what the guider reads", torch.stack(seen)))
        rows.append(GridRow(f"{task}: moved", "where it changes most", torch.stack(where)))
    if not rows:
        return _page((960, 240), "no step was guided")
    return draw_grid(columns, rows, cell=CELL)


def _spread(records: Sequence[GuidanceRecord], num: int) -> Sequence[GuidanceRecord]:
    if len(records) <= num:
        return records
    return [records[round(i * (len(records) - 1) / max(1, num - 1))] for i in range(num)]


def _square(image: Tensor, heat: bool = False) -> Tensor:
    """(3, h, w) on the CPU, CELL pixels each side; `heat`: from 0 to its largest value."""
    image = image.float().cpu()
    if heat:
        image = image / image.amax().clamp(min=1e-20) * 2 - 1
    return torch.nn.functional.interpolate(image[None], (CELL, CELL), mode="nearest-exact")[0]


def _page(size: tuple[int, int], text: str) -> Image.Image:
    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).text((24, 24), text, "black", ImageFont.load_default(20))
    return page
