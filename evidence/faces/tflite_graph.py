"""A small TFLite graph of floats as a differentiable module.

Its folder holds graph.json ({"inputs", "outputs", "ops": [{"op", "in", "out", "a"}]}, with
attributes "s": stride, "k": kernel, "d": dilation, "p": padding, "act": activation, "pad": 0 for
TensorFlow's SAME) and model.safetensors, whose tensors t<index> stand in torch's order of axes.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

SAME, RELU, RELU6 = 0, 1, 3
ACTIVATIONS = {RELU: F.relu, RELU6: F.relu6}


class TfliteGraph(nn.Module):
    """(B, 3, H, W) -> its outputs, the first one alone if `only_first`."""

    def __init__(self, folder: Path):
        super().__init__()
        graph = json.loads((folder / "graph.json").read_text("utf-8"))
        self.ops, (self.input,), self.outputs = graph["ops"], graph["inputs"], graph["outputs"]
        weights = load_file(folder / "model.safetensors")
        self.weights = nn.ParameterDict({k: nn.Parameter(w, False) for k, w in weights.items()})

    def forward(self, pixels: Tensor) -> Tensor:
        """The first output."""
        known = {self.input: pixels}
        for op in self.ops:
            given = [known[i] if i in known else self._weight(i) for i in op["in"]]
            answer = OPS[op["op"]](op["a"], *given)
            known[op["out"]] = ACTIVATIONS.get(op["a"].get("act"), _as_it_is)(answer)
        return known[self.outputs[0]]

    def _weight(self, index: int) -> Tensor | None:
        return self.weights[f"t{index}"] if index >= 0 else None


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _pad_same(x: Tensor, kernel: Sequence[int], a: dict[str, Any], value: float = 0.0) -> Tensor:
    """As TensorFlow pads: what is odd comes after."""
    if a["pad"] != SAME:
        return x
    sides: list[int] = []
    for axis in (1, 0):
        length, stride = x.shape[2 + axis], a["s"][axis]
        reach = (kernel[axis] - 1) * a.get("d", (1, 1))[axis] + 1
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=value)


def _conv(a, x, weight, bias=None, is_depthwise=False) -> Tensor:
    x = _pad_same(x, weight.shape[2:], a)
    groups = len(weight) if is_depthwise else 1
    return F.conv2d(x, weight, bias, a["s"], 0, a["d"], groups)


def _average(a, x) -> Tensor:
    return F.avg_pool2d(
        x if tuple(a["k"]) == x.shape[2:] else _pad_same(x, a["k"], a), a["k"], a["s"]
    )


def _largest(a, x) -> Tensor:
    return F.max_pool2d(_pad_same(x, a["k"], a, value=-1e30), a["k"], a["s"])


def _resize(a, x) -> Tensor:
    return F.interpolate(x, size=a["size"], mode="bilinear", align_corners=bool(a["ac"]))


OPS: dict[str, Callable[..., Tensor]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": lambda a, *given: _conv(a, *given, is_depthwise=True),
    "TCONV_BIAS": lambda a, x, weight, bias: F.conv_transpose2d(x, weight, bias, stride=2),
    "AVERAGE_POOL_2D": _average,
    "MAX_POOL_2D": _largest,
    "RESIZE_BILINEAR": _resize,
    "ADD": lambda a, x, y: x + y,
    "MUL": lambda a, x, y: x * y,
    "RELU": lambda a, x: x.relu(),
    "PRELU": lambda a, x, slope: x.relu() - slope * (-x).relu(),
    "HARD_SWISH": lambda a, x: F.hardswish(x),
    "LOGISTIC": lambda a, x: x.sigmoid(),
    "PAD": lambda a, x: F.pad(x, a["p"]),
}
