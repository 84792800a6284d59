"""The report of a training: a page of Markdown, and plots if matplotlib is installed."""

import logging
from collections.abc import Iterable
from pathlib import Path

from ..atomic import replace_file
from ..tasks import comparisons
from .distill import Distilled
from .evaluate import NOTHING_MEASURED, RangeAgreement
from .learned import MORE_PICTURES

log = logging.getLogger(__name__)

AGREEMENT_PLOT, LOSS_PLOT = "agreement.png", "loss.png"


def report_text(
    title: str,
    kind: str,
    rows: list[RangeAgreement],
    distilled: Distilled,
    facts: dict[str, object],
    read_as: str = "with new noise",
) -> str:
    """Markdown: held-out loss and agreement per range, what was merged, and `facts`.

    `read_as`: what the guider read of the held-out pictures.
    """
    lines = [
        f"# {title}",
        "",
        *(_agreement_lines(kind, rows, distilled, read_as) if rows else [NOTHING_MEASURED, ""]),
        f"![loss]({LOSS_PLOT})",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {fact} |" for name, fact in facts.items()),
    ]
    steps = sum(len(losses) for losses in distilled.losses)
    return "\n".join([*lines, f"| optimiser steps | {steps} |", ""])


def _agreement_lines(
    kind: str, rows: list[RangeAgreement], distilled: Distilled, read_as: str
) -> list[str]:
    lines = [
        f"{rows[0].num_pictures} held-out pictures, {read_as}. Agreement with the clean guider: "
        f"{comparisons()[kind].agreement_name}.",
        "",
        "| noise range (sigma) | agreement, plain | agreement, expert | gain | loss, plain "
        "| loss, expert | loss of a constant answer | weights of step |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.noise_range} | {row.plain:.1%} | {row.expert:.1%} | {row.expert - row.plain:+.1%} "
        f"| {row.plain_loss:.4f} | {row.expert_loss:.4f} | {row.constant_loss:.4f} | {kept} |"
        for row, kept in zip(rows, distilled.kept, strict=True)
    ]
    return [*lines, "", *_remarks(rows), "", f"![agreement]({AGREEMENT_PLOT})"]


def _remarks(rows: list[RangeAgreement]) -> list[str]:
    silent = _ranges(row for row in rows if row.is_silent)
    early = _ranges(row for row in rows if row.is_undertrained)
    by_heart = _ranges(row for row in rows if row.is_by_heart)
    remarks = []
    if silent:
        remarks.append(
            f"No signal in {silent}: the expert answers the same to every picture. Neighbouring "
            f"ranges without signal share one expert in the file."
        )
    if early:
        remarks.append(
            f"Not learned yet in {early}: a constant answer would do better. Train for more steps."
        )
    if by_heart:
        remarks.append(
            f"Learned by heart in {by_heart}: the answers to the training's own pictures were "
            f"learned, and the expert is worse on others than a constant answer. {MORE_PICTURES}"
        )
    return remarks or ["Every range has signal, and every expert has learned."]


def _ranges(rows: Iterable[RangeAgreement]) -> str:
    return ", ".join(str(row.noise_range) for row in rows)


def write_report(
    folder: Path, text: str, rows: list[RangeAgreement], distilled: Distilled, kind: str
) -> None:
    """report.md and its plots into `folder`."""
    with replace_file(folder / "report.md") as partial:
        partial.write_text(text, encoding="utf-8")
    try:
        import matplotlib
    except ImportError:
        log.warning("no plots: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    plots = {LOSS_PLOT: _plot_losses} | ({AGREEMENT_PLOT: _plot_agreement} if rows else {})
    for name, plot in plots.items():
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        plot(axes, rows, distilled, kind)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        with replace_file(folder / name) as partial:
            figure.savefig(partial, dpi=120, format="png")
        pyplot.close(figure)


def _plot_agreement(axes, rows: list[RangeAgreement], distilled: Distilled, kind: str) -> None:
    places = range(len(rows))
    axes.bar([p - 0.2 for p in places], [row.plain for row in rows], 0.4, label="plain guider")
    axes.bar([p + 0.2 for p in places], [row.expert for row in rows], 0.4, label="expert")
    axes.set_xticks(places, [str(row.noise_range) for row in rows], fontsize=8)
    axes.set_xlabel("noise range (sigma of the VE form)")
    axes.set_ylabel(f"agreement with the clean guider\n({comparisons()[kind].agreement_name})")
    axes.set_ylim(min(0.0, *(row.plain for row in rows)), 1.0)
    axes.legend(frameon=False)


def _plot_losses(axes, rows: list[RangeAgreement], distilled: Distilled, kind: str) -> None:
    for phase, losses in zip(distilled.phases, distilled.losses, strict=True):
        window = max(1, len(losses) // 50)
        means = [
            sum(losses[i : i + window]) / window for i in range(0, len(losses) - window + 1, window)
        ]
        steps = [i * window + window / 2 for i in range(len(means))]
        label = str(phase.noise_range) if phase.expert is not None else "all noise"
        axes.plot(steps, means, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False, fontsize=8, title="noise range")
