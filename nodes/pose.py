"""Target Pose: where the joints of people should be."""

from functools import partial

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_image
from ..ppap_core.targets.box_sources import read_bounding_boxes
from ..ppap_core.targets.keypoints import read_keypoints
from ..ppap_core.targets.map_target import Frame
from ..ppap_core.targets.people import EVERYONE, People, choose
from ..ppap_core.targets.pose_making import build_pose_target
from ..ppap_core.targets.pose_reference import read_in_boxes, read_whole
from ..ppap_core.targets.pose_regions import REGIONS, WHOLE
from ..ppap_core.targets.pose_target import PoseTarget
from .boxes import BoxSocket
from .pictures import ask_about_all
from .shown import shows_text
from .sockets import expect_task
from .target_maps import frame_inputs, map_output, map_outputs
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    *("pose", "openpose", "dwpose", "skeleton", "keypoints", "joints", "body", "person", "people"),
    *("hands", "face", "controlnet", "reference", "guide", "PPAP"),
]
KeypointSocket = io.Custom("POSE_KEYPOINT")  # as comfy_extras/nodes_sdpose.py gives it


class TargetPose(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        target, preview, info = map_outputs()
        preview.tooltip = (
            "The joints that are asked for, the limbs between them, and the boxes that the guider "
            "reads."
        )
        info.tooltip = "How many joints are asked for, which are not, and whose they are."
        return io.Schema(
            node_id="PPAP_TargetPose",
            display_name="Target Pose",
            category=CATEGORY,
            description="Where people's joints should be, from a reference picture or from the "
            "keypoints of a pose detector.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="The pose model that will guide, such as ViTPose."
                ),
                io.Int.Input(
                    "person",
                    default=EVERYONE,
                    min=0,
                    max=999,
                    tooltip="Whose pose is asked for: 0 is everyone, 1 only the largest person, 2 "
                    "only the next one.",
                ),
                io.Float.Input(
                    "confidence",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Joints that the detector, or the guider in a reference picture, is "
                    "less sure of ask for nothing.",
                ),
                *frame_inputs("pose"),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A reference picture, in which the guider reads the pose of one "
                    "person, or of the person in each box of bboxes. A batch gives each picture of "
                    "the latent batch its own.",
                ),
                io.MultiType.Input(
                    "keypoints",
                    [KeypointSocket, io.String],
                    optional=True,
                    tooltip="In place of image: OpenPose keypoints of a pose detector, or their "
                    "JSON as text. Several frames give each picture of the latent batch its own.",
                ),
                BoxSocket.Input(
                    "bboxes",
                    optional=True,
                    tooltip="For an image with several people: a box in pixels around each, such "
                    "as those of Create Bounding Boxes or of a detector.",
                    extra_dict={"forceInput": True},  # a socket: the front end has a widget for it
                ),
                io.Combo.Input(
                    "region",
                    options=list(REGIONS),
                    default=WHOLE,
                    optional=True,
                    tooltip="What the output region shows of these people, as a mask: for the "
                    "region of PPAP Guidance Options, so that a guider acts on hands only.",
                ),
            ],
            outputs=[
                target,
                preview,
                info,
                io.Mask.Output(
                    display_name="region", tooltip="White where the widget region says."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, guider, person, confidence, fit, width, height, region=WHOLE, **sources
    ) -> io.NodeOutput:
        expect_task(guider, cls, PoseTarget.task)
        people = read_people(guider, person, confidence, **sources)
        frame = Frame(width=width, height=height, fit=fit)
        reads, labels = guider.guider.preprocessing.size, guider.guider.info.labels
        made = build_pose_target(labels, people, confidence, frame, reads, region)
        shown = map_output(made.shown, cls)
        return io.NodeOutput(*shown.args, made.region, ui=shown.ui)


def read_people(
    guider, person: int, confidence: float, image=None, keypoints=None, bboxes=None
) -> People:
    """Those of keypoints; or those whom the guider sees in image: in each box, or in the whole."""
    if (image is None) == (keypoints is None):
        raise ValueError(
            "Target Pose reads its socket image or its socket keypoints: connect one of them"
        )
    if image is None and bboxes is not None:
        raise ValueError(
            "the socket bboxes belongs to the socket image: disconnect it, since keypoints say "
            "themselves where people are"
        )
    if image is None:
        return choose(read_keypoints(keypoints), person, confidence, "keypoints")
    image = read_image(image)
    labels, predict = guider.guider.info.labels, partial(ask_about_all, guider)
    if bboxes is None:
        return read_whole(labels, image, person, predict)
    rows = read_bounding_boxes(bboxes, "", (), tuple(image.shape[:1:-1]))
    return read_in_boxes(labels, image, rows, person, guider.guider.preprocessing, predict)
