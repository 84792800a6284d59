"""What a guider is, for a person: what it predicts, what its numbers mean, what it reads."""

from .guider import Guider
from .presets import Preset

MEANINGS = {
    "softmax": "exactly one of them is right (softmax)",
    "sigmoid": "each is present or absent on its own (sigmoid)",
    "score": "each is a score, higher is more",
}
MAP_MEANINGS = {"softmax": "one for each pixel (softmax)"}
CHANNELS = {1: "grey", 3: "colour"}
SHOWN = 5  # labels


def describe(guider: Guider, preset: Preset | None = None) -> str:
    """A few lines for a node's card. `preset`: the one that the guider is, if it is one."""
    info, reads = guider.info, guider.preprocessing
    lines = [f"{info.source}: {info.architecture}", f"predicts {info.task}"]
    if info.task == "depth":
        lines[1] += ": nearness, larger is nearer"
    else:
        meanings = MAP_MEANINGS if info.task == "segmentation" else MEANINGS
        count = len(info.labels)
        classes = f"{count} class{'es' * (count > 1)}"
        lines[1] += f": {classes}, {meanings[info.answer]}"
        more = f", ... {info.labels[-1]}" if count > SHOWN else ""
        lines.append(f"classes: {', '.join(info.labels[:SHOWN])}{more}")
    height, width = reads.size
    order = ", channels blue, green, red" if reads.reverse_channels else ""
    lines.append(f"reads {width} x {height} pixels, {CHANNELS[len(reads.mean)]}{order}")
    lines.append(_memory(guider))
    if preset:
        lines.append(f"good for: {preset.good_for}; licence {preset.licence}")
    return "\n".join(lines)


def _memory(guider: Guider) -> str:
    weights = list(guider.backbone.parameters())
    millions = sum(weight.numel() for weight in weights) / 1e6
    megabytes = sum(weight.numel() * weight.element_size() for weight in weights) / 2**20
    return f"{millions:.3g} million parameters, which take {megabytes:.0f} MB of memory"
