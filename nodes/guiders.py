"""Load Off-the-shelf Guider, and Guider Classes."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.guiders import guider_names, guider_stamp, load_named_guider
from ..ppap_core.comfy_bridge.loaded_guider import LoadedGuider
from ..ppap_core.guiders import PRESETS, describe
from ..ppap_core.targets.class_search import list_classes
from .shown import shows_text, text_on_node
from .sockets import expect_classes, told_by_its_widgets
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
    "CLIP",
    "SigLIP",
    "DINO",
    "normal map",
    "normals",
    "canny",
    "lineart",
    "edges",
    "softedge",
    "pose",
    "ViTPose",
    "detector",
    "bbox",
    "RT-DETR",
    "D-FINE",
    "PPAP",
]


class LoadGuider(io.ComfyNode):
    @classmethod
    @shows_text
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
                    "can be downloaded: the help page says which suits what. The edge filter needs "
                    "no file.",
                ),
                io.Boolean.Input(
                    "allow_download",
                    default=False,
                    optional=True,
                    tooltip="Download the guider from huggingface.co if it is one that can be "
                    "downloaded and is not here yet. Off: this node never uses the network.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(display_name="guider"),
                io.String.Output(
                    display_name="info",
                    tooltip="What the guider predicts, its classes, what it reads: as the node "
                    "shows it.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, guider, **_) -> list[int]:
        return guider_stamp(guider)

    @classmethod
    @told_by_its_widgets()
    def execute(cls, guider, allow_download=False) -> io.NodeOutput:
        loaded = LoadedGuider.of(load_named_guider(guider, allow_download))
        card = describe(loaded.guider, PRESETS.get(guider))
        return io.NodeOutput(loaded, card, ui=text_on_node(card))


class GuiderClasses(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_GuiderClasses",
            display_name="Guider Classes",
            category=CATEGORY,
            description="Lists and searches the classes that a guider knows. Copy a name into "
            "Target Class, Target Boxes, Target Count or Target Mask per Class.",
            search_aliases=["class", "label", "tags", "imagenet", "search", "list", "PPAP"],
            is_output_node=True,
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="A classifier, tagger, detector or segmentation model."
                ),
                io.String.Input(
                    "search",
                    default="",
                    tooltip="Words that a class has in its name, such as cat, or terrier. Empty: "
                    "all classes.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="classes", tooltip="The classes that were found, one per line."
                )
            ],
        )

    @classmethod
    def execute(cls, guider, search="") -> io.NodeOutput:
        expect_classes(guider, cls)
        names, text = list_classes(search, guider.guider.info.labels)
        return io.NodeOutput(names, ui=text_on_node(text))
