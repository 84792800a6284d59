"""What guidance did in a run: in words, as curves over the steps, and as pictures."""

import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .grid import GridRow, draw_grid
from .guidance import Guidance, GuidanceRecord

WEAK = 0.005  # of the noise: shifts below it are hardly seen
CERTAIN = -0.05  # mean log-likelihood of a class target that is met from the start
CELL = 128


def describe(guidances: Sequence[Guidance]) -> str:
    """A line for each guidance, and what to change where it had no effect."""
    if not guidances:
        return (
            "nothing guides this model: guidance_scale is 0, the interval never opens, or a guider "
            "or target is missing"
        )
    return "\n".join(line for guidance in guidances for line in _lines(guidance))


def _lines(guidance: Guidance) -> list[str]:
    lines, records = [guidance.summary()], guidance.records
    if not records:
        return [*lines, "    widen start_percent and end_percent, or look at denoise"]
    used = sorted({record.expert for record in records if record.expert is not None})
    if used:
        lines.append(f"    experts {', '.join(map(str, used))} of {len(guidance.experts)} answered")
    else:
        lines.append("    the guider answered without experts: it cannot read strong noise")
    if guidance.num_bytes:
        lines.append(f"    its backward pass keeps {guidance.num_bytes / 2**20:.0f} MB")
    if max(float(record.share) for record in records) < WEAK:
        lines.append("    it moved next to nothing: raise guidance_scale")
    is_class = guidance.guider.info.task == "class"
    if is_class and min(float(record.log_likelihood) for record in records) > CERTAIN:
        lines.append("    the guider saw the target from the first step on: nothing was left to do")
    return lines


def draw_curves(guidances: Sequence[Guidance], size: tuple[int, int] = (960, 900)) -> Image.Image:
    """Log-likelihood, gradient, shift and expert over the evaluations. Needs matplotlib."""
    if not any(guidance.records for guidance in guidances):
        return _page(size, "no step was guided")
    try:
        import matplotlib
    except ImportError:
        return _page(size, "for the curves: pip install matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = {
        "log-likelihood": lambda record: float(record.log_likelihood),
        "gradient's norm": lambda record: float(record.gradient),
        "shift, share of the noise": lambda record: float(record.share),
        "expert": lambda record: float("nan") if record.expert is None else record.expert,
    }
    figure, panels = pyplot.subplots(
        len(curves), 1, sharex=True, figsize=(size[0] / 120, size[1] / 120), layout="constrained"
    )
    for axes, (name, value) in zip(panels, curves.items(), strict=True):
        for guidance in guidances:
            records = guidance.records
            noise = [record.sigma_ve / (1 + record.sigma_ve) for record in records]
            label = f"{guidance.guider.info.task}: {guidance.guider.info.architecture}"
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


def draw_steps(guidances: Sequence[Guidance], num: int = 6) -> Image.Image:
    """What the guider saw, and where it moved the picture, at `num` steps from first to last."""
    rows, columns = [], []
    for guidance in guidances:
        chosen = _spread(guidance.records, num)
        if not chosen:
            continue
        columns = max(columns, [f"sigma {record.sigma_ve:.3g}" for record in chosen], key=len)
        task = guidance.guider.info.task
        seen = [_square(record.seen) for record in chosen]
        where = [_square(record.where.expand(3, -1, -1), heat=True) for record in chosen]
        rows.append(GridRow(f"{task}: seen", "what the guider reads", torch.stack(seen)))
        rows.append(GridRow(f"{task}: moved", "where it changes most", torch.stack(where)))
    if not rows:
        return _page((960, 240), "no step was guided")
    return draw_grid(columns, rows, cell=CELL)


def _spread(records: list[GuidanceRecord], num: int) -> list[GuidanceRecord]:
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
