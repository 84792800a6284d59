"""Target Style: the look of a reference picture, apart from what it shows and where."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_image
from ..ppap_core.guiders import style_guider
from ..ppap_core.targets.embedding_target import EmbeddingTarget
from ..ppap_core.targets.style_target import StyleTarget
from .pictures import ask_about_all
from .shown import shows_text, text_on_node
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket

SEARCH_ALIASES = [
    *("style", "look", "texture", "AdaIN", "Gram", "ip-adapter", "reference", "style transfer"),
    *("clip", "siglip", "dino", "guide", "PPAP"),
]


class TargetStyle(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetStyle",
            display_name="Target Style",
            category=CATEGORY,
            description="What the picture should look like, from a reference picture: colours and "
            "textures as CLIP, SigLIP or DINO see them, wherever they stand.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="A CLIP, SigLIP or DINO. If it has experts, they serve the style too.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The reference picture. A batch gives each picture of the latent batch "
                    "its own.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(
                    display_name="guider",
                    tooltip="In place of the one above: it answers with the style. Connect it, "
                    "with the target, to the node that guides.",
                ),
                TargetSocket.Output(display_name="target"),
                io.String.Output(
                    display_name="info", tooltip="What is asked for: as the node shows it."
                ),
            ],
        )

    @classmethod
    def execute(cls, guider, image) -> io.NodeOutput:
        expect_task(guider, cls, EmbeddingTarget.task)
        styled = guider.with_guider(style_guider(guider.guider))
        statistics = ask_about_all(styled, read_image(image))
        target = StyleTarget(statistics, styled.guider.info.fingerprint)
        num, channels = statistics.shape[0], statistics.shape[1] // 2
        which = "the reference" if num == 1 else f"{num} references, one for each picture"
        text = f"asks for the style of {which}: mean and deviation of {channels} channels"
        return io.NodeOutput(styled, target, text, ui=text_on_node(text))
