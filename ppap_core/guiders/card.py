"""What a guider is, for a person: what it predicts, what its numbers mean, what it reads."""

from .guider import Guider
from .presets import Preset

CHANNELS = {1: "grey", 3: "colour"}
SHOWN = 5  # labels
NO_WEIGHTS = "is no network: needs no weights, can have no experts"


def describe(guider: Guider, preset: Preset | None = None) -> str:
    """A few lines for a node's card. `preset`: the one that the guider is, if it is one."""
    info, reads = guider.info, guider.preprocessing
    meaning, count = info.asks.answers[info.answer], len(info.labels)
    named = info.asks.label_names
    classes = f"{count} {named[count > 1]}, " if count else ""
    lines = [f"{info.source}: {info.architecture}", f"predicts {info.task}: {classes}{meaning}"]
    if count:
        more = f", ... {info.labels[-1]}" if count > SHOWN else ""
        lines.append(f"{named[1]}: {', '.join(info.labels[:SHOWN])}{more}")
    height, width = reads.size
    size = f"{width} x {height} pixels" if info.is_network else "pictures in their own size"
    order = ", channels blue, green, red" if reads.reverse_channels else ""
    lines.append(f"reads {size}, {CHANNELS[len(reads.mean)]}{order}")
    if guider.words:
        lines.append("reads words of any kind too")
    lines.append(_memory(guider) if info.is_network else NO_WEIGHTS)
    if preset:
        lines.append(f"good for: {preset.good_for}; licence {preset.licence}")
    return "\n".join(lines)


def _memory(guider: Guider) -> str:
    weights = list(guider.backbone.parameters())
    millions = sum(weight.numel() for weight in weights) / 1e6
    megabytes = sum(weight.numel() * weight.element_size() for weight in weights) / 2**20
    return f"{millions:.3g} million parameters, which take {megabytes:.0f} MB of memory"
