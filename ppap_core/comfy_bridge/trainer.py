"""A whole training with ComfyUI: generate pictures, ask the teacher, distil, evaluate, write.

The command line and the node *Train PPAP Experts* differ only in how they fill a `Trainer`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.model_management
import torch

from ..distillation.batch import Reader
from ..distillation.distill import Distilled, Progress, distill, takes_looks
from ..distillation.evaluate import HeldOut, RangeAgreement
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
from ..distillation.progress import PREVIEW
from ..distillation.settings import DistillSettings
from ..distillation.state import forget_finished, training_fingerprint
from ..distillation.training_set import TrainingSet, build_training_set
from ..distillation.workers import barrier, rank
from ..errors import SettingError
from ..expert_file import ExpertSet
from ..experts import Expert
from ..folder_lock import only_training_in
from ..guiders import Guider
from .cancel import ask_for_cancel, cancellable
from .checkpoint import Checkpoint
from .conditioning import Conditionings
from .memory import WholeModulePatcher, images_at_once
from .pictures import build_sampler, need_space, picture_bytes, picture_size
from .reading import build_reader
from .samples import Samples
from .sampling import check_names
from .training_checks import check_training
from .training_results import Results
from .views import build_view

MOST_AT_ONCE, SHARE = 64, 0.5  # pictures of a pass of the guider, and of the device's memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """`patcher`: by which ComfyUI knows the guider's memory. `conditioning`: CONDITIONING by
    prompt, the empty one among them. `draws`: it samples pictures. `distils`: it trains experts.
    """

    checkpoint: Checkpoint
    guider: Guider
    patcher: WholeModulePatcher
    conditioning: Conditionings | Mapping[str, list]
    generate: GenerateSettings
    distill: DistillSettings
    files: TrainingFiles
    draws: bool = True
    distils: bool = True

    def __post_init__(self) -> None:
        check_names(self.generate.sampler_name, self.generate.scheduler)
        if self.guider is not None:  # none where pictures are only sampled
            loss_kind(self.guider.info.kind, self.distill.depth_loss)

    def check_view(self) -> None:
        """ValueError if this checkpoint has no such view of its latents."""
        build_view(self.distill.view, self.checkpoint.model, self.checkpoint.vae)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Everything is checked, then no other training may work in the same folders."""
        check_training(self)
        folders = [self.files.run_folder()] + [self.files.image_folder()] * self.draws
        with ExitStack() as locked:
            for folder in dict.fromkeys(folders) if rank() == 0 else ():
                locked.enter_context(only_training_in(folder))
            yield

    def facts(self) -> dict[str, object]:
        """What decides the experts besides the settings of `distill`, by name."""
        prints = {"guider": self.guider.info.fingerprint, "checkpoint": self.checkpoint.fingerprint}
        facts = {name: fingerprint[:12] for name, fingerprint in prints.items()}
        return facts | ({"num_images": self.generate.num_images} if self.draws else {})

    def state_file(self) -> Path:
        return self.files.run_folder() / "state.safetensors"

    def num_missing(self) -> int:
        """Pictures still to be sampled, by this process."""
        return sum(map(len, missing_batches(self.generate, self.files.image_folder())))

    def generate_pictures(self, watch: Callable[[int], None]) -> None:
        """Sample the pictures that the folder lacks. ValueError if the disk has no room for them.

        `watch` gets how many were added.
        """
        folder, one = self.files.image_folder(), picture_bytes(self.checkpoint, self.generate)
        need_space(folder, self.num_missing(), one)
        source = {
            "checkpoint": self.checkpoint.name,
            "fingerprint": self.checkpoint.fingerprint,
            "latent_format": self.checkpoint.latent_format_name,
        }
        sample = build_sampler(self.checkpoint, self.generate, self.conditioning, is_paced=True)
        with cancellable(*self.checkpoint.networks()):
            generate(sample, self.generate, folder, source, force=self.files.force, watch=watch)

    def training_set(self, watch: Callable[[int], None]) -> TrainingSet:
        """The folder's pictures with the teacher's answers. `watch` gets how many were read."""
        folder, labels = self.files.image_folder(), self.files.labels
        check_source(folder, self.checkpoint.fingerprint, self.files.force)
        comfy.model_management.load_models_gpu([self.patcher])
        pixels = self.checkpoint.works_on_pixels
        with cancellable(self.guider):
            data = build_training_set(
                folder,
                self.guider,
                process_in=None if pixels else self.checkpoint.latent_format.process_in,
                labels=Path(labels) if labels else None,
                cache=self.files.run_folder() / (f"teacher.{rank()}" if rank() else "teacher"),
                with_estimates=self.distill.takes_kept,
                at_once=self._images_at_once(),
                watch=watch,
            )
        if self.distill.takes_kept:
            self._check_estimates(data)
        return data

    def _images_at_once(self) -> int:
        """How many training pictures the guider reads in one pass, without learning."""
        width, height = picture_size(self.checkpoint, self.generate)
        return images_at_once(self.guider, SHARE, MOST_AT_ONCE, (MOST_AT_ONCE, 3, height, width))

    def _check_estimates(self, data: TrainingSet) -> None:
        """Says which experts lack kept estimates. SettingError if all do and have to have them."""
        if data.estimates is None:
            lack = f"the pictures in {self.files.image_folder()} have no estimates"
            if self.distill.estimates == "kept":
                raise SettingError(
                    lack,
                    num_estimates="sample them with some",
                    estimates="take fresh estimates",
                )
            log.warning("%s: experts read fresh ones, each of them a pass of the model", lack)
        elif without := data.estimates.missing(self.distill.ranges()):
            ranges = " and ".join(map(str, without))
            log.info("experts of the noise %s learn from the nearest estimates", ranges)

    def reader(self) -> tuple[str, Reader]:
        """(view's name, reader): how these experts read the model's states."""
        cfg = settings_of(self.files.image_folder(), self.generate).cfg
        place = self.checkpoint, self.distill, self.conditioning[""], cfg, self.patcher
        return build_reader(*place, guider=self.guider)

    def load_for_learning(self) -> None:
        """Onto the device: what a step passes through. Sampling may have moved it away."""
        view = build_view(self.distill.view, self.checkpoint.model, self.checkpoint.vae)
        comfy.model_management.load_models_gpu([*view.patchers, self.patcher])

    def sampler_of(self, model) -> SamplePictures:
        """How previews are sampled with `model` (MODEL): as the pictures were."""
        settings = settings_of(self.files.image_folder(), self.generate)
        return build_sampler(self.checkpoint, settings, self.conditioning, model)

    def train(
        self,
        data: TrainingSet,
        watch: Callable[[Progress], None],
        *,
        begin: Callable[[], None] = lambda: None,
        samples: Samples | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> tuple[ExpertSet, list[RangeAgreement]] | None:
        """Distil, evaluate, write the expert file and its report. None in all but one process.

        `begin` is called before the first step, once an earlier state is known to fit. `samples`:
        pictures on the way, if somebody looks. `say` gets what is done after the last step.
        """
        view, read = self.reader()
        self.load_for_learning()
        results = Results(self, view, data)
        training, heldout = results.parts
        mode = torch.is_inference_mode_enabled()  # on a node, where models were loaded in it

        def watch_and_sample(progress: Progress) -> None:
            watch(progress)
            if samples and samples.are_due(progress, self.distill.num_experts):
                with torch.inference_mode(mode):
                    samples.sample(self, view, data.answers, progress)

        measured = HeldOut(
            self.guider,
            heldout,
            read=read,
            temperature=self.distill.temperature,
            depth_loss=self.distill.depth_loss,
            at_once=self._images_at_once(),
        )

        def judge(expert: Expert) -> float:
            with cancellable(self.guider):
                return measured.loss(expert)

        looks = judge if takes_looks(self.distill, len(measured)) else None
        calls = {"judge": looks, "begin": begin, "watch": watch_and_sample}
        distilled = self._distill(training, view, read, expert_done=results.write_so_far, **calls)
        barrier()
        if rank() > 0:
            return None
        say("comparing with the guider's answers to pictures held out")
        with cancellable(self.guider):
            rows = measured.rows(distilled.experts)
        losses = distilled.final_losses() if rows else []
        rows = [replace(row, training_loss=loss) for row, loss in zip(rows, losses, strict=True)]
        say(PREVIEW)
        return results.write(distilled, rows), rows

    def _distill(
        self, training: TrainingSet, view: str, read: Reader, **calls: Callable | None
    ) -> Distilled:
        """`calls`: those of `distill`."""
        kept = "kept estimates" if training.estimates else ""
        inputs = training.fingerprint, self.checkpoint.fingerprint, view, kept
        fingerprint = training_fingerprint(self.distill, *inputs)
        if self.files.overwrite and rank() == 0:
            forget_finished(self.state_file(), fingerprint)
        barrier()
        return distill(
            self.guider,
            training,
            self.distill,
            read=read,
            file=self.state_file(),
            fingerprint=fingerprint,
            facts=self.facts(),
            ask=ask_for_cancel,
            **calls,
        )
