"""The latent demo's models, with what guides them, for `evidence.views` and the benchmark."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from demo.autoencoder import load_autoencoder
from demo.judges import load_judge
from demo.paths import AUTOENCODER, GUIDER, JUDGE, LATENT_EXPERTS, LATENT_MODEL
from demo.scene_files import load_heldout_scenes
from demo.shapes import SHAPES
from evidence.quality import for_judges
from ppap_core.expert_file import load_experts
from ppap_core.guiders import load_guider
from ppap_core.reading import Reading
from ppap_core.shaping import Shaping
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

if TYPE_CHECKING:
    from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

STEPS, SAMPLER, SCHEDULER = 25, "euler", "simple"
SHAPE = (16, 8, 8)  # latents of pictures of 64 x 64
BATCH = 50


@dataclass(frozen=True)
class LatentMethod:
    """`reading`: the guider's; None guides nothing."""

    name: str
    reading: Reading | None = None
    jacobian: str = "none"
    spectrum: str = "plain"
    has_experts: bool = False
    when_met: str = "push on"


class LatentModels:
    """The latent demo's models: samples pictures and measures them."""

    def __init__(self) -> None:
        from ppap_core.comfy_bridge.checkpoint import load_checkpoint
        from ppap_core.comfy_bridge.conditioning import zero_conditioning
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        self.checkpoint = load_checkpoint(str(LATENT_MODEL), str(AUTOENCODER))
        self.model = self.checkpoint.model
        self.prompt = zero_conditioning(self.model)
        self.guider = LoadedGuider.of(load_guider(GUIDER))
        self.taught = {
            reading: self.guider.with_experts(load_experts(file))
            for reading, file in LATENT_EXPERTS.items()
            if file.exists()
        }
        self.autoencoder = load_autoencoder(AUTOENCODER)
        self.judge = load_judge(JUDGE)

    @cached_property
    def real(self) -> Tensor:
        """Pictures that no model has seen: (2000, 3, 64, 64) in [-1, 1]."""
        return load_heldout_scenes().pictures(slice(2000))

    def guided(
        self,
        method: LatentMethod,
        scale: float,
        classes: list[int],
        guider: "LoadedGuider | None" = None,
        model=None,
        rule: str = "relative",
    ):
        """MODEL; one of `classes` for each picture of a batch.

        `guider`: None takes the demo's, with experts for a method that has some. `model`: what is
        guided; None takes the demo's.
        """
        from ppap_core.comfy_bridge.guide import guide

        model = model or self.model
        if method.reading is None:
            return model
        if guider is None:
            guider = self.taught[method.reading] if method.has_experts else self.guider
        return guide(
            model,
            guider,
            ClassTarget([{label: 1.0} for label in classes], len(SHAPES)),
            Strength(scale, rule),
            reading=method.reading,
            jacobian=method.jacobian,
            shaping=Shaping(spectrum=method.spectrum, when_met=method.when_met),
            vae=self.checkpoint.vae,
        )

    def latents(self, model, seeds: list[int], steps: int = STEPS) -> Tensor:
        """Sampled latents, one for each seed: (N, *SHAPE)."""
        from ppap_core.comfy_bridge.sampling import sample_seeds

        prompts = {"positive": self.prompt, "negative": self.prompt}
        return sample_seeds(model, seeds, SHAPE, steps, 1.0, SAMPLER, SCHEDULER, **prompts)

    @torch.no_grad()
    def pictures(
        self,
        method: LatentMethod,
        scale: float,
        first_seed: int,
        num: int,
        guider: "LoadedGuider | None" = None,
        rule: str = "relative",
    ) -> Tensor:
        """(num, 3, 64, 64) in [-1, 1]; the classes take turns."""
        parts = []
        for start in range(0, num, BATCH):
            rows = range(start, min(start + BATCH, num))
            classes = [row % len(SHAPES) for row in rows]
            model = self.guided(method, scale, classes, guider, rule=rule)
            latents = self.latents(model, [first_seed + row for row in rows])
            space = self.model.get_model_object("latent_format")
            parts.append(self.autoencoder.decode(space.process_in(latents)))
        return torch.cat(parts).clamp(-1, 1)

    @torch.no_grad()
    def accuracy(self, pictures: Tensor) -> float:
        """Share of `pictures` in which the judge sees the class that was asked for."""
        classes = torch.arange(len(pictures)) % len(SHAPES)
        return (self.judge(for_judges(pictures)).argmax(1) == classes).float().mean().item()
