"""The models and data of one process of the benchmark, loaded when they are first needed."""

from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from demo.judges import load_judge
from demo.measures import build_target, measure, own_accuracy, recognise
from demo.paths import JUDGE, PIXEL_MODEL
from demo.sampling import load_model
from demo.scene_files import load_heldout_scenes, load_or_render
from demo.scenes import Scenes
from demo.shapes import SHAPES
from demo.train import run_module
from evidence.benchmark.budgets import Budget
from evidence.benchmark.files import (
    GUIDERS,
    conditional_file,
    drawn_folder,
    experts_file,
    renders_file,
)
from evidence.benchmark.methods import Method, Teaching
from evidence.quality import REAL, measure_quality
from ppap_core.distillation.batch import FROM_NOISE, Reader
from ppap_core.distillation.distill import distill
from ppap_core.distillation.estimates import Estimates, read_estimates
from ppap_core.distillation.evaluate import HeldOut
from ppap_core.distillation.images import find_images, read_images
from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.state import TrainingState, resume
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import load_guider
from ppap_core.noise import (
    add_noise,
    partition_by_timestep,
    sample_sigma_ve,
    timestep_to_sigma_ve,
)
from ppap_core.pixels import bytes_to_image
from ppap_core.reading import Reading
from ppap_core.shaping import Shaping
from ppap_core.spectrum import DataSpectrum
from ppap_core.strength import Strength
from ppap_core.tasks.class_task import label_answers

SAMPLERS = {"DDIM-25": ("ddim", 25), "DDPM-250": ("ddpm", 250)}
SCHEDULER, SIZE, BATCH = "ddim_uniform", 32, 50
NUM_SPECTRUM = 1000


class Drawn:
    """The first `num` pictures in a folder of `training generate`, and what was kept of them."""

    def __init__(self, folder: Path, num: int):
        self.folder, self.lines = folder, find_images(folder)[:num]

    @cached_property
    def pictures(self) -> Tensor:
        """(N, 3, 32, 32) uint8, sampled from the diffusion model."""
        return torch.stack([image for _, image in read_images(self.folder, self.lines)])

    @cached_property
    def estimates(self) -> Estimates:
        return read_estimates(self.folder, self.lines)


