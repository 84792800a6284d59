"""What a training leaves: the expert file, its report and its preview."""

import logging
from dataclasses import asdict
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

NUM_FOR_SPECTRUM = 512  # pictures

log = logging.getLogger(__name__)


def write_results(
    trainer: "Trainer",
    distilled: Distilled,
    rows: list[RangeAgreement],
    view: str,
    data: TrainingSet,
) -> ExpertSet:
    """The expert file first, then what describes it. SettingError if another file has its name."""
    training, heldout = data.split(trainer.distill.num_heldout)
    expert_set = expert_set_of(trainer, distilled, rows, view, training)
    if trainer.files.is_taken() and not _holds(Path(trainer.files.out), expert_set):
        raise trainer.files.taken()  # by something that was not there when the training began
    with trainer.files.writing_results():
        save_experts(expert_set, trainer.files.out)
        trainer.files.so_far_file().unlink(missing_ok=True)
        write_results_report(trainer, distilled, rows, view, training, heldout)
        with cancellable(*trainer.checkpoint.networks()):
            write_preview(trainer, expert_set, data)
    return expert_set


def write_so_far(
    trainer: "Trainer", distilled: Distilled, view: str, training: TrainingSet
) -> None:
    """A file of the experts that are done, which guides already; the whole file replaces it."""
    if rank() == 0:
        expert_set = expert_set_of(trainer, distilled, [], view, training)
        save_experts(expert_set, trainer.files.so_far_file())


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


def expert_set_of(
    trainer: "Trainer",
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
    done, planned = len(distilled.experts), trainer.distill.num_experts
    training |= {"unfinished": f"{done} of {planned} experts"} if done < planned else {}
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


def write_results_report(
    trainer: "Trainer",
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


def write_preview(trainer: "Trainer", expert_set: ExpertSet, data: TrainingSet) -> None:
    """If it fails, a warning: the experts, perhaps hours of training, are written already."""
    checkpoint, guider = trainer.checkpoint, LoadedGuider(trainer.guider, trainer.patcher)
    try:
        preview = sample_preview(checkpoint, guider, expert_set, data.answers, trainer.sampler_of)
        with replace_file(trainer.files.preview_file()) as partial:
            preview.save(partial, format="PNG")
    except (ValueError, RuntimeError) as error:  # torch's "out of memory" among them
        log.warning("no preview: %s", one_line(error))
