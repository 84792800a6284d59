"""A whole training with ComfyUI's help: draw pictures, teach, evaluate, write, show.

The command line and the node *Train PPAP Experts* differ only in what they hand in here.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import comfy.model_management
import torch

from ..atomic import replace_file
from ..distillation.dataset import build_training_set
from ..distillation.distill import Distilled, Progress, TrainingSet, distill
from ..distillation.evaluate import RangeAgreement, agreement_per_range, merge_silent
from ..distillation.generate import GenerateSettings, generate, missing_batches
from ..distillation.images import check_source, read_source
from ..distillation.report import report, write_report
from ..distillation.run import identity
from ..distillation.settings import DistillSettings
from ..distillation.workers import barrier, rank
from ..expert_file import ExpertHeader, ExpertSet, save_experts
from ..guiders import Guider
from .checkpoint import Checkpoint
from .drawing import build_draw, picture_size
from .memory import WholeModulePatcher
from .preview import draw_preview
from .reading import build_reader


def check_output(out: Path, overwrite: bool = False) -> None:
    """ValueError unless the expert file may be written."""
    if out.suffix != ".safetensors":
        raise ValueError(f"an expert file is called name.safetensors, got {str(out)!r}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: choose another name, or allow to overwrite it")


@dataclass(frozen=True)
class Trainer:
    """What goes into a training.

    `patcher`: the guider's, by which ComfyUI knows its memory. `conditioning`: CONDITIONING by
    prompt, the empty one among them. `images`, `run`: folders of the pictures, and of the state
    and report. `labels`: a CSV, for the supervised baseline.
    """

    checkpoint: Checkpoint
    guider: Guider
    patcher: WholeModulePatcher
    conditioning: dict[str, list]
    drawing: GenerateSettings
    distilling: DistillSettings
    images: Path
    run: Path
    out: Path
    labels: Path | None = None
    force: bool = False

    def num_missing(self) -> int:
        """Pictures still to be drawn, by this process."""
        return sum(map(len, missing_batches(self.drawing, self.images)))

    def picture_bytes(self) -> int:
        """About what one picture takes on disk: a PNG at two thirds, a latent in half precision."""
        width, height = picture_size(self.checkpoint, self.drawing)
        latent = 0
        if not self.checkpoint.works_on_pixels:
            latent = 2 * torch.Size(self.checkpoint.latent_shape(width, height)).numel()
        return 2 * width * height + latent

    def draw_pictures(self, watch: Callable[[int], None]) -> None:
        """Draw what the folder lacks. ValueError if the disk has no room for it."""
        _need_space(self.images, self.num_missing() * self.picture_bytes())
        source = {
            "checkpoint": self.checkpoint.name,
            "fingerprint": self.checkpoint.fingerprint,
            "latent_format": self.checkpoint.latent_format_name,
        }
        draw = build_draw(self.checkpoint, self.drawing, self.conditioning)
        generate(draw, self.drawing, self.images, source, force=self.force, watch=watch)

    def training_set(self, watch: Callable[[int], None]) -> TrainingSet:
        check_source(self.images, self.checkpoint.fingerprint, self.force)
        comfy.model_management.load_models_gpu([self.patcher])
        pixels = self.checkpoint.works_on_pixels
        return build_training_set(
            self.images,
            self.guider,
            process_in=None if pixels else self.checkpoint.latent_format.process_in,
            labels=self.labels,
            cache=self.run / "teacher.safetensors",
            watch=watch,
        )

    def reader(self):
        """(view's name, reader): how these experts see the model's states."""
        empty = self.conditioning[""]
        cfg = self.as_drawn().cfg
        return build_reader(self.checkpoint, self.distilling, empty, cfg, self.patcher)

    def as_drawn(self) -> GenerateSettings:
        """How the folder's pictures were drawn, where it says so, with the empty prompt."""
        source = read_source(self.images)
        return GenerateSettings(**source.get("settings", asdict(self.drawing)) | {"prompts": ""})

    def teach(
        self, data: TrainingSet, watch: Callable[[Progress], None]
    ) -> tuple[ExpertSet, list[RangeAgreement]] | None:
        """Distil, evaluate, write the expert file and its report. None in all but one process."""
        view, read = self.reader()
        comfy.model_management.load_models_gpu([self.patcher])
        train, heldout = data.split(self.distilling.num_heldout)
        distilled = distill(
            self.guider,
            train,
            self.distilling,
            read=read,
            file=self.run / "state.safetensors",
            identity=identity(self.distilling, data.name, self.checkpoint.fingerprint, view),
            watch=watch,
        )
        barrier()
        if rank() > 0:
            return None
        rows = agreement_per_range(
            self.guider,
            distilled.experts,
            heldout,
            read=read,
            temperature=self.distilling.temperature,
        )
        expert_set = self._collect(distilled, rows, view, len(train))
        save_experts(expert_set, self.out)
        kind, facts = self.guider.info.kind, self._facts(len(train), len(heldout))
        text = report(self.out.name, kind, rows, distilled, facts)
        write_report(self.run, text, rows, distilled, kind)
        self._preview(expert_set, data)
        return expert_set, rows

    def _collect(self, distilled: Distilled, rows, view: str, num_images: int) -> ExpertSet:
        experts = merge_silent(distilled.experts, rows)
        training = asdict(self.distilling) | {
            "num_images": num_images,
            "losses": distilled.final_losses(),
            "agreement": [[row.plain, row.expert] for row in rows],
        }
        header = ExpertHeader.for_guider(
            self.guider,
            input=self.distilling.input,
            view=view,
            latent_format=self.checkpoint.latent_format_name,
            checkpoint=self.checkpoint.name,
            noise_ranges=experts.ranges,
            lora=distilled.lora,
            training=training,
        )
        return ExpertSet(header, experts, self.out.name)

    def preview_file(self) -> Path:
        """Beside the expert file, under the name that model managers look for."""
        return self.out.with_suffix(".preview.png")

    def _preview(self, expert_set: ExpertSet, data: TrainingSet) -> None:
        """After hours of training, a preview that cannot be drawn is a warning and no more."""
        try:
            with replace_file(self.preview_file()) as partial:
                draw_preview(self, expert_set, data).save(partial, format="PNG")
        except (ValueError, RuntimeError) as error:  # torch's "out of memory" among them
            logging.warning("no preview: %s", error)

    def _facts(self, num_images: int, num_heldout: int) -> dict[str, object]:
        info, settings = self.guider.info, self.distilling
        return {
            "guider": f"{info.source} ({info.fingerprint[:12]})",
            "checkpoint": f"{self.checkpoint.name} ({self.checkpoint.fingerprint[:12]})",
            "images": f"{num_images}, held out {num_heldout}",
            "input": settings.input,
            "partition": settings.partition,
            "initialisation": settings.initialisation,
        }


def _need_space(folder: Path, num_bytes: int) -> None:
    """ValueError, before anything is written, if the disk has no room."""
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise ValueError(
            f"{existing} has {free / 1e9:.1f} GB free, this needs about {num_bytes / 1e9:.1f} GB"
        )
