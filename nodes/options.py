"""PPAP Guidance Options: what else shapes guidance."""

from typing import NamedTuple

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_mask
from ..ppap_core.reading import AUTO
from ..ppap_core.shaping import NO_SHAPING, WHEN_MET, Shaping
from ..ppap_core.spectrum import SPECTRA
from ..ppap_core.strength import RECOMMENDED, RULES
from .numbers import read_numbers
from .types import CATEGORY, OptionsSocket

CONFLICTS = ("sum", "give way")


class Options(NamedTuple):
    """What a PPAP_OPTIONS socket carries. `rule`: what the number strength means."""

    shaping: Shaping = NO_SHAPING
    rule: str = RECOMMENDED


NO_OPTIONS = Options()


class GuidanceOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_GuidanceOptions",
            display_name="PPAP Guidance Options",
            category=CATEGORY,
            description="Where in the picture guidance acts, how several guiders share it, and how "
            "gradients are limited and averaged.",
            search_aliases=["region", "mask", "conflict", "momentum", "Adam", "guidance", "PPAP"],
            inputs=[
                io.Mask.Input(
                    "region",
                    optional=True,
                    tooltip="Where in the picture this guidance acts; elsewhere it changes "
                    "nothing. Stretched over the picture.",
                ),
                io.Combo.Input(
                    "conflict",
                    options=list(CONFLICTS),
                    default="sum",
                    tooltip="sum: all guidance adds up. give way: what opposes the guidance of "
                    "the nodes before this one is left out.",
                ),
                io.Float.Input(
                    "max_norm",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="No step moves a picture by more than this share of its noise; 0 is no "
                    "limit. 0.2 tames the rule raw.",
                ),
                io.Int.Input(
                    "every",
                    default=1,
                    min=1,
                    max=100,
                    tooltip="Guide one of this many evaluations of the model: 2 halves what "
                    "guidance costs, and its effect.",
                ),
                io.Float.Input(
                    "momentum",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    tooltip="How much of the earlier steps' gradients goes into each step.",
                ),
                io.Float.Input(
                    "second_moment",
                    default=0.0,
                    min=0.0,
                    max=0.999,
                    step=0.001,
                    tooltip="Above 0: gradients are divided by their own recent size, value by "
                    "value, as Adam does. Not with the scale_rule raw.",
                ),
                io.String.Input(
                    "frames",
                    default="",
                    tooltip="Of a video, the latent frames that are guided, such as 0, 4, -1. "
                    "Empty: all. A frame of most video latents stands for 4 pictures.",
                ),
                io.Combo.Input(
                    "spectrum",
                    options=[AUTO, *SPECTRA],
                    default=AUTO,
                    advanced=True,
                    tooltip="How strong each frequency of a shift is. auto: what is recommended. "
                    "plain: as the guider has it. half-white, white: more equal, which keeps "
                    "pictures nearer to unguided ones and follows the target less. half-wiener, "
                    "wiener: nearer to or as in pictures, and smaller where they have little.",
                ),
                io.Combo.Input(
                    "when_met",
                    options=[AUTO, *WHEN_MET],
                    default=AUTO,
                    advanced=True,
                    tooltip="What becomes of a shift as the guider sees what it was asked for. "
                    "auto: what is recommended. push on: it stays as long. fade: it shrinks as "
                    "what is missing does; fade late: as its fourth root. For classes, boxes, "
                    "joints, edges and label maps.",
                ),
                io.Combo.Input(
                    "scale_rule",
                    options=[RECOMMENDED, *RULES],
                    default=RECOMMENDED,
                    tooltip="What the sampler's strength means. recommended: 1 suits every guider. "
                    "relative: the share of its noise by which every step moves a picture, before "
                    "the spectrum is chosen: mostly 0.2 to 2. raw: the paper's scale, which "
                    "multiplies the gradient: 3 to 30 for classes, 100 and more for maps.",
                ),
            ],
            outputs=[OptionsSocket.Output(display_name="options")],
        )

    @classmethod
    def execute(cls, conflict, scale_rule=RECOMMENDED, region=None, frames="", **settings):
        if conflict not in CONFLICTS:
            raise ValueError(f"conflict is one of {', '.join(CONFLICTS)}, got {conflict!r}")
        shaping = Shaping(
            gives_way=conflict == "give way",
            region=None if region is None else read_mask(region, "region"),
            frames=read_frames(frames),
            **settings,
        )
        return io.NodeOutput(Options(shaping, scale_rule))


def read_frames(text: str) -> tuple[int, ...]:
    return tuple(read_numbers(text, int, "frames are whole numbers such as 0, 4, -1"))
