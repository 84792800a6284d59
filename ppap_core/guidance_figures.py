"""What guidance did in a sampling: curves over the steps, and what the guider saw."""

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .grid import GridRow, draw_grid
from .guidance_run import GuidanceRecord, Outcome

CELL = 128  # pixels


CURVES = {
    "log-likelihood": lambda record: float(record.log_likelihood),
    "gradient's norm": lambda record: float(record.gradient),
    "shift, share of the noise": lambda record: float(record.share),
    "expert": lambda record: float("nan") if record.expert is None else record.expert,
}


def plot_curves(outcomes: Sequence[Outcome], size: tuple[int, int] = (960, 900)) -> Image.Image:
    """Log-likelihood, gradient, shift and expert over the evaluations. Needs matplotlib."""
    if not any(outcome.records for outcome in outcomes):
        return _page(size, "no step was guided")
    try:
        import matplotlib
    except ImportError:
        return _page(size, "for the curves: pip install matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        len(CURVES), 1, sharex=True, figsize=(size[0] / 120, size[1] / 120), layout="constrained"
    )
    for axes, (name, value) in zip(panels, CURVES.items(), strict=True):
        for outcome in outcomes:
            records = outcome.records
            noise = [record.sigma_ve / (1 + record.sigma_ve) for record in records]
            label = f"{outcome.info.task}: {outcome.info.architecture}"
            style = "steps-mid" if name == "expert" else "default"
            axes.plot(noise, [value(r) for r in records], "o-", ms=3, drawstyle=style, label=label)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    panels[1].set_yscale("log")
    panels[2].set_ylim(bottom=0, top=1.3 * panels[2].get_ylim()[1])
    panels[3].yaxis.get_major_locator().set_params(integer=True)
    panels[3].invert_xaxis()  # shared by all: sampling runs from left to right
    panels[3].set_xlabel("noise, sigma / (1 + sigma)")
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)
    return Image.open(file).convert("RGB").resize(size)


def show_steps(outcomes: Sequence[Outcome], num: int = 6) -> Image.Image:
    """What the guider saw, and where it moved the picture, at `num` steps from first to last."""
    rows, columns = [], []
    for outcome in outcomes:
        chosen = _spread(outcome.records, num)
        if not chosen:
            continue
        columns = max(columns, [f"sigma {record.sigma_ve:.3g}" for record in chosen], key=len)
        task = outcome.info.task
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
