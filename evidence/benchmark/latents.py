"""The table "latent": the rows of a latent diffusion model whose decoder is the view."""

from dataclasses import replace
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
from evidence.benchmark.world import NUM_SPECTRUM
from evidence.latent_models import LatentMethod, LatentModels
from evidence.quality import for_judges, measure_quality
from ppap_core.distillation.training_set import TrainingSet, build_training_set
from ppap_core.reading import Reading
from ppap_core.spectrum import DataSpectrum
from ppap_core.tasks.class_task import label_answers


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
        """Pictures of the latent model, with the guider's answers and the estimates kept."""
        space = self.models.checkpoint.latent_format
        guider, process_in = self.models.guider.guider, space.process_in
        return build_training_set(
            LATENT_GENERATED, guider, process_in=process_in, with_estimates=True
        )

    @cached_property
    def data_spectrum(self) -> DataSpectrum:
        return DataSpectrum.of_states([self.generated.x_0(torch.arange(NUM_SPECTRUM))])

    def training_set(self, guider: str, teaching: Teaching):
        if teaching.is_supervised:
            latents, labels = self.labelled
            return TrainingSet(latents, label_answers(labels, len(SHAPES)))
        if teaching.changes.get("estimates") == "kept":
            return self.generated
        return replace(self.generated, estimates=None)

    def reader(self, settings):
        from ppap_core.comfy_bridge.reading import build_reader

        models = self.models
        patcher = models.guider.patcher
        return build_reader(models.checkpoint, settings, models.prompt, 1.0, patcher)[1]

    @torch.no_grad()
    def row(self, method: Method, scale: float, experts, first_seed: int, num: int) -> dict:
        """Figures of `num` pictures by the judge, and by the guider itself without experts."""
        reading = Reading(method.input, "vae") if method.input else None
        asked = LatentMethod(
            method.name, reading, method.jacobian, method.spectrum, when_met=method.when_met
        )
        guider = None
        if reading:
            guider = replace(self.models.guider, experts=experts, data_spectrum=self.data_spectrum)
        pictures = self.models.pictures(asked, scale, first_seed, num, guider)
        small = for_judges(pictures)
        classes = torch.arange(num) % len(SHAPES)
        found = {
            "value": self.models.accuracy(pictures),
            "self": own_accuracy(self.models.guider.guider, small, classes),
        }
        return found | measure_quality(self.models.judge, small, self.models.real)._asdict()
