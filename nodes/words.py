"""Target Words: what CLIP, SigLIP or DINO should find the picture to be like."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_image
from ..ppap_core.targets.embedding_lines import build_embedding_target
from ..ppap_core.targets.embedding_target import EmbeddingTarget
from .pictures import ask_about_all
from .shown import shows_text, text_on_node
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket

SEARCH_ALIASES = [
    *("clip", "siglip", "dino", "text", "prompt", "words", "ip-adapter", "reference", "style"),
    *("similarity", "embedding", "negative", "guide", "PPAP"),
]


class TargetWords(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetWords",
            display_name="Target Words",
            category=CATEGORY,
            description="What the picture should show, in words that CLIP or SigLIP compares with "
            "it, or a reference picture that it should be like.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="A CLIP or SigLIP that will guide. DINO compares pictures only: "
                    "connect one to image.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    placeholder="one text per line, such as: a red cone on a blue floor",
                    tooltip="What the picture should show, one text per line. A weight follows a "
                    "colon: a red cone:2. A weight below 0 steers away: fog:-1.",
                ),
                io.String.Input(
                    "away_from",
                    default="",
                    multiline=True,
                    placeholder="what to steer away from, one text per line",
                    tooltip="What the picture should not show, one text per line; weights as "
                    "above.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Reference pictures that the picture should be like, in what the "
                    "guider sees. A batch shares image_weight.",
                ),
                io.Float.Input(
                    "image_weight",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    optional=True,
                    tooltip="Weight of image beside the texts. Below 0 steers away from it.",
                ),
                io.Boolean.Input(
                    "line_per_picture",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Each line of text, and each reference picture, is for one picture of "
                    "the batch, in its order. away_from is for all.",
                ),
            ],
            outputs=[
                TargetSocket.Output(display_name="target"),
                io.String.Output(
                    display_name="info",
                    tooltip="What is asked for, and which texts were too long: as the node shows "
                    "it.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, guider, text, away_from, image=None, image_weight=1.0, line_per_picture=False
    ) -> io.NodeOutput:
        expect_task(guider, cls, EmbeddingTarget.task)
        references = None
        if image is not None:
            references = ask_about_all(guider, read_image(image))
        target, info = build_embedding_target(
            guider.guider, text, away_from, references, image_weight, line_per_picture
        )
        return io.NodeOutput(target, info, ui=text_on_node(info))
