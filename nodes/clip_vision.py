"""Guider from CLIP Vision: what ComfyUI's own loader has loaded, as a guider."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.clip_vision import guider_of_clip_vision
from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.guiders import describe
from .shown import shows_text, text_on_node
from .types import CATEGORY, GuiderSocket


class ClipVisionGuider(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_ClipVisionGuider",
            display_name="Guider from CLIP Vision",
            category=CATEGORY,
            description="Makes a guider of a CLIP Vision or DINO model in models/clip_vision, for "
            "Target Words with a reference picture, Target Style and Add Score Head.",
            search_aliases=["clip vision", "ip-adapter", "dino", "reference", "guide", "PPAP"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="From Load CLIP Vision. It reads pictures only: for words, load a "
                    "whole CLIP or SigLIP with Load Off-the-shelf Guider.",
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
    def execute(cls, clip_vision) -> io.NodeOutput:
        guider = guider_of_clip_vision(clip_vision)
        card = describe(guider)
        return io.NodeOutput(LoadedGuider.of(guider), card, ui=text_on_node(card))
