"""The pack's nodes. A node is a schema and one call of ppap_core, which does the work.

`comfy_entrypoint` is what ComfyUI calls. A new node is added to the list below.
"""

from comfy_api.latest import ComfyExtension

from ..ppap_core.comfy_bridge.folders import register_folders
from ..ppap_core.comfy_bridge.published import publish
from .best_of import BestOfSeveral
from .boxes import TargetBoxes
from .class_names import AddClassNames
from .clip_vision import ClipVisionGuider
from .count import TargetCount
from .experts import LoadExperts
from .guiders import GuiderClasses, LoadGuider
from .likeness import TargetLikeness
from .models import LoadPixelModel
from .options import GuidanceOptions
from .pose import TargetPose
from .report import GuidanceReport
from .sampling import ApplyGuidance, GuidedKSampler
from .score import AddScoreHead, TargetScore
from .style import TargetStyle
from .sweep import ScaleSweep
from .target_maps import TargetMap, TargetMasks
from .targets import TargetClass
from .training import TrainExperts
from .words import TargetWords


class PPAPExtension(ComfyExtension):
    async def get_node_list(self):
        return [
            LoadGuider,
            LoadExperts,
            TargetClass,
            TargetMap,
            TargetMasks,
            ApplyGuidance,
            GuidedKSampler,
            LoadPixelModel,
            TrainExperts,
            GuidanceOptions,
            GuidanceReport,
            ScaleSweep,
            GuiderClasses,
            BestOfSeveral,
            TargetLikeness,
            TargetWords,
            TargetPose,
            AddScoreHead,
            TargetScore,
            TargetStyle,
            TargetBoxes,
            TargetCount,
            ClipVisionGuider,
            AddClassNames,
        ]


async def comfy_entrypoint() -> ComfyExtension:
    register_folders()
    publish()
    return PPAPExtension()
