"""docs/evidence/photographs.md, .csv and .png, from what was measured so far."""

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor

from evidence.photographs.gradients import WAYS, read_gradients
from evidence.photographs.lessons import ALONE, DECILES, ONE, Lesson
from evidence.photographs.networks import EFFICIENTNET, NETWORKS
from evidence.photographs.sources import EFFICIENTNET_PACKAGE, PHOTOGRAPHS
from evidence.photographs.sources import NETWORKS as NETWORK_SOURCES
from evidence.photographs.study import NUM_LARGE, Study
from evidence.photographs.transfer import GUIDER, JUDGE, STEPS, read_transfer
from evidence.photographs.transfer import WAYS as TRANSFERRED
from evidence.tables import markdown, write_csv
from ppap_core.plot import Curve, Panel, draw_panels

SOURCES = (*PHOTOGRAPHS, EFFICIENTNET_PACKAGE, *NETWORK_SOURCES)
PARTS = ("photographs", "CIFAR-10")
SHOWN = range(0, 10, 2)  # two tenths of the timesteps a column: the ranges of five experts
RESAMPLES = 2000
PLOT_WIDTH, PANEL_HEIGHT = 760, 230


def write_report(study: Study, output: Path) -> None:
    """The table of every row, the page's tables, and the plot."""
    output.mkdir(parents=True, exist_ok=True)
    rows = list(_csv_rows(study))
    if rows:
        write_csv(rows, output / "photographs.csv")
        _plot(study).save(output / "photographs.png")
    page = output / "photographs.md"
    said = page.read_text("utf-8").split(BEGIN)[0] if page.exists() else "# Photographs\n\n"
    page.write_text(f"{said}{BEGIN}\n\n{_tables(study)}\n", encoding="utf-8")


BEGIN = "<!-- What follows is written by `python -m evidence.photographs`. -->"


def _csv_rows(study: Study):
    for network in NETWORKS:
        for part in PARTS:
            for lesson, found in study.measured(network, part):
                for index, noise in enumerate(DECILES):
                    yield {
                        **{"network": network, "pictures": part, "row": str(lesson)},
                        **{"steps": lesson.steps, "n": found["agreement"].shape[1]},
                        "from sigma": f"{noise.low:.4g}",
                        "to sigma": f"{noise.high:.4g}",
                        "agreement": f"{found['agreement'][index].mean().item():.4f}",
                        "loss": f"{found['loss'][index].item():.4f}",
                    }


def _tables(study: Study) -> str:
    parts = []
    for part in PARTS:
        for network in NETWORKS:
            if measured := list(study.measured(network, part)):
                num = measured[0][1]["agreement"].shape[1]
                rows = [_row(lesson, found) for lesson, found in measured]
                parts += [f"## {network}, {num} held-out pictures: {part}", markdown(rows)]
                parts += _differences(measured)
    if any((study.cache / network).exists() for network in NETWORKS):
        parts += [*_gradients(study), *_transfer(study)]
    sources = [source.row() for source in SOURCES]
    return "\n\n".join([*parts, "## Files", markdown(sources)])


def _row(lesson: Lesson, found: dict[str, Tensor]) -> dict[str, str]:
    agreement = found["agreement"]
    row = {"": str(lesson)}
    for first in SHOWN:
        name = f"{DECILES[first].low:.2g} to {DECILES[first + 1].high:.2g}"
        row[name] = f"{agreement[first : first + 2].mean().item():.1%}"
    low, high = interval(agreement.mean(dim=0))
    row["all"] = f"{agreement.mean().item():.1%} ({low:.1%} to {high:.1%})"
    return row | {"KL": f"{found['loss'].mean().item():.2f}"}


def interval(values: Tensor) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of `values` (N,), over pictures."""
    random = numpy.random.default_rng(0)
    means = random.choice(values.numpy(), (RESAMPLES, len(values))).mean(axis=1)
    low, high = numpy.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _differences(measured: Sequence[tuple[Lesson, dict[str, Tensor]]]) -> list[str]:
    """Sentences: several experts against one adapter, on the same pictures and noise."""
    agreement = {lesson: found["agreement"].mean(dim=0) for lesson, found in measured}
    ones = {lesson.view: lesson for lesson in agreement if lesson.name == ONE}
    lines = []
    for lesson, values in agreement.items():
        one = ones.get(lesson.view)
        if one and lesson.name not in (ONE, ALONE):
            difference = 100 * (values - agreement[one])
            low, high = interval(difference)
            lines.append(
                f"- {lesson}, less {one}: {difference.mean().item():+.1f} points "
                f"({low:+.1f} to {high:+.1f})"
            )
    return ["\n".join(lines)] if lines else []


def _gradients(study: Study) -> list[str]:
    parts = []
    for network in NETWORKS:
        rows = [
            {"sigma": f"{level:g}"} | {way: f"{found[way].mean().item():.3f}" for way in WAYS}
            for level, found in read_gradients(study.cache / network, NUM_LARGE).items()
        ]
        if rows:
            title = f"## Gradients of {network}: cosine with the full decoder in float32"
            parts += [title, markdown(rows)]
    return parts


def _transfer(study: Study) -> list[str]:
    """How much surer guider and judge are, with standard errors over pictures."""
    found = read_transfer(study.cache / EFFICIENTNET)
    rows = []
    for way in TRANSFERRED:
        row = {"decoded by": way}
        for step in STEPS:
            for who in (GUIDER, JUDGE):
                if (gain := found.get(f"{way}, {step:g}, {who}")) is not None:
                    error = gain.std().item() / len(gain) ** 0.5
                    row[f"{who}, step {step:g}"] = f"{gain.mean().item():+.2f} ± {error:.2f}"
        rows.append(row)
    if not found:
        return []
    title = (
        f"## What a step along {EFFICIENTNET}'s gradient gains, in nats, for itself and for {JUDGE}"
    )
    return [title, markdown(rows)]


def _plot(study: Study):
    panels, names = [], []
    for network in NETWORKS:
        measured = list(study.measured(network, PARTS[0]))
        names += [str(lesson) for lesson, _ in measured if str(lesson) not in names]
        curves = [
            Curve(_points(found["agreement"]), names.index(str(lesson)))
            for lesson, found in measured
        ]
        if curves:
            title = f"{network}: agreement with its answers to the clean photographs"
            panels.append(Panel(title, curves, low=0.0, high=1.0, unit="%"))
    size = PLOT_WIDTH, 120 + 24 * len(names) + PANEL_HEIGHT * len(panels)
    return draw_panels(panels, names, "noise in the picture, from all (1) to none (0)", size)


def _points(agreement: Tensor) -> list[tuple[float, float]]:
    """(share of noise, agreement) in the middle of each tenth of the timesteps."""
    middles = [(noise.low * noise.high) ** 0.5 for noise in DECILES]
    shares = torch.tensor([sigma / (1 + sigma) for sigma in middles]).tolist()
    return list(zip(shares, agreement.mean(dim=1).tolist(), strict=True))
