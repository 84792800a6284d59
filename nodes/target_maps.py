"""Target Depth/Seg Map and Target Mask per Class."""

from functools import partial

from comfy_api.latest import io, ui

from ..ppap_core.comfy_bridge.sockets import read_image, read_mask
from ..ppap_core.maps import FITS
from ..ppap_core.pixels import enlarge, image_to_bhwc
from ..ppap_core.targets import SegmentationTarget
from ..ppap_core.targets.index_maps import USUAL_VOID
from ..ppap_core.targets.map_target import (
    REFERENCE,
    Frame,
    MapTarget,
    add_class_mask,
    build_map_target,
    map_sources,
)
from ..ppap_core.targets.palettes import PALETTES
from ..ppap_core.tasks import all_tasks
from .pictures import ask_guider, images_in_a_pass
from .shown import shows_text, text_on_node
from .sockets import expect_task
from .types import CATEGORY, GuiderSocket, TargetSocket

SEARCH_ALIASES = ["depth", "segmentation", "map", "palette", "mask", "control", "guide", "PPAP"]
MORE_ALIASES = ["normal map", "normals", "canny", "lineart", "edges", "hed", "softedge", "scribble"]
SHOWN_SIDE = 256  # pixels of the preview on a node


def frame_inputs(of: str) -> list[io.Input]:
    """How what is asked for, "map" or the like, is fitted to the picture that is to be made."""
    return [
        io.Combo.Input(
            "fit",
            options=list(FITS),
            tooltip=f"How a {of} of other proportions is fitted to width x height: stretch "
            f"distorts it, crop keeps its middle, pad adds borders that ask for nothing.",
        ),
        *(
            io.Int.Input(
                side,
                default=0,
                min=0,
                max=16384,
                tooltip=f"{side.capitalize()} of the picture to be made; only the proportions "
                f"matter. 0: those of the {of}.",
            )
            for side in ("width", "height")
        ),
    ]


def map_outputs() -> list[io.Output]:
    """The outputs that both nodes have."""
    return [
        TargetSocket.Output(display_name="target"),
        io.Image.Output(
            display_name="preview",
            tooltip="A picture of the target: near is white, classes have their colours, normals "
            "those of OpenGL, edges are white, and where nothing is asked for it is black.",
        ),
        io.String.Output(
            display_name="info", tooltip="What the map contains, and what was done to it."
        ),
    ]


def map_output(made: MapTarget, cls: type) -> io.NodeOutput:
    """The values of `map_outputs`; the preview stands on the node too."""
    preview = image_to_bhwc(made.preview)
    shown = ui.PreviewImage(enlarge(preview, SHOWN_SIDE), cls=cls).as_dict()
    shown |= text_on_node(made.info)
    return io.NodeOutput(made.target, preview, made.info, ui=shown)


class TargetMap(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_TargetMap",
            display_name="Target Depth/Seg Map",
            category=CATEGORY,
            description="What a model of depth, segments, normals or edges should see in the "
            "picture, taken from a reference picture or a ready map.",
            search_aliases=[*SEARCH_ALIASES, *MORE_ALIASES],
            inputs=[
                GuiderSocket.Input(
                    "guider",
                    tooltip="The model of depth, segments, normals or edges that will guide.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The reference picture or the map. A batch gives each picture of the "
                    "latent batch its own target.",
                ),
                io.Combo.Input(
                    "source",
                    options=list(map_sources()),
                    tooltip="What the image is. A reference picture: the guider, without experts, "
                    "makes the map from it. A segmentation map has one colour per class. Of normal "
                    "maps, renderers draw green up or down, ControlNet's BAE and DSINE red left. A "
                    "line drawing is Canny, lineart or soft edges.",
                ),
                io.Combo.Input(
                    "palette",
                    options=list(PALETTES),
                    tooltip="The colours of a segmentation map, and of the preview. Pixels near no "
                    "colour ask for nothing; info says how many they are. Grey files of a data "
                    "set have numbers of their own: ADE20K's begin at 1, Cityscapes has ids.",
                ),
                *frame_inputs("map"),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the target counts; elsewhere guidance asks for nothing.",
                ),
                io.Int.Input(
                    "void_value",
                    default=USUAL_VOID,
                    min=-1,
                    max=65535,
                    optional=True,
                    advanced=True,
                    tooltip="For palettes of grey values: pixels of this value ask for nothing. "
                    "-1: no value does.",
                ),
            ],
            outputs=map_outputs(),
        )

    @classmethod
    def execute(
        cls, guider, image, source, palette, fit, width, height, mask=None, void_value=USUAL_VOID
    ) -> io.NodeOutput:
        expect_task(guider, cls, *(task.name for task in all_tasks() if task.maps))
        image = read_image(image)
        made = build_map_target(
            task=guider.guider.info.task,
            labels=guider.guider.info.labels,
            image=image,
            source=source,
            palette=palette,
            frame=Frame(width=width, height=height, fit=fit),
            mask=None if mask is None else read_mask(mask),
            predict=partial(ask_guider, guider),
            at_once=images_in_a_pass(guider, image) if source == REFERENCE else len(image),
            void_value=void_value,
        )
        return map_output(made, cls)


class TargetMasks(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
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
                io.String.Input(
                    "class_name",
                    default="",
                    placeholder="a class, such as sky",
                    tooltip="One class, by name or number; Guider Classes lists them.",
                ),
                io.String.Input(
                    "elsewhere",
                    default="",
                    tooltip="The class of all pixels that no mask covers. Empty: they may show any "
                    "class. Set it in one node of a chain.",
                ),
                TargetSocket.Input(
                    "target",
                    optional=True,
                    tooltip="A segmentation target; this mask is painted over it.",
                ),
            ],
            outputs=map_outputs(),
        )

    @classmethod
    def execute(cls, guider, mask, class_name, elsewhere, target=None) -> io.NodeOutput:
        expect_task(guider, cls, SegmentationTarget.task)
        labels = guider.guider.info.labels
        made = add_class_mask(
            labels=labels,
            mask=read_mask(mask),
            name=class_name,
            target=target,
            elsewhere=elsewhere,
        )
        return map_output(made, cls)
