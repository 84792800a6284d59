"""PPAP Scale Sweep: the same noise under a row of scales."""

import torch
from comfy_api.latest import io

from ..ppap_core.grid import GridRow, draw_grid
from ..ppap_core.pixels import bhwc_to_image, pil_to_bhwc
from .sampling import guidance_inputs, guide_and_sample, ksampler_inputs
from .types import CATEGORY

MOST_SCALES = 12


class ScaleSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_ScaleSweep",
            display_name="PPAP Scale Sweep",
            category=CATEGORY,
            description="Draws the same noise under several guidance scales and lays the pictures "
            "side by side: find the strength that suits your guider and target.",
            search_aliases=["sweep", "XY plot", "strength", "compare", "guidance scale", "PPAP"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to be guided."),
                io.Vae.Input("vae", tooltip="Decodes the pictures, and serves the view vae."),
                io.String.Input(
                    "scales",
                    default="0, 0.03, 0.1, 0.2, 0.4",
                    tooltip="The guidance scales to try, at most 12; 0 is without guidance.",
                ),
                *ksampler_inputs(),
                *(e for e in guidance_inputs() if e.id not in ("vae", "guidance_scale")),
            ],
            outputs=[
                io.Image.Output(display_name="grid"),
                io.Image.Output(display_name="images", tooltip="All pictures, scale by scale."),
            ],
        )

    @classmethod
    def execute(cls, model, vae, scales, **inputs):
        scales = read_scales(scales)
        latents = [
            guide_and_sample(model, guidance_scale=scale, vae=vae, **inputs)[0]["samples"]
            for scale in scales
        ]
        # A video's frames stand below each other, as the pictures of a batch do.
        images = [vae.decode(latent).flatten(0, -4) for latent in latents]
        pictures = torch.stack([bhwc_to_image(image).cpu() for image in images], dim=1)
        rows = [GridRow(str(number), "", row) for number, row in enumerate(pictures, 1)]
        grid = draw_grid([f"{scale:g}" for scale in scales], rows, cell=256)
        return io.NodeOutput(pil_to_bhwc(grid), torch.cat(images))


def read_scales(text: str) -> list[float]:
    try:
        scales = [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"scales are numbers such as 0, 0.1, 0.2; got {text!r}") from None
    if not 1 <= len(scales) <= MOST_SCALES:
        raise ValueError(f"give 1 to {MOST_SCALES} scales, got {len(scales)}")
    return scales
