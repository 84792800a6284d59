"""Load Off-the-shelf Guider."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.guiders import guider_names, guider_stamp, load_named_guider
from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from .types import CATEGORY, GuiderSocket


class LoadGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_LoadGuider",
            display_name="Load Off-the-shelf Guider",
            category=CATEGORY,
            description="Loads a vision model that has never seen noise, to steer sampling with.",
            search_aliases=[
                *("classifier", "timm", "transformers", "torchvision", "vision model", "guide"),
                *("depth", "Depth Anything", "DPT", "MiDaS", "segmentation", "SegFormer", "PPAP"),
            ],
            inputs=[
                io.Combo.Input(
                    "guider",
                    options=guider_names(),
                    tooltip="A folder in models/ppap_guiders with config.json and "
                    "model.safetensors, as the Hugging Face hub lays out timm and transformers "
                    "models; a Depth Anything 3 in models/geometry_estimation, as ComfyUI has "
                    "them; or the name of one that can be downloaded.",
                ),
                io.Boolean.Input(
                    "allow_download",
                    default=False,
                    optional=True,
                    tooltip="Download the guider from huggingface.co if it is one of the known "
                    "names and not here yet. Off: nothing ever goes over the network.",
                ),
            ],
            outputs=[GuiderSocket.Output(display_name="guider")],
        )

    @classmethod
    def fingerprint_inputs(cls, guider, **_):
        return guider_stamp(guider)

    @classmethod
    def execute(cls, guider, allow_download=False):
        return io.NodeOutput(LoadedGuider.of(load_named_guider(guider, allow_download)))
