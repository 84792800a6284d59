"""What a training leaves: the expert file, its report and its preview."""

import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..atomic import replace_file
from ..distillation.distill import Distilled
from ..distillation.evaluate import RangeAgreement, merge_silent
from ..distillation.report import report_text, write_report
from ..distillation.training_set import TrainingSet
from ..distillation.workers import rank
from ..errors import one_line
from ..expert_file import ExpertSet, load_experts, save_experts
from ..expert_header import ExpertHeader
from ..spectrum import DataSpectrum
from .cancel import cancellable
from .loaded_guider import LoadedGuider
from .preview import sample_preview

if TYPE_CHECKING:
    from .trainer import Trainer

NUM_FOR_SPECTRUM, AT_ONCE = 512, 8  # pictures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """Of a training by `trainer` on `data`, whose guider reads through `view`."""

    trainer: "Trainer"
    view: str
    data: TrainingSet

    @cached_property
    def parts(self) -> tuple[TrainingSet, TrainingSet]:
        """(what is learned from, what is held out)"""
        return self.data.split(self.trainer.distill.num_heldout)

    @cached_property
    def spectrum(self) -> DataSpectrum:
        learned, _ = self.parts
        rows = torch.arange(len(learned))[:NUM_FOR_SPECTRUM]
        return DataSpectrum.of_states(map(learned.x_0, rows.split(AT_ONCE)))

    def write(self, distilled: Distilled, rows: list[RangeAgreement]) -> ExpertSet:
        """The expert file first, then what describes it. SettingError if its name is taken."""
        files, expert_set = self.trainer.files, self.expert_set(distilled, rows)
        if files.is_taken() and not _holds(Path(files.out), expert_set):
            raise files.taken()  # by something that was not there when the training began
        with files.writing_results():
            save_experts(expert_set, files.out)
            files.so_far_file().unlink(missing_ok=True)
            self._write_report(distilled, rows)
            with cancellable(*self.trainer.checkpoint.networks()):
                self._write_preview(expert_set)
        return expert_set

    def write_so_far(self, distilled: Distilled) -> None:
        """A file of the experts that are done, which guides already; the whole file replaces it."""
        if rank() == 0:
            save_experts(self.expert_set(distilled, []), self.trainer.files.so_far_file())

    def expert_set(self, distilled: Distilled, rows: list[RangeAgreement]) -> ExpertSet:
        trainer, experts = self.trainer, merge_silent(distilled.experts, rows)
        training = asdict(trainer.distill) | {
            "num_images": len(self.parts[0]),
            "losses": distilled.final_losses(),
            "steps_kept": distilled.kept,
            "agreement": [[row.plain, row.expert] for row in rows],
        }
        done, planned = len(distilled.experts), trainer.distill.num_experts
        training |= {"unfinished": f"{done} of {planned} experts"} if done < planned else {}
        header = ExpertHeader.for_guider(
            trainer.guider,
            input=trainer.distill.input,
            view=self.view,
            latent_format=trainer.checkpoint.latent_format_name,
            checkpoint=trainer.checkpoint.name,
            noise_ranges=experts.ranges,
            lora=distilled.lora,
            training=training,
            spectrum=self.spectrum.density,
        )
        return ExpertSet(header, experts, Path(trainer.files.out).name)

    def _write_report(self, distilled: Distilled, rows: list[RangeAgreement]) -> None:
        trainer, (learned, heldout) = self.trainer, self.parts
        info, checkpoint, settings = trainer.guider.info, trainer.checkpoint, trainer.distill
        facts = {
            "guider": f"{info.source} ({info.fingerprint[:12]})",
            "checkpoint": f"{checkpoint.name} ({checkpoint.fingerprint[:12]})",
            "images": f"{len(learned)}, held out {len(heldout)}",
            "input": settings.input,
            "view": self.view,
            "partition": settings.partition,
            "initialisation": settings.initialisation,
        }
        kept = "with their estimates, kept while they were sampled"
        read_as = kept if heldout.estimates else "with new noise"
        text = report_text(Path(trainer.files.out).name, info.kind, rows, distilled, facts, read_as)
        write_report(trainer.files.run_folder(), text, rows, distilled, info.kind)

    def _write_preview(self, expert_set: ExpertSet) -> None:
        """If it fails, a warning: the experts, perhaps hours of training, are written already."""
        trainer = self.trainer
        guider = LoadedGuider(trainer.guider, trainer.patcher)
        place = trainer.checkpoint, guider, expert_set, self.data.answers, trainer.sampler_of
        try:
            preview = sample_preview(*place)
            with replace_file(trainer.files.preview_file()) as partial:
                preview.save(partial, format="PNG")
        except (ValueError, RuntimeError) as error:  # torch's "out of memory" among them
            log.warning("no preview: %s", one_line(error))


def _holds(file: Path, expert_set: ExpertSet) -> bool:
    """Whether `file` has these very experts: this training wrote it before it was stopped."""
    try:
        found = load_experts(file).experts.experts
    except ValueError:
        return False
    wanted = expert_set.experts.experts
    return len(found) == len(wanted) and all(
        one.tensors.keys() == other.tensors.keys()
        and all(value.equal(other.tensors[key].cpu()) for key, value in one.tensors.items())
        for one, other in zip(found, wanted, strict=True)
    )
