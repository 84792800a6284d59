"""PPAP Scale Sweep: the same noise under a row of strengths."""

import torch
from comfy_api.latest import io

from ..ppap_core.grid import GridRow, draw_grid
from ..ppap_core.pixels import bhwc_to_image, pil_to_bhwc
from .numbers import read_numbers
from .sampling import guidance_inputs, guide_and_sample, ksampler_inputs
from .shown import last_text, shows_text
from .types import CATEGORY

MOST = 12


class ScaleSweep(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_ScaleSweep",
            display_name="PPAP Scale Sweep",
            category=CATEGORY,
            description="Samples the same noise under several strengths and lays the pictures side "
            "by side: find the strength that suits your guider and target.",
            search_aliases=["sweep", "XY plot", "strength", "compare", "guidance scale", "PPAP"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to be guided."),
                io.Vae.Input("vae", tooltip="Decodes the pictures, and serves the view vae."),
                io.String.Input(
                    "strengths",
                    default="0, 0.5, 1, 2, 4",
                    tooltip="The strengths to try, at most 12; 0 is without guidance.",
                ),
                *ksampler_inputs(),
                *(e for e in guidance_inputs() if e.id not in ("vae", "strength")),
            ],
            outputs=[
                io.Image.Output(display_name="grid"),
                io.Image.Output(display_name="images", tooltip="All, strength by strength."),
            ],
        )

    @classmethod
    def execute(cls, model, vae, strengths, **inputs):
        wished = read_strengths(strengths)
        latents = [
            guide_and_sample(model, strength=strength, vae=vae, **inputs)[0]["samples"]
            for strength in wished
        ]
        # A video's frames stand below each other, as the pictures of a batch do.
        images = [vae.decode(latent).flatten(0, -4) for latent in latents]
        pictures = torch.stack([bhwc_to_image(image).cpu() for image in images], dim=1)
        rows = [GridRow(str(number), "", row) for number, row in enumerate(pictures, 1)]
        grid = draw_grid([f"{strength:g}" for strength in wished], rows, cell=256)
        return io.NodeOutput(pil_to_bhwc(grid), torch.cat(images), ui=last_text())


def read_strengths(text: str) -> list[float]:
    strengths = read_numbers(text, float, "strengths are numbers such as 0, 0.5, 1")
    if not 1 <= len(strengths) <= MOST:
        raise ValueError(f"give 1 to {MOST} strengths, got {len(strengths)}")
    return strengths
