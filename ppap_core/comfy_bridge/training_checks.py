"""What can be known before a training touches anything: a refused one leaves no trace."""

from typing import TYPE_CHECKING

from ..atomic import check_writable
from ..distillation.generate import check_pictures
from ..distillation.images import check_source
from ..distillation.state import check_state, is_finished, settings_by_name
from ..distillation.teacher import check_labels
from ..errors import SettingError
from .pictures import picture_size

if TYPE_CHECKING:
    from .trainer import Trainer


def check_training(trainer: "Trainer") -> None:
    """ValueError or OSError, in one line, if `trainer` would be stopped later by its settings.

    It names the setting that differs from those of the pictures or the state in its folders, with
    both values.
    """
    files = trainer.files
    if trainer.draws:
        _check_drawing(trainer)
    else:
        check_source(files.image_folder(), trainer.checkpoint.fingerprint, files.force)
    if trainer.distils:
        files.check_out()
        trainer.check_view()
        if files.labels:
            check_labels(trainer.guider)
        state = trainer.state_file()
        if not (files.overwrite and is_finished(state)):
            check_state(state, settings_by_name(trainer.distill) | trainer.facts())
    else:
        check_writable(files.image_folder(), "images")


def _check_drawing(trainer: "Trainer") -> None:
    checkpoint, folder = trainer.checkpoint, trainer.files.image_folder()
    checkpoint.latent_shape(*picture_size(checkpoint, trainer.generate))
    checkpoint.check_decodes()
    trainer.generate.read_prompts()
    check_pictures(folder, trainer.generate, checkpoint.fingerprint, trainer.files.force)
    keeps = trainer.distill.input == "x0_hat" and trainer.distill.estimates == "kept"
    if trainer.distils and keeps and not trainer.generate.num_estimates:
        raise SettingError(
            "experts are to learn from kept estimates, and num_estimates is 0: keep some, or take "
            "fresh estimates",
            "estimates",
        )
