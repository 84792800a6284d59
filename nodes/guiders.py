"""Load Off-the-shelf Guider."""

from comfy_api.latest import io, ui

from ..ppap_core.comfy_bridge.guiders import guider_names, guider_stamp, load_named_guider
from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.guiders import describe
from .types import CATEGORY, GuiderSocket

SEARCH_ALIASES = [
    "classifier",
    "timm",
    "transformers",
    "torchvision",
    "vision model",
    "guide",
    "depth",
    "Depth Anything",
    "DPT",
    "MiDaS",
    "segmentation",
    "SegFormer",
    "PPAP",
]


class LoadGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_LoadGuider",
            display_name="Load Off-the-shelf Guider",
            category=CATEGORY,
            description="Loads a vision model, trained on ordinary pictures, that guides sampling.",
            search_aliases=SEARCH_ALIASES,
            inputs=[
                io.Combo.Input(
                    "guider",
                    options=guider_names(),
                    tooltip="A folder in models/ppap_guiders that holds config.json and "
                    "model.safetensors, such as timm and transformers models on the Hugging Face "
                    "hub; a Depth Anything 3 file in models/geometry_estimation; or a model that "
                    "can be downloaded.",
                ),
                io.Boolean.Input(
                    "allow_download",
                    default=False,
                    optional=True,
                    tooltip="Download the guider from huggingface.co if it is one that can be "
                    "downloaded and is not here yet. Off: this node never uses the network.",
                ),
            ],
            outputs=[GuiderSocket.Output(display_name="guider")],
        )

    @classmethod
    def fingerprint_inputs(cls, guider, **_) -> list[int]:
        return guider_stamp(guider)

    @classmethod
    def execute(cls, guider, allow_download=False) -> io.NodeOutput:
        loaded = LoadedGuider.of(load_named_guider(guider, allow_download))
        return io.NodeOutput(loaded, ui=ui.PreviewText(describe(loaded.guider)))
