"""A device that has no room for a whole batch: the work goes on in smaller parts."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from ppap_core.distillation.distill import distill
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.out_of_memory import AtOnce, is_out_of_memory
from tests.core.test_run import SETTINGS, same, tensors_of, tiny_data, tiny_guider


def of_processor():
    """What torch raises without a GPU."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    return caught.value


@contextmanager
def room_for(guider, num, error=None):
    """Of more pictures `guider` and its students run out of memory; yields the passes' sizes."""
    sizes = []

    def before(layer, args):
        sizes.append(len(args[0]))
        if len(args[0]) > num:
            raise error or torch.OutOfMemoryError("no room")

    hook = next(iter(guider.backbone.children())).register_forward_pre_hook(before)
    try:
        yield sizes
    finally:
        hook.remove()


def test_what_is_out_of_memory():
    assert is_out_of_memory(of_processor()) and is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shapes"))


def test_the_teacher_reads_as_many_as_fit(caplog):
    guider, images = tiny_guider(), torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    whole, fit = teacher_answers(guider, images), AtOnce(16)
    with room_for(guider, 5, of_processor()) as sizes:
        for _ in range(2):
            answers = fit.of(lambda num: teacher_answers(guider, images, num))
            torch.testing.assert_close(answers, whole)
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4]  # found once
    assert "4 pictures at once" in caplog.text
    with room_for(guider, 0), pytest.raises(torch.OutOfMemoryError):
        fit.of(lambda num: teacher_answers(guider, images, num))


def test_a_step_that_does_not_fit_is_taken_in_parts(caplog):
    settings = replace(SETTINGS, batch_size=8)
    in_parts = distill(tiny_guider(), tiny_data(), replace(settings, accumulation=4))
    guider = tiny_guider()
    with room_for(guider, 2) as sizes:
        found = distill(guider, tiny_data(), settings)
    assert same(tensors_of(found), tensors_of(in_parts)) and found.losses == in_parts.losses
    assert sizes.count(8) == sizes.count(4) == 1  # found once
    assert caplog.text.count("a step pass in") == 2 and "in 4 parts" in caplog.text


def test_what_does_not_fit_at_all_is_said():
    guider = tiny_guider()
    with room_for(guider, 0) as sizes, pytest.raises(torch.OutOfMemoryError):
        distill(guider, tiny_data(), replace(SETTINGS, batch_size=4))
    assert sizes == [4, 2, 1]