class World:
    """What the pieces of a benchmark of this budget need."""

    def __init__(self, budget: Budget):
        self.budget = budget
        self.model, self.judge = load_model(), load_judge(JUDGE)
        self.heldout = load_heldout_scenes()
        self.real = self.heldout.pictures(REAL)
        self.guider = cache(self._guider)
        self.experts = cache(self._experts)
        self.answers = cache(self._answers)
        self.drawn = cache(lambda drawn: Drawn(drawn_folder(drawn), budget.generated))

    @cached_property
    def conditional_model(self):
        return load_model(conditional_file(self.budget))

    @cached_property
    def latents(self):
        from evidence.benchmark.latents import LatentWorld

        return LatentWorld()

    @cached_property
    def data_spectrum(self) -> DataSpectrum:
        pictures = bytes_to_image(self.drawn("").pictures[:NUM_SPECTRUM])
        return DataSpectrum.of_states([pictures])

    @cached_property
    def renders(self) -> Scenes:
        """Scenes with labels, from those that the guiders were trained on."""
        return load_renders(self.budget.renders)

    def _guider(self, name: str):
        """A LoadedGuider without experts."""
        from ppap_core.comfy_bridge.loaded_guider import LoadedGuider

        return LoadedGuider.of(load_guider(GUIDERS[name]))

    def _answers(self, guider: str, drawn: str) -> Tensor:
        return teacher_answers(self.guider(guider).guider, self.drawn(drawn).pictures)

    def training_set(self, guider: str, teaching: Teaching):
        if teaching.is_supervised:
            truth = label_answers(self.renders.label, len(SHAPES))
            return TrainingSet(self.renders.image, truth)
        drawn = self.drawn(teaching.drawn)
        used = slice(round(teaching.pictures * self.budget.generated))
        estimates = drawn.estimates[used] if teaching.changes.get("estimates") == "kept" else None
        answers = self.answers(guider, teaching.drawn)[used]
        data = TrainingSet(drawn.pictures[used], answers, estimates=estimates)
        return self._with_fresh(data, teaching.num_fresh) if teaching.num_fresh else data

    @torch.no_grad()
    def _with_fresh(self, data: TrainingSet, num: int) -> TrainingSet:
        """`data`, whose pictures have `num` further estimates each, one from each part of the
        timesteps, made from fresh noise.
        """
        denoised = self.reader(DistillSettings(input="x0_hat")).noised
        generator, levels, estimates = torch.Generator().manual_seed(0), [], []
        for noise_range in partition_by_timestep(num):
            levels.append(sample_sigma_ve(noise_range, len(data), generator))
            made = []
            for rows in torch.arange(len(data)).split(BATCH):
                x_0 = data.x_0(rows)
                eps = torch.randn(x_0.shape, generator=generator)
                made.append(denoised(x_0, levels[-1][rows], eps).half())
            estimates.append(torch.cat(made))
        shape = data.estimates.sigma_ve.shape
        places = torch.cartesian_prod(*map(torch.arange, shape)).unbind(1)
        kept = data.estimates.x0_hat[places].unflatten(0, shape)
        both = Estimates(
            torch.cat([data.estimates.sigma_ve, torch.stack(levels, 1)], 1),
            torch.cat([kept.half(), torch.stack(estimates, 1)], 1),
        )
        return replace(data, estimates=both)

    def reader(self, settings):
        from ppap_core.comfy_bridge.denoise import Denoiser
        from ppap_core.comfy_bridge.pixel_model import empty_conditioning

        if settings.input == "x_t":
            return FROM_NOISE
        return Reader(Denoiser(self.model, empty_conditioning(), empty_conditioning()))

    def teach(self, guider: str, teaching: Teaching, seed: int) -> None:
        """Teach experts and write their file; resumes if it was stopped."""
        import comfy.model_management

        settings = teaching.settings(guider, self.budget, seed)
        file = experts_file(guider, teaching, self.budget, seed)
        student = self.guider(guider)
        comfy.model_management.load_models_gpu([student.patcher])
        unfinished = file.with_suffix(".run")
        world = self.latents if settings.view == "vae" else self
        data, read = world.training_set(guider, teaching), world.reader(settings)
        judge = None
        if settings.keep_best:
            data, heldout = data.split(settings.num_heldout)
            judge = HeldOut(student.guider, heldout, read=read).loss
        distill(student.guider, data, settings, read=read, file=unfinished, judge=judge)
        unfinished.rename(file)

    def taught(self, guider: str, teaching: Teaching | None, seed: int) -> NoiseExperts | None:
        """The experts that `teach` has written; none without a teaching."""
        if not teaching:
            return None
        file = experts_file(guider, teaching, self.budget, seed)
        return self.experts(file, teaching.settings(guider, self.budget, seed))

    def teach_conditional(self) -> None:
        """Train the class-conditional model, starting from the unconditional one's weights."""
        file = conditional_file(self.budget)
        data = {"scenes": renders_file(self.budget.renders), "initial": PIXEL_MODEL}
        files = {"checkpoint": file.with_suffix(".run"), "out": file}
        steps, classes = self.budget.conditional_steps, len(SHAPES)
        run_module("demo.diffusion", classes=classes, batch=64, steps=steps, **data, **files)

    def _experts(self, file: Path, settings: DistillSettings):
        state: TrainingState = resume(file, "")
        scaling = settings.adapter.lora_alpha / settings.adapter.rank
        pairs = zip(settings.ranges(), state.experts, strict=True)
        return NoiseExperts([Expert(noise, tensors, scaling) for noise, tensors in pairs])

    def guided(
        self, task: str, guider: str, method: Method, scale: float, seed: int, scenes: Scenes
    ) -> tuple:
        """(MODEL, keywords for `sample_pixels`) that ask for `scenes`, one for each picture."""
        from ppap_core.comfy_bridge.guide import guide

        if method.cfg:
            return self.conditional_model, {"cfg": scale, "class_labels": scenes.label}
        if not method.input:
            return self.model, {}
        experts = self.taught(guider, method.teaching, seed)
        loaded = replace(self.guider(guider), experts=experts, data_spectrum=self.data_spectrum)
        target, strength = build_target(task, scenes), Strength(scale, "relative")
        how = {"reading": Reading(method.input), "jacobian": method.jacobian}
        how["shaping"] = Shaping(spectrum=method.spectrum, when_met=method.when_met)
        return guide(self.model, loaded, target, strength, **how), {}

    @torch.no_grad()
    def sample(self, model_for, sampler: str, num: int, first_seed: int) -> Tensor:
        """(num, 3, 32, 32) in [-1, 1]. `model_for`: rows -> what `guided` returns for them."""
        from ppap_core.comfy_bridge.sampling import sample_pixels

        parts, (name, steps) = [], SAMPLERS[sampler]
        for rows in torch.arange(num).split(BATCH):
            seeds, (model, told) = (first_seed + rows).tolist(), model_for(rows)
            parts.append(sample_pixels(model, seeds, steps, name, SCHEDULER, SIZE, SIZE, **told))
        return torch.cat(parts)

    @torch.no_grad()
    def noisy_accuracy(self, guider: str, experts, timestep: float, num: int) -> float:
        """Share of held-out scenes that the guider with these experts recognises in x_t."""
        network = self.guider(guider).guider
        sigma_ve = timestep_to_sigma_ve(torch.tensor([timestep])).float()
        network.switch.activate(experts and experts.select(float(sigma_ve)))
        generator, right = torch.Generator().manual_seed(0), 0
        for rows in torch.arange(num).split(BATCH):
            x_0 = self.heldout.pictures(rows)
            eps = torch.randn(x_0.shape, generator=generator)
            answers = recognise(network, add_noise(x_0, sigma_ve.expand(len(rows)), eps))
            right += (answers == self.heldout.label[rows]).sum().item()
        network.switch.restore()
        return right / num

    @torch.no_grad()
    def measure(self, task: str, guider: str, pictures: Tensor, scenes: Scenes) -> dict:
        """Figures by the judges; for classes also by the guider itself, without experts."""
        found = {"value": measure(task, pictures, scenes)}
        if task == "class":
            found["self"] = own_accuracy(self.guider(guider).guider, pictures, scenes.label)
        return found | measure_quality(self.judge, pictures, self.real)._asdict()


def load_renders(num: int) -> Scenes:
    return load_or_render(renders_file(num), num, seed=0)
