"""Target Count: how many objects of a class the picture should show."""

from comfy_api.latest import io

from ..ppap_core.targets import find_class
from ..ppap_core.targets.count_target import MOST, DetectionCountTarget, RegionCountTarget
from ..ppap_core.targets.wording import short_name
from .shown import shows_text, text_on_node
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket

KINDS = {kind.task: kind for kind in (DetectionCountTarget, RegionCountTarget)}
SEARCH_ALIASES = [
    *("count", "number of", "how many", "detector", "detection", "object", "people", "PPAP"),
]


class TargetCount(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetCount",
            display_name="Target Count",
            category=CATEGORY,
            description="How many objects of a class the picture should show, as a detector or a "
            "segmentation model counts them. Best with PPAP Best of Several.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="A detector, such as RT-DETR or D-FINE; or a segmentation model, which "
                    "counts regions that do not touch, for PPAP Best of Several alone.",
                ),
                io.String.Input(
                    "class_name",
                    default="",
                    placeholder="a class, such as cat (Guider Classes lists them)",
                    tooltip="What is counted: a class of the guider, by name or number.",
                ),
                io.Int.Input(
                    "number",
                    default=3,
                    min=0,
                    max=MOST,
                    tooltip="How many the picture should show, no more and no fewer.",
                ),
            ],
            outputs=[
                TargetSocket.Output(display_name="target"),
                io.String.Output(
                    display_name="info", tooltip="What is asked for: as the node shows it."
                ),
            ],
        )

    @classmethod
    def execute(cls, guider, class_name, number) -> io.NodeOutput:
        expect_task(guider, cls, *KINDS)
        info = guider.guider.info
        index = find_class(class_name, info.labels)
        target = KINDS[info.task](index, number, len(info.labels))
        text = f"asks for exactly {number} x {short_name(info.labels[index])}"
        if not target.has_gradient:
            text += "\na count of regions has no gradient: for PPAP Best of Several alone"
        return io.NodeOutput(target, text, ui=text_on_node(text))
