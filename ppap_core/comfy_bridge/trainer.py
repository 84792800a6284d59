"""A whole training with ComfyUI: generate pictures, ask the teacher, distil, evaluate, write.

The command line and the node *Train PPAP Experts* differ only in how they fill a `Trainer`.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import comfy.model_management
import torch

from ..atomic import replace_file
from ..distillation.batch import Reader
from ..distillation.distill import Distilled, Progress, distill
from ..distillation.evaluate import RangeAgreement, agreement_per_range, merge_silent
from ..distillation.files import TrainingFiles
from ..distillation.generate import (
    GenerateSettings,
    SamplePictures,
    generate,
    missing_batches,
    settings_of,
)
from ..distillation.images import check_source
from ..distillation.losses import loss_kind
from ..distillation.report import report_text, write_report
from ..distillation.settings import DistillSettings
from ..distillation.state import training_fingerprint
from ..distillation.training_set import TrainingSet, build_training_set
from ..distillation.workers import barrier, rank
from ..errors import SettingError, one_line
from ..expert_file import ExpertSet, save_experts
from ..expert_header import ExpertHeader
from ..guiders import Guider
from ..spectrum import DataSpectrum
from .checkpoint import Checkpoint
from .loaded_guider import LoadedGuider
from .memory import WholeModulePatcher
from .pictures import build_sampler, need_space, picture_bytes
from .preview import sample_preview
from .reading import build_reader
from .sampling import check_names
from .views import build_view

NUM_FOR_SPECTRUM = 512  # pictures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """`patcher`: by which ComfyUI knows the guider's memory. `conditioning`: CONDITIONING by
    prompt, the empty one among them.
    """

    checkpoint: Checkpoint
    guider: Guider
    patcher: WholeModulePatcher
    conditioning: dict[str, list]
    generate: GenerateSettings
    distill: DistillSettings
    files: TrainingFiles

    def __post_init__(self) -> None:
        check_names(self.generate.sampler_name, self.generate.scheduler)
        if self.guider is not None:  # none where pictures are only sampled
            loss_kind(self.guider.info.kind, self.distill.depth_loss)

    def check_view(self) -> None:
        """ValueError if this checkpoint has no such view of its latents."""
        build_view(self.distill.view, self.checkpoint.model, self.checkpoint.vae)

    def num_missing(self) -> int:
        """Pictures still to be sampled, by this process."""
        return sum(map(len, missing_batches(self.generate, self.files.image_folder())))

    def generate_pictures(self, watch: Callable[[int], None]) -> None:
        """Sample the pictures that the folder lacks. ValueError if the disk has no room for them.

        `watch` gets how many were added.
        """
        folder, one = self.files.image_folder(), picture_bytes(self.checkpoint, self.generate)
        need_space(folder, self.num_missing() * one)
        source = {
            "checkpoint": self.checkpoint.name,
            "fingerprint": self.checkpoint.fingerprint,
            "latent_format": self.checkpoint.latent_format_name,
        }
        sample = build_sampler(self.checkpoint, self.generate, self.conditioning)
        generate(sample, self.generate, folder, source, force=self.files.force, watch=watch)

    def training_set(self, watch: Callable[[int], None]) -> TrainingSet:
        """The folder's pictures with the teacher's answers. `watch` gets how many were read."""
        folder, labels = self.files.image_folder(), self.files.labels
        check_source(folder, self.checkpoint.fingerprint, self.files.force)
        comfy.model_management.load_models_gpu([self.patcher])
        pixels = self.checkpoint.works_on_pixels
        wants_kept = self.distill.input == "x0_hat" and self.distill.estimates != "fresh"
        data = build_training_set(
            folder,
            self.guider,
            process_in=None if pixels else self.checkpoint.latent_format.process_in,
            labels=Path(labels) if labels else None,
            cache=self.files.run_folder() / "teacher.safetensors",
            with_estimates=wants_kept,
            watch=watch,
        )
        return self._with_usable_estimates(data) if wants_kept else data

    def _with_usable_estimates(self, data: TrainingSet) -> TrainingSet:
        """`data`; without its kept estimates where they do not serve and need not."""
        try:
            if data.estimates is None:
                raise SettingError(
                    f"the pictures in {self.files.image_folder()} have no estimates",
                    num_estimates="sample them with some",
                    estimates="take fresh estimates",
                )
            data.estimates.check_ranges(self.distill.ranges())
        except SettingError as error:
            if self.distill.estimates == "kept":
                raise
            log.info("experts read fresh estimates: %s", error)
            return replace(data, estimates=None)
        return data

    def reader(self) -> tuple[str, Reader]:
        """(view's name, reader): how these experts read the model's states."""
        cfg = settings_of(self.files.image_folder(), self.generate).cfg
        return build_reader(self.checkpoint, self.distill, self.conditioning[""], cfg, self.patcher)

    def train(
        self,
        data: TrainingSet,
        watch: Callable[[Progress], None],
        *,
        begin: Callable[[], None] = lambda: None,
    ) -> tuple[ExpertSet, list[RangeAgreement]] | None:
        """Distil, evaluate, write the expert file and its report. None in all but one process.

        `begin` is called before the first step, once an earlier state is known to fit.
        """
        view, read = self.reader()
        comfy.model_management.load_models_gpu([self.patcher])
        training, heldout = data.split(self.distill.num_heldout)
        kept = "kept estimates" if data.estimates else ""
        inputs = data.fingerprint, self.checkpoint.fingerprint, view, kept
        distilled = distill(
            self.guider,
            training,
            self.distill,
            read=read,
            file=self.files.run_folder() / "state.safetensors",
            fingerprint=training_fingerprint(self.distill, *inputs),
            begin=begin,
            watch=watch,
        )
        barrier()
        if rank() > 0:
            return None
        compared = {name: getattr(self.distill, name) for name in ("temperature", "depth_loss")}
        rows = agreement_per_range(self.guider, distilled.experts, heldout, read=read, **compared)
        expert_set = _expert_set(self, distilled, rows, view, training)
        save_experts(expert_set, self.files.out)
        _write_report(self, distilled, rows, view, training, heldout)
        _write_preview(self, expert_set, data)
        return expert_set, rows


def _expert_set(
    trainer: Trainer,
    distilled: Distilled,
    rows: list[RangeAgreement],
    view: str,
    data: TrainingSet,
) -> ExpertSet:
    experts = merge_silent(distilled.experts, rows)
    training = asdict(trainer.distill) | {
        "num_images": len(data),
        "losses": distilled.final_losses(),
        "agreement": [[row.plain, row.expert] for row in rows],
    }
    header = ExpertHeader.for_guider(
        trainer.guider,
        input=trainer.distill.input,
        view=view,
        latent_format=trainer.checkpoint.latent_format_name,
        checkpoint=trainer.checkpoint.name,
        noise_ranges=experts.ranges,
        lora=distilled.lora,
        training=training,
        spectrum=DataSpectrum.of_states(
            data.x_0(torch.arange(len(data))[:NUM_FOR_SPECTRUM])
        ).density,
    )
    return ExpertSet(header, experts, Path(trainer.files.out).name)


def _write_report(
    trainer: Trainer,
    distilled: Distilled,
    rows: list[RangeAgreement],
    view: str,
    training: TrainingSet,
    heldout: TrainingSet,
) -> None:
    info, checkpoint, settings = trainer.guider.info, trainer.checkpoint, trainer.distill
    facts = {
        "guider": f"{info.source} ({info.fingerprint[:12]})",
        "checkpoint": f"{checkpoint.name} ({checkpoint.fingerprint[:12]})",
        "images": f"{len(training)}, held out {len(heldout)}",
        "input": settings.input,
        "view": view,
        "partition": settings.partition,
        "initialisation": settings.initialisation,
    }
    kept = "with their estimates, kept while they were sampled"
    read_as = kept if heldout.estimates else "with new noise"
    text = report_text(Path(trainer.files.out).name, info.kind, rows, distilled, facts, read_as)
    write_report(trainer.files.run_folder(), text, rows, distilled, info.kind)


def _write_preview(trainer: Trainer, expert_set: ExpertSet, data: TrainingSet) -> None:
    """If it fails, a warning: the experts, perhaps hours of training, are written already."""
    checkpoint, guider = trainer.checkpoint, LoadedGuider(trainer.guider, trainer.patcher)
    settings = settings_of(trainer.files.image_folder(), trainer.generate)

    def sampler_of(model) -> SamplePictures:
        return build_sampler(checkpoint, settings, trainer.conditioning, model)

    try:
        preview = sample_preview(checkpoint, guider, expert_set, data.answers, sampler_of)
        with replace_file(trainer.files.preview_file()) as partial:
            preview.save(partial, format="PNG")
    except (ValueError, RuntimeError) as error:  # torch's "out of memory" among them
        log.warning("no preview: %s", one_line(error))
