"""What is measured of which network, in pieces that are kept."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from evidence.photographs import transfer
from evidence.photographs.gradients import measure_gradients
from evidence.photographs.latents import build_view, encode
from evidence.photographs.lessons import Lesson, lessons, measure, teach
from evidence.photographs.networks import DEEPLAB_V3, EFFICIENTNET, MOBILENET_V2, load_network
from evidence.photographs.pictures import Photographs, load_large, load_photographs
from ppap_core.atomic import save_safetensors
from ppap_core.comfy_bridge.headless import boot
from ppap_core.distillation.batch import FROM_NOISE, Reader
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.guiders import Guider

TEACHING = torch.bfloat16  # of decoders: a third of the time, values change by 0.004 in [-1, 1]
NUM_LARGE, LARGE, READ = 8, 448, 224  # pictures for gradients, their side, and the guiders'

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """Where everything lies; `steps`: of each lesson's experts together."""

    photographs: Path | None
    networks: Path | None
    cache: Path
    steps: int

    @cached_property
    def pictures(self) -> Photographs:
        """ValueError if they are not there."""
        cache = self.cache / "pictures.safetensors"
        if self.photographs is None and not cache.exists():
            raise ValueError("--photographs is missing: sources.py says what lies in that folder")
        return load_photographs(self.photographs, cache)

    def answers(self, network: str, guider: Guider, part: str, pictures: Tensor) -> Tensor:
        """The teacher's, to the clean `pictures`; kept."""
        file = self.cache / network / f"answers {part}.safetensors"
        if not file.exists():
            save_safetensors({"answers": teacher_answers(guider, pictures).half()}, file, {})
        return load_file(file)["answers"]

    def states(self, part: str, pictures: Tensor, lesson: Lesson) -> Tensor:
        """What gets the noise: `pictures`, or their latents, which are kept."""
        if not lesson.view:
            return pictures
        file = self.cache / f"latents {part}.safetensors"
        if not file.exists():
            save_safetensors({"latents": encode(pictures, self.networks)}, file, {})
        return load_file(file)["latents"]

    def reader(self, lesson: Lesson, dtype: torch.dtype = torch.float32) -> Reader:
        """A decoder computes in `dtype`."""
        if not lesson.view:
            return FROM_NOISE
        return Reader(view=build_view(lesson.view, self.networks, dtype))

    def measured_file(self, network: str, lesson: Lesson, part: str) -> Path:
        return self.cache / network / f"{lesson} {lesson.steps}, {part}.safetensors"

    def measured(self, network: str, part: str) -> Iterator[tuple[Lesson, dict[str, Tensor]]]:
        """What there is so far."""
        for lesson in lessons(self.steps):
            if (file := self.measured_file(network, lesson, part)).exists():
                yield lesson, load_file(file)


def run_noise(study: Study, networks: Sequence[str]) -> None:
    """Teach and measure what is missing; the most important rows of all networks come first."""
    asked = lessons(study.steps)
    if study.networks is None:
        log.warning("rows through latents are left out: they need --networks")
        asked = [lesson for lesson in asked if not lesson.view]
    else:
        boot()
    torch.set_num_threads(1)
    for lesson in asked:
        for network in networks:
            try:
                guider = load_network(network, study.networks, study.cache)
            except ValueError as error:
                log.warning("%s is left out: %s", network, error)
                continue
            _run(study, network, guider, lesson)


def _run(study: Study, network: str, guider: Guider, lesson: Lesson) -> None:
    heldout = study.pictures.heldout
    missing = [p for p in heldout if not study.measured_file(network, lesson, p).exists()]
    if not missing:
        return
    log.info("%s: %s", network, lesson)
    read, experts = study.reader(lesson), None
    if lesson.num_experts:
        learned = study.pictures.learned
        answers = study.answers(network, guider, "learned", learned)
        data = TrainingSet(study.states("learned", learned, lesson), answers)
        file = study.cache / network / f"{lesson} {lesson.steps}.safetensors"
        experts = teach(guider, data, lesson, study.reader(lesson, TEACHING), file)
    for part in missing:
        answers = study.answers(network, guider, part, heldout[part])
        file = study.measured_file(network, lesson, part)
        states = study.states(part, heldout[part], lesson)
        found = measure(guider, experts, states, answers, read, file)
        log.info("%s, %s: %s", network, part, found["agreement"].mean(dim=1))


def run_gradients(study: Study) -> None:
    """Measure what is missing of the gradients of a classifier and of a segmentation model."""
    if study.photographs is None or study.networks is None:
        log.warning("the gradients are left out: they need --photographs and --networks")
        return
    boot()
    torch.set_num_threads(1)
    pictures = load_large(study.photographs, NUM_LARGE, LARGE)
    for network in (EFFICIENTNET, DEEPLAB_V3):
        guider = load_network(network, study.networks, study.cache, READ)
        answers = study.answers(network, guider, "large", pictures).float()
        folder = study.cache / network
        if network == EFFICIENTNET:
            log.info("%s: transfer", network)
            judge = load_network(MOBILENET_V2, study.networks, study.cache, READ)
            some = load_large(study.photographs, transfer.NUM, transfer.SIDE)
            seen = study.answers(network, guider, "larger", some).float()
            transfer.measure_transfer(guider, judge, seen, some, study.networks, folder)
        log.info("%s: gradients", network)
        measure_gradients(guider, answers, pictures, study.networks, folder)
