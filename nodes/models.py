"""Load Pixel Diffusion Model."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.folders import PIXEL_MODELS, file_names, file_path
from ..ppap_core.comfy_bridge.pixel_model import empty_conditioning, load_pixel_model
from .types import CATEGORY


class LoadPixelModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_LoadPixelModel",
            display_name="Load Pixel Diffusion Model",
            category=CATEGORY,
            description="Loads an unconditional diffusion model that works on pixels, like the one "
            "in PPAP's paper. Decode its latent with the VAE 'pixel_space' of Load VAE.",
            search_aliases=["pixel", "ADM", "DDPM", "unconditional", "PPAP"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=file_names(PIXEL_MODELS),
                    tooltip="A file in models/ppap_pixel_models: this pack's own, or one of "
                    "OpenAI's guided diffusion (256x256_diffusion_uncond.pt).",
                )
            ],
            outputs=[
                io.Model.Output(display_name="model"),
                io.Conditioning.Output(
                    display_name="unconditional",
                    tooltip="An empty prompt: connect it to positive and negative.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name) -> int:
        return file_path(PIXEL_MODELS, model_name).stat().st_mtime_ns

    @classmethod
    def execute(cls, model_name) -> io.NodeOutput:
        model = load_pixel_model(file_path(PIXEL_MODELS, model_name))
        return io.NodeOutput(model, empty_conditioning())
