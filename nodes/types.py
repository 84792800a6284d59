"""The pack's sockets, and what travels through them."""

from dataclasses import dataclass, replace

from comfy_api.latest import io

from ..ppap_core.comfy_bridge.memory import WholeModulePatcher, build_patcher
from ..ppap_core.expert_file import ExpertSet
from ..ppap_core.experts import NoiseExperts
from ..ppap_core.guiders import Guider

CATEGORY = "sampling/PPAP guidance"

GuiderSocket = io.Custom("PPAP_GUIDER")
TargetSocket = io.Custom("PPAP_TARGET")
OptionsSocket = io.Custom("PPAP_OPTIONS")


@dataclass(frozen=True)
class LoadedGuider:
    """A PPAP_GUIDER: the vision model, ComfyUI's handle on its memory, and its experts if any."""

    guider: Guider
    patcher: WholeModulePatcher
    expert_set: ExpertSet | None = None
    experts: NoiseExperts | None = None

    @classmethod
    def of(cls, guider: Guider) -> "LoadedGuider":
        return cls(guider, build_patcher(guider))

    def with_experts(self, expert_set: ExpertSet) -> "LoadedGuider":
        return replace(self, expert_set=expert_set, experts=expert_set.for_guider(self.guider))
