"""Target Depth/Seg Map and Target Mask per Class."""

from functools import partial

from comfy_api.latest import io

from ..ppap_core.maps import FITS
from ..ppap_core.targets.map_target import SOURCES, Frame, add_class_mask, build_map_target
from ..ppap_core.targets.palettes import PALETTES
from .pictures import ask_guider, from_core, to_core
from .types import CATEGORY, GuiderSocket, TargetSocket

SEARCH_ALIASES = ["depth", "segmentation", "map", "palette", "mask", "control", "guide", "PPAP"]


def map_outputs():
    return [
        TargetSocket.Output(display_name="target"),
        io.Image.Output(
            display_name="preview",
            tooltip="What the guider will be asked for: near is white, classes in their colours, "
            "black where nothing is asked for.",
        ),
        io.String.Output(
            display_name="info", tooltip="What the map holds, and what was done to it."
        ),
    ]


def map_output(made):
    return io.NodeOutput(made.target, from_core(made.preview), made.info)


class TargetMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_TargetMap",
            display_name="Target Depth/Seg Map",
            category=CATEGORY,
            description="What a depth or segmentation model should see in the picture, taken from "
            "a reference picture or a ready map.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="The depth or segmentation model that will guide."
                ),
                io.Image.Input(
                    "image",
                    tooltip="The reference picture or the map. A batch gives each picture of the "
                    "latent batch its own target.",
                ),
                io.Combo.Input(
                    "source",
                    options=list(SOURCES),
                    tooltip="What the image is. A reference picture is read by the guider itself, "
                    "without experts. A segmentation map has one colour per class.",
                ),
                io.Combo.Input(
                    "palette",
                    options=list(PALETTES),
                    tooltip="The colours of a segmentation map, and of the preview. Pixels near no "
                    "colour are left out and counted in info.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    tooltip="How a map of other proportions comes onto a picture of width x "
                    "height: distorted, its middle, or with empty borders.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=16384,
                    tooltip="Width of the picture to be made; only the proportions matter. 0: as "
                    "the map.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=16384,
                    tooltip="Height of the picture to be made. 0: as the map.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the target counts; elsewhere the picture is free.",
                ),
            ],
            outputs=map_outputs(),
        )

    @classmethod
    def execute(cls, guider, image, source, palette, fit, width, height, mask=None):
        info, frame = guider.guider.info, Frame(width, height, fit)
        predict = partial(ask_guider, guider)
        return map_output(
            build_map_target(
                info.task, info.labels, to_core(image), source, palette, frame, mask, predict
            )
        )


class TargetMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_TargetMasks",
            display_name="Target Mask per Class",
            category=CATEGORY,
            description="Asks a segmentation model for a class inside a mask. Chain several for "
            "several classes.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input("guider", tooltip="The segmentation model that will guide."),
                io.Mask.Input("mask", tooltip="Where the class should be."),
                io.String.Input("class_name", default="0", tooltip="One class, by name or number."),
                io.String.Input(
                    "elsewhere",
                    default="",
                    tooltip="The class of everything that no mask covers. Empty: free. Set it in "
                    "one node of a chain.",
                ),
                TargetSocket.Input(
                    "target",
                    optional=True,
                    tooltip="A segmentation target that this mask is painted on.",
                ),
            ],
            outputs=map_outputs(),
        )

    @classmethod
    def execute(cls, guider, mask, class_name, elsewhere, target=None):
        labels = guider.guider.info.labels
        if guider.guider.info.task != "segmentation":
            raise ValueError(
                f"the guider predicts {guider.guider.info.task}: masks are for segmentation models"
            )
        return map_output(add_class_mask(labels, mask, class_name, target, elsewhere))
