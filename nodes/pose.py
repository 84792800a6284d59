"""Target Pose: where the joints of a person should be."""

import torch
from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_image
from ..ppap_core.targets.heatmaps import Joints, read_joints
from ..ppap_core.targets.keypoints import Size, in_labels_order, read_keypoints
from ..ppap_core.targets.map_target import Frame
from ..ppap_core.targets.pose_making import build_pose_target
from ..ppap_core.targets.pose_target import PoseTarget
from .pictures import ask_in_passes
from .shown import shows_text
from .sockets import expect_task
from .target_maps import frame_inputs, map_output, map_outputs
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    *("pose", "openpose", "dwpose", "skeleton", "keypoints", "joints", "body", "person"),
    *("controlnet", "reference", "guide", "PPAP"),
]
KeypointSocket = io.Custom("POSE_KEYPOINT")  # as comfy_extras/nodes_sdpose.py gives it


class TargetPose(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        target, preview, info = map_outputs()
        preview.tooltip = "The joints that are asked for, and the limbs between them."
        info.tooltip = "How many joints are asked for, which are not, and whose they are."
        return io.Schema(
            node_id="PPAP_TargetPose",
            display_name="Target Pose",
            category=CATEGORY,
            description="Where a person's joints should be, from a reference picture or from the "
            "keypoints of a pose detector.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="The pose model that will guide, such as ViTPose."
                ),
                io.Int.Input(
                    "person",
                    default=0,
                    min=0,
                    max=999,
                    tooltip="Which person of keypoints: 0 is the largest, 1 the first in the list. "
                    "In a reference picture the guider sees one person.",
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
                    tooltip="A reference picture of one person, whose pose the guider reads. A "
                    "batch gives each picture of the latent batch its own.",
                ),
                io.MultiType.Input(
                    "keypoints",
                    [KeypointSocket, io.String],
                    optional=True,
                    tooltip="In place of image: OpenPose keypoints of a pose detector, or their "
                    "JSON as text. Several frames give each picture of the latent batch its own.",
                ),
            ],
            outputs=[target, preview, info],
        )

    @classmethod
    def execute(
        cls, guider, person, confidence, fit, width, height, image=None, keypoints=None
    ) -> io.NodeOutput:
        expect_task(guider, cls, PoseTarget.task)
        if (image is None) == (keypoints is None):
            raise ValueError(
                "Target Pose reads its socket image or its socket keypoints: connect one of them"
            )
        frame, labels = Frame(width=width, height=height, fit=fit), guider.guider.info.labels
        if image is not None:
            joints, sizes = read_reference(guider, image, person)
            return map_output(build_pose_target(labels, joints, sizes, confidence, frame), cls)
        joints, sizes, note = read_keypoints(keypoints, person, confidence)
        joints = in_labels_order(joints, labels)
        return map_output(build_pose_target(labels, joints, sizes, confidence, frame, note), cls)


def read_reference(guider, image, person: int) -> tuple[Joints, list[Size]]:
    """The joints that the guider sees in `image`, and the pictures' sizes."""
    if person > 1:
        raise ValueError(
            f"the widget person is {person}, but in image the guider sees one person: choose 0, or "
            f"cut the picture to the person that you mean"
        )
    image = read_image(image)
    read = [read_joints(heatmaps) for heatmaps in ask_in_passes(guider, image)]
    joints = Joints(*(torch.cat(part) for part in zip(*read, strict=True)))
    height, width = image.shape[-2:]
    return joints, [(width, height)] * len(image)
