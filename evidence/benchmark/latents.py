"""The table "latent": the rows of a latent diffusion model whose decoder is the view."""

from functools import cached_property

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from demo.latent_experts import use_narrow_decoder
from demo.measures import own_accuracy
from demo.paths import LARGE_TRAIN_SCENES, LATENT_GENERATED, LATENTS
from demo.shapes import SHAPES
from evidence.benchmark.methods import Method, Teaching
from evidence.latent_models import LatentMethod, LatentModels
from evidence.quality import for_judges, measure_quality


class LatentWorld:
    """What the rows of this table need.

    With every budget, the ResNet's experts learn from 24,000 scenes with their classes, or from
    5,000 pictures of the latent model.
    """

    def __init__(self):
        self.models = LatentModels()
        use_narrow_decoder(self.models.checkpoint.vae)

    @cached_property
    def labelled(self) -> tuple[Tensor, Tensor]:
        """Latents (N, 16, 8, 8) of scenes, and their classes (N,)."""
        with safe_open(LARGE_TRAIN_SCENES, "pt") as scenes:
            labels = scenes.get_tensor("label")
        return load_file(LATENTS)["latents"], labels

    @cached_property
    def generated(self):
        """Pictures of the latent model, with the guider's answers."""
        from ppap_core.distillation.dataset import build_training_set

        space = self.models.checkpoint.latent_format
        return build_training_set(LATENT_GENERATED, self.models.guider, process_in=space.process_in)

    def training_set(self, guider: str, teaching: Teaching):
        from ppap_core.distillation.distill import TrainingSet
        from ppap_core.distillation.losses import label_answers

        if teaching.is_supervised:
            latents, labels = self.labelled
            return TrainingSet(latents, label_answers(labels, len(SHAPES)))
        return self.generated

    def reader(self, settings):
        from ppap_core.comfy_bridge.reading import build_reader

        models = self.models
        return build_reader(models.checkpoint, settings, models.prompt, 1.0, models.patcher)[1]

    @torch.no_grad()
    def row(self, method: Method, scale: float, experts, first_seed: int, num: int) -> dict:
        """Figures of `num` pictures by the judge, and by the guider itself without experts."""
        seen = (method.input, "vae") if method.input else None
        pictures = self.models.pictures(
            LatentMethod(method.name, seen, method.jacobian),
            scale,
            first_seed=first_seed,
            num=num,
            experts=experts,
            as_shipped=True,
        )
        small = for_judges(pictures)
        classes = torch.arange(num) % len(SHAPES)
        found = {
            "value": self.models.accuracy(pictures),
            "self": own_accuracy(self.models.guider, small, classes),
        }
        return found | measure_quality(self.models.judge, small, self.models.real)._asdict()
