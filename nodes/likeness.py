"""Target Likeness: what the picture itself should be like, without a vision model."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.comfy_bridge.sockets import read_image, read_mask
from ..ppap_core.guiders.picture_itself import picture_itself
from ..ppap_core.targets.likeness import KINDS, build_likeness
from ..ppap_core.targets.map_target import Frame
from .shown import shows_text
from .target_maps import frame_inputs, map_output, map_outputs
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    *("tile", "upscale", "palette", "colour match", "color match", "inpaint", "outpaint"),
    *("low resolution", "reference", "contrast", "brightness", "likeness", "guide", "PPAP"),
    *("reference mean", "follow the mean", "several references", "moodboard"),
]


class TargetLikeness(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        target, preview, info = map_outputs()
        preview.tooltip = (
            "What is asked for: the small picture, the known region, the palette from dark to "
            "light, the mean colour of every region, or the mean of the references."
        )
        info.tooltip = "What is asked for in words, and what was done to the reference."
        return io.Schema(
            node_id="PPAP_TargetLikeness",
            display_name="Target Likeness",
            category=CATEGORY,
            description="What the picture should be like: a reference at low resolution, in a "
            "known region, in its palette, or in its mean and contrast; or several references in "
            "what they share. It needs no vision model and takes almost no time.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The reference picture. A batch gives each picture of the latent batch "
                    "its own; of reference mean all are for every picture.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    tooltip="low resolution: the picture, averaged down, is like the reference "
                    "(tile, upscale). known region: it is like the reference where the mask is "
                    "white (inpaint). palette: it has the same colours, wherever they are. mean "
                    "and contrast: it is as bright, coloured and contrasty. reference mean: it is "
                    "led to the mean of those references that are nearest to it (3 to 50).",
                ),
                io.Int.Input(
                    "cells",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Along the longer side. Of low resolution: how many places are "
                    "compared; 0 is every pixel of the reference. Of mean and contrast: how many "
                    "regions; 0 is the whole picture as one. Of reference mean: as of low "
                    "resolution, but at most 128.",
                ),
                *frame_inputs("reference"),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the reference counts: white is known, or has the palette. A "
                    "known region needs one; invert a mask that marks what is to be made.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(
                    display_name="guider",
                    tooltip="In place of a vision model: connect it, with the target, to the node "
                    "that guides.",
                ),
                target,
                preview,
                info,
            ],
        )

    @classmethod
    def execute(cls, image, kind, cells, fit, width, height, mask=None) -> io.NodeOutput:
        made = build_likeness(
            kind,
            read_image(image),
            None if mask is None else read_mask(mask),
            cells,
            Frame(width=width, height=height, fit=fit),
        )
        shown = map_output(made, cls)
        return io.NodeOutput(LoadedGuider.of(picture_itself(kind)), *shown.args, ui=shown.ui)
