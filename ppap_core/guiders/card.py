"""What a guider is, for a person: what it predicts, what its numbers mean, what it reads."""

from .guider import Guider

MEANINGS = {
    "softmax": "exactly one of them is right (softmax)",
    "sigmoid": "each is present or absent on its own (sigmoid)",
    "score": "each is a score, higher is more",
}
MAP_MEANINGS = {"softmax": "one for each pixel (softmax)"}
CHANNELS = {1: "grey", 3: "colour"}
SHOWN = 5  # labels


def describe(guider: Guider) -> str:
    """A few lines for a node's card."""
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
    return "\n".join(lines)
