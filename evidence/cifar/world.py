"""What the rows need: the base model, the network that guides it, its experts, and the judge."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from demo.train import run_module
from evidence.cifar.judge import PhotographJudge, load_judge
from evidence.cifar.pictures import GROUPS, SIDE, doubled, latents_file, load_cifar
from evidence.photographs.networks import MOBILENET_V2, load_network
from ppap_core.atomic import save_safetensors
from ppap_core.distillation.files import TrainingFiles
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.settings import DistillSettings
from ppap_core.expert_file import load_experts
from ppap_core.pixels import bytes_to_image, image_to_bytes
from ppap_core.reading import Reading
from ppap_core.shaping import Shaping
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

STEPS, SAMPLER, SCHEDULER = 10, "euler", "simple"
FIRST_SEED, AT_ONCE, PART = 1_000_000, 25, 100
NUM_REAL = 2000  # of CIFAR's test pictures: distances are measured to these
BACKGROUND = 1  # MobileNetV2's first class, which the other networks of ImageNet lack


@dataclass(frozen=True)
class Budget:
    """`learned`: CIFAR's pictures that the base model and the judge learn; `base_steps`: of 128
    pictures; `drawn`: what the guider's experts learn from, for `lesson_steps` together, of 32;
    `pictures`: of each row.
    """

    learned: int
    base_steps: int
    lesson_steps: int
    drawn: int
    pictures: int


@dataclass(frozen=True)
class Method:
    """`input`: what the guider reads, with `experts` or alone; none is no guidance."""

    input: str = ""
    jacobian: str = "none"
    experts: bool = False
    strength: float = 1.0
    when_met: str = "auto"

    def __str__(self) -> str:
        if not self.input:
            return "no guidance"
        who = "experts" if self.experts else "guider alone"
        jacobian = f", {self.jacobian}" * (self.input == "x0_hat")
        strength = f", strength {self.strength:g}" * (self.strength != 1.0)
        pushes = ", push on" * (self.when_met == "push on")
        return f"{who}, {self.input}{jacobian}{pushes}{strength}"


METHODS = (
    Method(),
    Method("x0_hat", "jvp"),
    Method("x0_hat", "none", experts=True),
    Method("x0_hat", "jvp", experts=True),
    Method("x_t"),
    Method("x_t", experts=True),
    Method("x0_hat", "none"),
    Method("x0_hat", "backprop"),
    Method("x0_hat", "none", experts=True, strength=2.0),
    Method("x0_hat", "jvp", experts=True, when_met="push on"),
    Method("x0_hat", "jvp", experts=True, when_met="push on", strength=2.0),
)


def guider_groups() -> list[list[int]]:
    """The guider's classes that are each of CIFAR's."""
    return [[index + BACKGROUND for index in group] for group in GROUPS.values()]


class World:
    """`photographs`: a folder that holds CIFAR-10; `cache`: whatever is made is kept there."""

    def __init__(self, photographs: Path | None, networks: Path, cache: Path, budget: Budget):
        self.networks, self.cache, self.budget = networks, cache, budget
        self.train = load_cifar(photographs, "train", cache)[: budget.learned]
        self.test = load_cifar(photographs, "test", cache)

    @cached_property
    def checkpoint(self):
        """The base model, trained if it is not there."""
        from evidence.cifar.network import load_base_model

        steps = self.budget.base_steps
        file = self.cache / f"base {steps}.safetensors"
        if not file.exists():
            latents = latents_file(
                self.train.pictures[: self.budget.learned], self.networks, self.cache
            )
            files = {"latents": latents, "checkpoint": file.with_suffix(".run"), "out": file}
            run_module("evidence.cifar.base_model", processes=2, steps=steps, **files)
        return load_base_model(file, self.networks)

    @cached_property
    def prompt(self) -> list:
        from ppap_core.comfy_bridge.conditioning import zero_conditioning

        return zero_conditioning(self.checkpoint.model)

    @cached_property
    def guider(self):
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        return LoadedGuider.of(load_network(MOBILENET_V2, self.networks, self.cache))

    @cached_property
    def judge(self) -> PhotographJudge:
        return load_judge(self.train, self.cache)

    @cached_property
    def real(self) -> Tensor:
        """The judge's features of real pictures, (NUM_REAL, D); kept."""
        file = self.cache / f"real {self.budget.learned}.safetensors"
        if not file.exists():
            pictures = bytes_to_image(doubled(self.test.pictures[:NUM_REAL]))
            with torch.no_grad():
                save_safetensors({"features": self.judge.features(pictures)}, file, {})
        return load_file(file)["features"]

    @torch.no_grad()
    def named(self, pictures: Tensor) -> Tensor:
        """(N,): the class of CIFAR in which the guider alone believes most."""
        chunks = pictures.split(AT_ONCE)
        sure = torch.cat([self.guider.guider(part) for part in chunks]).softmax(dim=1)
        return torch.stack([sure[:, g].sum(dim=1) for g in guider_groups()], dim=1).argmax(dim=1)

    def experts(self, input: str):
        """The guider with experts that read `input`, taught on the base model's own pictures."""
        from ppap_core.comfy_bridge.trainer import Trainer

        budget, name = self.budget, f"{input} {self.budget.base_steps}"
        files = TrainingFiles(
            out=str(self.cache / f"experts {name} {budget.lesson_steps}.safetensors"),
            images=str(self.cache / f"drawn {budget.base_steps}"),
        )
        if not Path(files.out).exists():
            trainer = Trainer(
                self.checkpoint,
                self.guider.guider,
                self.guider.patcher,
                {"": self.prompt},
                GenerateSettings(
                    num_images=budget.drawn,
                    width=SIDE,
                    height=SIDE,
                    sampler_name=SAMPLER,
                    scheduler=SCHEDULER,
                ),
                DistillSettings(
                    input=input, budget="total", steps=budget.lesson_steps, batch_size=32
                ),
                files,
            )
            with trainer.working():
                trainer.generate_pictures(lambda num: None)
                trainer.train(trainer.training_set(lambda num: None), lambda progress: None)
        return self.guider.with_experts(load_experts(files.out))

    def pictures(self, method: Method) -> Tensor:
        """(N, 3, SIDE, SIDE) in [-1, 1], asked for the classes by turns; kept part by part."""
        parts = []
        for start in range(0, self.budget.pictures, PART):
            file = self.cache / f"rows {self.budget.base_steps}" / f"{method} {start}.safetensors"
            if not file.exists():
                guider = self.experts(method.input) if method.experts else self.guider
                chunks = torch.arange(start, start + PART).split(AT_ONCE)
                made = torch.cat([self._sample(method, guider, rows.tolist()) for rows in chunks])
                save_safetensors({"pictures": image_to_bytes(made)}, file, {})
            parts.append(load_file(file)["pictures"])
        return bytes_to_image(torch.cat(parts)[: self.budget.pictures])

    def _sample(self, method: Method, guider, rows: list[int]) -> Tensor:
        from ppap_core.comfy_bridge.guide import guide
        from ppap_core.comfy_bridge.sampling import sample_seeds

        model = self.checkpoint.model
        if method.input:
            groups = guider_groups()
            classes = [dict.fromkeys(groups[row % len(groups)], 1.0) for row in rows]
            target = ClassTarget(classes, len(guider.guider.info.labels))
            how = {"reading": Reading(method.input, "vae"), "jacobian": method.jacobian}
            how["shaping"] = Shaping(when_met=method.when_met)
            model = guide(
                model, guider, target, Strength(method.strength), vae=self.checkpoint.vae, **how
            )
        shape, seeds = self.checkpoint.latent_shape(SIDE, SIDE), [FIRST_SEED + row for row in rows]
        prompts = {"positive": self.prompt, "negative": self.prompt}
        latents = sample_seeds(model, seeds, shape, STEPS, 1.0, SAMPLER, SCHEDULER, **prompts)
        return self.checkpoint.decode(latents).clamp(-1, 1)
