"""Load PPAP Experts."""

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.folders import EXPERTS, file_names, file_path
from ..ppap_core.expert_file import load_experts
from ..ppap_core.expert_header import describe
from .pictures import load_preview
from .shown import picture_on_node, shows_text, text_on_node
from .sockets import expect_guider
from .types import CATEGORY, GuiderSocket

NO_EXPERTS = "none"


class LoadExperts(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PPAP_LoadExperts",
            display_name="Load PPAP Experts",
            category=CATEGORY,
            description="Gives a guider its experts: small adapters, one per noise range, that let "
            "it read noisy pictures. Bypass this node to guide without them.",
            search_aliases=["expert", "adapter", "LoRA", "guide", "PPAP"],
            inputs=[
                GuiderSocket.Input(
                    "guider", tooltip="The vision model that the experts were trained for."
                ),
                io.Combo.Input(
                    "experts",
                    options=[*file_names(EXPERTS), NO_EXPERTS],
                    tooltip="A file in models/ppap_experts. It contains its noise ranges. none: "
                    "the guider stays as it is.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(display_name="guider"),
                io.String.Output(display_name="info", tooltip="The file's header, in words."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, experts, **_) -> int:
        if experts == NO_EXPERTS:
            return 0
        return file_path(EXPERTS, experts).stat().st_mtime_ns  # sees a new file of the same name

    @classmethod
    def execute(cls, guider, experts) -> io.NodeOutput:
        expect_guider(guider, cls)
        if experts == NO_EXPERTS:
            info = "no experts: the guider guides alone"
            shown = text_on_node(info) | picture_on_node(None, cls)
            return io.NodeOutput(guider, info, ui=shown)
        path = file_path(EXPERTS, experts)
        expert_set = load_experts(path)
        info = describe(expert_set.header)
        preview = load_preview(path.with_suffix(".preview.png"))
        shown = text_on_node(info) | picture_on_node(preview, cls)
        return io.NodeOutput(guider.with_experts(expert_set), info, ui=shown)
