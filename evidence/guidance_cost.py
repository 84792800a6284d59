"""What guidance costs: switching experts, the merged guider, guided sampling, views, memory.

`python -m evidence.guidance_cost` prints one table; both times of a ratio are measured in turns in
one run. ResNet50 has random weights; sampling uses the demo world.
"""

import statistics
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from demo.paths import EXPERTS, GUIDER, PIXEL_MODEL
from demo.run import SAMPLER, SCHEDULER, SIZE, STEPS
from evidence.timing import in_turns, seconds
from evidence.view_cost import view_costs
from ppap_core.comfy_bridge.headless import boot
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, load_guider
from ppap_core.noise import partition_by_timestep

IMAGENET = Preprocessing((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def resnet50_with_experts(num_experts: int = 5) -> tuple[Guider, NoiseExperts]:
    """With random weights; the experts differ from their initial ones a little."""
    import timm

    from ppap_core.distillation.settings import AdapterSettings
    from ppap_core.distillation.student import Student

    backbone = timm.create_model("resnet50").eval()
    student = Student(backbone, AdapterSettings())
    scaling = student.spec.lora_alpha / student.spec.rank
    ranges = partition_by_timestep(num_experts)
    experts = NoiseExperts([Expert(r, _perturbed(student.tensors()), scaling) for r in ranges])
    labels = tuple(map(str, range(1000)))
    info = GuiderInfo("timm/resnet50", "resnet50", "class", labels, "random")
    return Guider(backbone, IMAGENET, info), experts


def _perturbed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v + 1e-3 * torch.rand_like(v) for k, v in tensors.items()}


def num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def guider_costs(repeats: int) -> list[str]:
    guider, experts = resnet50_with_experts()
    switch = guider.switch
    image = torch.rand(1, 3, 224, 224) * 2 - 1

    def forward_backward():
        x = image.clone().requires_grad_(True)
        torch.autograd.grad(guider(x).logsumexp(dim=1).sum(), x)

    first, second = experts.experts[:2]
    changes = in_turns(
        {"to 0": lambda: switch.activate(first), "to 1": lambda: switch.activate(second)}, repeats
    )
    same = in_turns({"same": lambda: switch.activate(second)}, repeats)
    passes = {"plain": [], "merged": []}
    for _ in range(repeats):
        switch.restore()
        passes["plain"].append(seconds(forward_backward))
        switch.activate(first)
        passes["merged"].append(seconds(forward_backward))
    ratio = statistics.median(passes["merged"]) / statistics.median(passes["plain"])
    held = num_bytes(guider.state_dict().values()) + num_bytes(switch.originals.values())
    held += sum(num_bytes(expert.tensors.values()) for expert in experts.experts)
    backbone = num_bytes(guider.state_dict().values())
    return [
        f"ResNet50, change of expert         {1e3 * max(changes.values()):8.2f} ms",
        f"ResNet50, same expert again        {1e3 * same['same']:8.4f} ms",
        f"ResNet50, merged / plain pass      {ratio:8.3f} x",
        f"ResNet50, 5 experts / backbone     {held / backbone:8.3f} x memory",
    ]


def sampling_cost(repeats: int) -> list[str]:
    boot()
    from ppap_core.comfy_bridge.guide import guide
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider
    from ppap_core.comfy_bridge.pixel_model import load_pixel_model
    from ppap_core.comfy_bridge.sampling import sample_pixels
    from ppap_core.expert_file import load_experts
    from ppap_core.strength import Strength
    from ppap_core.targets import ClassTarget

    model, guider = load_pixel_model(PIXEL_MODEL), load_guider(GUIDER)
    loaded = LoadedGuider.of(guider).with_experts(load_experts(EXPERTS))
    target = ClassTarget({4: 1.0}, len(guider.info.labels))
    guided = guide(model, loaded, target, Strength(10.0))
    batch = torch.rand(8, 3, SIZE, SIZE) * 2 - 1

    def guider_alone():
        for _ in range(STEPS):
            x = batch.clone().requires_grad_(True)
            torch.autograd.grad(target.log_likelihood(guider(x)).sum(), x)

    def sample(each):
        return lambda: sample_pixels(each, list(range(8)), STEPS, SAMPLER, SCHEDULER, SIZE, SIZE)

    actions = {"unguided": sample(model), "guided": sample(guided), "guider": guider_alone}
    t = in_turns(actions, repeats)
    ratio = t["guided"] / (t["unguided"] + t["guider"])
    return [
        f"sampling 8 pictures, unguided      {t['unguided']:8.3f} s",
        f"sampling 8 pictures, guided        {t['guided']:8.3f} s",
        f"the guider's own passes            {t['guider']:8.3f} s",
        f"guided / (unguided + guider)       {ratio:8.3f} x",
    ]


def main() -> None:
    torch.manual_seed(0)
    lines = [*guider_costs(repeats=7), *sampling_cost(repeats=5)]
    lines += view_costs(resnet50_with_experts()[0], repeats=3)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
