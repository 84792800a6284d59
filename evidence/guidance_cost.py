"""What guidance costs: switching experts, the merged guider, guided sampling, views, memory.

`python -m evidence.guidance_cost` prints one table; both times of a ratio are measured in turns in
one run. ResNet50 has random weights; sampling uses the demo world.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from demo.sampling import SIZE, STEPS, guide_model, load_guiding, load_model, sample
from evidence.random_guiders import guider_passes, random_guider
from evidence.timing import in_turns, seconds
from evidence.view_cost import view_costs
from ppap_core.comfy_bridge.headless import boot
from ppap_core.distillation.settings import AdapterSettings
from ppap_core.distillation.student import Student
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import Guider
from ppap_core.noise import partition_by_timestep
from ppap_core.targets import ClassTarget

NUM_EXPERTS = 5


def random_experts(guider: Guider) -> NoiseExperts:
    """They differ from their initial ones a little."""
    student = Student(guider.backbone, AdapterSettings())
    tensors, scaling = student.tensors(), student.spec.lora_alpha / student.spec.rank
    experts = []
    for noise in partition_by_timestep(NUM_EXPERTS):
        near = {k: v + 1e-3 * torch.rand_like(v) for k, v in tensors.items()}
        experts.append(Expert(noise, near, scaling))
    return NoiseExperts(experts)


def num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def guider_costs(guider: Guider, repeats: int) -> list[str]:
    """Lines on a ResNet50 and its experts."""
    experts, switch = random_experts(guider).experts, guider.switch
    image = torch.rand(1, 3, 224, 224) * 2 - 1
    one_pass = guider_passes(guider, ClassTarget({4: 1.0}, 1000), image, num=1)
    first, second = experts[:2]
    changes = in_turns(
        {"to 0": lambda: switch.activate(first), "to 1": lambda: switch.activate(second)}, repeats
    )
    same = in_turns({"same": lambda: switch.activate(second)}, repeats)
    passes = {"plain": [], "merged": []}
    for _ in range(repeats):
        switch.restore()
        passes["plain"].append(seconds(one_pass))
        switch.activate(first)
        passes["merged"].append(seconds(one_pass))
    ratio = statistics.median(passes["merged"]) / statistics.median(passes["plain"])
    backbone = num_bytes(guider.state_dict().values())
    held = backbone + num_bytes(switch.originals.values())
    held += sum(num_bytes(expert.tensors.values()) for expert in experts)
    switch.restore()
    return [
        f"ResNet50, change of expert         {1e3 * max(changes.values()):8.2f} ms",
        f"ResNet50, same expert again        {1e3 * same['same']:8.4f} ms",
        f"ResNet50, merged / plain pass      {ratio:8.3f} x",
        f"ResNet50, {NUM_EXPERTS} experts / backbone     {held / backbone:8.3f} x memory",
    ]


def sampling_cost(repeats: int) -> list[str]:
    """Lines on the demo's model, in the rule "raw"."""
    model, guider = load_model(), load_guiding("class")
    target = ClassTarget({4: 1.0}, len(guider.guider.info.labels))
    guided = guide_model(model, guider, target, 10.0, rule="raw")
    batch = torch.rand(8, 3, SIZE, SIZE) * 2 - 1
    actions = {
        "unguided": lambda: sample(model, list(range(8))),
        "guided": lambda: sample(guided, list(range(8))),
        "guider": guider_passes(guider.guider, target, batch, STEPS),
    }
    t = in_turns(actions, repeats)
    ratio = t["guided"] / (t["unguided"] + t["guider"])
    return [
        f"sampling 8 pictures, unguided      {t['unguided']:8.3f} s",
        f"sampling 8 pictures, guided        {t['guided']:8.3f} s",
        f"the guider's own passes            {t['guider']:8.3f} s",
        f"guided / (unguided + guider)       {ratio:8.3f} x",
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(0)
    boot()
    guider = random_guider("resnet50")
    lines = [*guider_costs(guider, repeats=7), *sampling_cost(repeats=5)]
    lines += view_costs(guider, repeats=3)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
