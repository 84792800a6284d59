"""Target Class."""

from comfy_api.latest import io

from ..ppap_core.targets import ClassTarget, parse_class_rows, parse_classes
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket


class TargetClass(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetClass",
            display_name="Target Class",
            category=CATEGORY,
            description="What a classifier should see in the picture: a class, a mixture of "
            "classes, or several tags.",
            search_aliases=["class", "label", "classifier", "imagenet", "guide", "PPAP"],
            inputs=[
                GuiderSocket.Input("guider", tooltip="The classifier that will guide."),
                io.String.Input(
                    "classes",
                    default="",
                    multiline=True,
                    placeholder="a class, such as goldfish (Guider Classes lists them)",
                    tooltip="A class, by name or number; Guider Classes lists them. Separate "
                    "several by commas or write one per line: a classifier accepts any of them, a "
                    "tagger should see all of them. A weight follows a colon: cone:2, torus. A "
                    "weight below 0 steers away from its class: cone, torus:-1. The guider's node "
                    "says which kind it is.",
                ),
                io.Float.Input(
                    "temperature",
                    default=1.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Divides the classifier's logits. Above 1 it insists less once the "
                    "class is recognised.",
                ),
                io.Boolean.Input(
                    "line_per_picture",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Each line of classes is for one picture of the batch, in its order.",
                ),
            ],
            outputs=[TargetSocket.Output(display_name="target")],
        )

    @classmethod
    def execute(cls, guider, classes, temperature, line_per_picture=False) -> io.NodeOutput:
        expect_task(guider, cls, ClassTarget.task)
        info = guider.guider.info
        parse = parse_class_rows if line_per_picture else parse_classes
        target = ClassTarget(
            classes=parse(classes, info.labels),
            num_classes=len(info.labels),
            temperature=temperature,
            answer=info.answer,
        )
        return io.NodeOutput(target)
