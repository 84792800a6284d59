"""Target Boxes: which objects a detector should see, and where."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_image, read_mask
from ..ppap_core.targets.box_lines import read_box_lines
from ..ppap_core.targets.box_sources import boxes_around, read_bounding_boxes
from ..ppap_core.targets.boxes_making import build_boxes_target
from ..ppap_core.targets.boxes_target import BoxesTarget
from ..ppap_core.targets.map_target import Frame
from .shown import shows_text
from .sockets import expect_task
from .target_maps import frame_inputs, map_output, map_outputs
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    *("boxes", "bbox", "bounding box", "detector", "detection", "layout", "regional", "object"),
    *("position", "detr", "guide", "PPAP"),
]
BoxSocket = io.Custom("BOUNDING_BOX")  # older hosts have no class for it


class TargetBoxes(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        target, preview, info = map_outputs()
        preview.tooltip = "The boxes that are asked for, with their classes; a cross: without one."
        info.tooltip = "How many boxes are asked for, and what was cut off."
        return io.Schema(
            node_id="PPAP_TargetBoxes",
            display_name="Target Boxes",
            category=CATEGORY,
            description="Which objects a detector should see in which boxes, and nowhere else: "
            "written down, drawn, around a mask, or found by a detector. Below 0 a weight asks for "
            "none of a class.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="The detector that will guide, such as RT-DETR or D-FINE."
                ),
                io.String.Input(
                    "boxes",
                    default="",
                    multiline=True,
                    placeholder="cat: 0.1 0.2 0.5 0.8",
                    tooltip="A box per line, class: left top right bottom, as shares of the "
                    "picture from its upper left corner, or in pixels. A weight may follow a "
                    "second colon; below 0 no object of the class is wanted there, and cat: -1 "
                    "is of the whole picture. After a line --- stand the boxes of the batch's "
                    "next picture. Guider Classes lists the classes.",
                ),
                io.String.Input(
                    "class_name",
                    default="",
                    placeholder="of mask and bboxes",
                    tooltip="The class of the mask, and of bboxes that have no label: by name or "
                    "number.",
                ),
                io.Float.Input(
                    "outside",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly none of the wanted classes may be elsewhere. 0: "
                    "elsewhere nothing is asked for.",
                ),
                *frame_inputs("picture with boxes"),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="An object of class_name fills the box around what is white. A batch "
                    "gives each picture of the latent batch its own.",
                ),
                BoxSocket.Input(
                    "bboxes",
                    optional=True,
                    tooltip="Bounding boxes in pixels, such as those of Create Bounding Boxes or "
                    "of a detector. Lists for several pictures give each picture of the latent "
                    "batch its own.",
                    extra_dict={"forceInput": True},  # a socket: the front end has a widget for it
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that boxes were drawn on or found in: its size is that of "
                    "boxes in pixels, and the preview shows it. Without it width and height are.",
                ),
            ],
            outputs=[target, preview, info],
        )

    @classmethod
    def execute(
        cls,
        guider,
        boxes,
        class_name,
        outside,
        fit,
        width,
        height,
        mask=None,
        bboxes=None,
        image=None,
    ) -> io.NodeOutput:
        expect_task(guider, cls, BoxesTarget.task)
        labels, frame = guider.guider.info.labels, Frame(width=width, height=height, fit=fit)
        image = None if image is None else read_image(image)
        size = (width, height) if image is None else tuple(image.shape[:1:-1])
        sources = [read_box_lines(boxes, labels, size)]
        if bboxes is not None:
            sources.append(read_bounding_boxes(bboxes, class_name, labels, size))
        if mask is not None:
            sources.append(boxes_around(read_mask(mask), class_name, labels))
        return map_output(build_boxes_target(labels, sources, outside, size, frame, image), cls)
