"""An example: a pack that brings a task of its own, "colourfulness", its guider and its target."""

from functools import cache

import torch
from torch import nn


@cache
def ppap():
    """PPAP's core. The task is registered at first use: ComfyUI loads packs in any order."""
    import ppap_core as core

    some = core.Recommendation(0.2)
    core.register_task(
        core.Task(
            name="colourfulness",
            answers={"value": "0 is grey, 1 is colourful"},
            shape=(1,),
            targets=(ColourfulnessTarget,),
            model="a judge of colours",
            target_nodes="Target Colourfulness",
            recommended=core.Recommended(x_t=some, x0_hat=some, through_model=some),
            comparisons={"value": core.SCORES},
            preview=lambda info, answers, num: core.Preview(ColourfulnessTarget(1.0), ["1"] * num),
        )
    )
    return core


class ColourfulnessTarget:
    task = "colourfulness"

    def __init__(self, wanted):
        self.wanted = wanted

    def log_likelihood(self, answer):
        return -(answer[:, 0] - self.wanted).square()

    def agreement(self, answer):
        return answer[:, 0]

    def wording(self, labels):
        told = ("colourfulness was {}, now {}", "colourfulness {} -> {}", "colourfulness")
        return ppap().Wording(*told, is_share=False, has_end=False)


class LoadColourJudge:
    RETURN_TYPES, FUNCTION, CATEGORY = ("PPAP_GUIDER",), "load", "example"
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})

    def load(self):
        core = ppap()
        with torch.inference_mode(False):
            network = nn.Sequential(
                *(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                nn.Linear(4, 1),
            ).requires_grad_(False)
            opponents = torch.tensor([[1, -1, 0], [-1, 1, 0], [0.5, 0.5, -1], [-0.5, -0.5, 1]])
            network[0].weight.copy_(opponents[..., None, None])
            network[0].bias.zero_()
            network[4].weight.fill_(1.0)
            network[4].bias.zero_()
        prints = core.fingerprint(network.state_dict())
        info = core.GuiderInfo("example", "opponent colours", "colourfulness", (), prints)
        reads = core.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, crop_mode="squash")
        guider = core.Guider(network, reads, info)
        core.check_by_trial(guider, "colours")
        return (core.LoadedGuider.of(guider),)


class TargetColourfulness:
    RETURN_TYPES, FUNCTION, CATEGORY = ("PPAP_TARGET",), "build", "example"
    INPUT_TYPES = classmethod(lambda cls: {"required": {"wanted": ("FLOAT", {"default": 1.0})}})

    def build(self, wanted):
        ppap()
        return (ColourfulnessTarget(wanted),)


NODE_CLASS_MAPPINGS = {
    "Example_LoadColourJudge": LoadColourJudge,
    "Example_TargetColourfulness": TargetColourfulness,
}
