"""PPAP Best of Several: pictures in flight, of which the guider keeps the best."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.guide import choose_best
from ..ppap_core.particles import Particles
from ..ppap_core.reading import AUTO, Reading
from .sampling import guidance_inputs
from .sockets import expect_guider, expect_target
from .types import CATEGORY, GuiderSocket, TargetSocket

SHARED = ("vae", "view", "guider_input")  # with the nodes that guide by gradients


class BestOfSeveral(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_BestOfSeveral",
            display_name="PPAP Best of Several",
            category=CATEGORY,
            description="Samples several pictures for each one and keeps, on the way and at the "
            "end, those that come closest to the target. Under every sampler node, guided or not.",
            search_aliases=["best of", "particles", "select", "filter", "Feynman-Kac", "PPAP"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model, guided or not."),
                GuiderSocket.Input(
                    "guider", tooltip="The vision model that judges, with or without experts."
                ),
                TargetSocket.Input("target", tooltip="What the guider should see."),
                io.Int.Input(
                    "particles",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="How many pictures are sampled for each one that comes out. Time and "
                    "memory grow with it; 1 is off.",
                ),
                io.Int.Input(
                    "every",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Steps between two selections: the worst pictures are replaced by "
                    "copies of the best, which then go their own ways.",
                ),
                io.Float.Input(
                    "strictness",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How strictly selections prefer the best. 0 selects at the end alone.",
                ),
                *(entry for entry in guidance_inputs() if entry.id in SHARED),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(
        cls,
        model,
        guider,
        target,
        particles,
        every,
        strictness,
        vae=None,
        view=AUTO,
        guider_input=AUTO,
    ) -> io.NodeOutput:
        expect_guider(guider, cls)
        expect_target(target, cls)
        wished, reading = Particles(particles, every, strictness), Reading(guider_input, view)
        return io.NodeOutput(choose_best(model, guider, target, wished, reading=reading, vae=vae))
