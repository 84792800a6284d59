"""Add Class Names: a classifier, or a detector, in a user's own words."""

from comfy_api.latest import io

from ..ppap_core.guiders import describe, name_classes
from ..ppap_core.guiders.named_classes import TEMPLATE
from ..ppap_core.targets.boxes_target import BoxesTarget
from ..ppap_core.targets.embedding_target import EmbeddingTarget
from .shown import shows_text, text_on_node
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    *("zero-shot", "classifier", "class", "classes", "names", "labels", "own words", "clip"),
    *("siglip", "owlv2", "open vocabulary", "detector", "guide", "PPAP"),
]


class AddClassNames(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_AddClassNames",
            display_name="Add Class Names",
            category=CATEGORY,
            description="Turns a CLIP or SigLIP into a classifier whose classes you name, and an "
            "OWLv2 into a detector of them.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="A CLIP or SigLIP, whose experts serve the classes too; or an OWLv2, "
                    "whose experts are trained after this node.",
                ),
                io.String.Input(
                    "names",
                    default="",
                    multiline=True,
                    placeholder="a class per line, such as: a sports car",
                    tooltip="A class per line, in your own words. CLIP compares them with each "
                    "other, so name what else the picture could show; SigLIP and OWLv2 answer yes "
                    "or no to each.",
                ),
                io.String.Input(
                    "template",
                    default=TEMPLATE,
                    optional=True,
                    advanced=True,
                    tooltip="What the model reads for each class: {} stands for the name. Name "
                    "your kind of picture, such as: a watercolour of {}. With {} alone it reads "
                    "the lines as they are.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(display_name="guider"),
                io.String.Output(
                    display_name="info", tooltip="The guider's card, as the node shows it."
                ),
            ],
        )

    @classmethod
    def execute(cls, guider, names, template=TEMPLATE) -> io.NodeOutput:
        expect_task(guider, cls, EmbeddingTarget.task, BoxesTarget.task)
        named, notes = name_classes(guider.guider, names, template)
        card = "\n".join([describe(named), *notes])
        if named.info.task == BoxesTarget.task:  # a detector's experts know its own classes only
            guider = guider.without_experts()
        return io.NodeOutput(guider.with_guider(named), card, ui=text_on_node(card))
