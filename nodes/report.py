"""PPAP Guidance Report: what guidance did."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.hook import guidances_of, outcomes_for
from ..ppap_core.guidance_figures import plot_curves, show_steps
from ..ppap_core.guidance_report import describe
from ..ppap_core.pixels import pil_to_bhwc
from .shown import text_on_node
from .types import CATEGORY


class GuidanceReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_GuidanceReport",
            display_name="PPAP Guidance Report",
            category=CATEGORY,
            description="What guidance did in the run that made a latent: in words, as curves over "
            "the steps, and as the pictures that the guider saw.",
            search_aliases=["guidance", "diagnostics", "debug", "log likelihood", "PPAP"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The guided model: of PPAP Apply Guidance, or the second output of "
                    "PPAP Guided KSampler.",
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="What was sampled with it, as the sampler put it out: the report tells "
                    "of the run that made it.",
                ),
                io.Int.Input(
                    "num_steps",
                    default=6,
                    min=1,
                    max=16,
                    tooltip="How many steps are shown as pictures.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="curves"),
                io.Image.Output(display_name="steps"),
                io.String.Output(display_name="text"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, latent, num_steps):
        outcomes = outcomes_for(model, latent)
        text = describe(outcomes, is_guided=bool(guidances_of(model)))
        curves, steps = plot_curves(outcomes), show_steps(outcomes, num_steps)
        pictures = pil_to_bhwc(curves), pil_to_bhwc(steps)
        return io.NodeOutput(*pictures, text, ui=text_on_node(text))
