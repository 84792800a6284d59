"""PPAP Guidance Options: what else shapes guidance."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.sockets import read_mask
from ..ppap_core.shaping import Shaping
from .types import CATEGORY, OptionsSocket

CONFLICTS = ("sum", "give way")


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
                    "value, as Adam does. Use the rule relative with it.",
                ),
                io.String.Input(
                    "frames",
                    default="",
                    tooltip="Of a video, the latent frames that are guided, such as 0, 4, -1. "
                    "Empty: all. A frame of most video latents stands for 4 pictures.",
                ),
                io.Float.Input(
                    "whitening",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Gives the frequencies of a shift more equal strength: 0 leaves them, "
                    "0.5 keeps pictures nearer to unguided ones, 1 keeps them nearest and follows "
                    "the target less. Use the rule relative with it.",
                ),
            ],
            outputs=[OptionsSocket.Output(display_name="options")],
        )

    @classmethod
    def execute(cls, conflict, region=None, frames="", **numbers):
        shaping = Shaping(
            gives_way=conflict == "give way",
            region=None if region is None else read_mask(region, "region"),
            frames=read_frames(frames),
            **numbers,
        )
        return io.NodeOutput(shaping)


def read_frames(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.replace(",", " ").split())
    except ValueError:
        raise ValueError(f"frames are whole numbers such as 0, 4, -1; got {text!r}") from None
