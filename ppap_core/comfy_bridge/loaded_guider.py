"""A guider as it travels between nodes: with ComfyUI's handle on its memory, and its experts."""

from dataclasses import dataclass, replace

from ..expert_file import ExpertSet
from ..experts import NoiseExperts
from ..guiders import Guider
from ..spectrum import GENERIC, DataSpectrum
from .memory import WholeModulePatcher, build_patcher


@dataclass(frozen=True)
class LoadedGuider:
    """What a PPAP_GUIDER socket carries.

    `patcher`: by which ComfyUI loads and unloads the guider. `expert_set`: the file that the
    experts came from, if they came from one. `data_spectrum`: of the pictures that they learned.
    """

    guider: Guider
    patcher: WholeModulePatcher
    experts: NoiseExperts | None = None
    expert_set: ExpertSet | None = None
    data_spectrum: DataSpectrum = GENERIC

    @classmethod
    def of(cls, guider: Guider) -> "LoadedGuider":
        return cls(guider, build_patcher(guider))

    def with_experts(self, expert_set: ExpertSet) -> "LoadedGuider":
        """ValueError unless the experts were trained for this guider."""
        experts = expert_set.for_guider(self.guider)
        spectrum = expert_set.header.data_spectrum
        return replace(self, experts=experts, expert_set=expert_set, data_spectrum=spectrum)

    def with_guider(self, guider: Guider) -> "LoadedGuider":
        """The same experts for `guider`, whose network has the parts of this one's."""
        return replace(self, guider=guider, patcher=build_patcher(guider))

    def without_experts(self) -> "LoadedGuider":
        return replace(self, experts=None, expert_set=None, data_spectrum=GENERIC)
