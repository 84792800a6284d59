"""Each expert ends with those of its weights that answer best to pictures held out."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ppap_core.distillation.distill import LOOKS, distill
from ppap_core.distillation.evaluate import agreement_per_range, loss_of
from ppap_core.distillation.training_set import TrainingSet
from tests.core.test_run import SETTINGS, same, tensors_of, tiny_data, tiny_guider

AS_PREVIOUS = replace(SETTINGS, initialisation="carry_over", steps=2 * LOOKS, ema_decay=0.0)


class Judge:
    """Says what `losses` says, look by look, and remembers what it looked at."""

    def __init__(self, losses: list[float]):
        self.losses, self.seen = iter(losses), []

    def __call__(self, expert) -> float:
        self.seen.append(dict(expert.tensors))
        return next(self.losses)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("best", [0, 3, LOOKS])
def test_the_weights_of_the_lowest_loss_are_kept(best, ema_decay):
    losses = [1.0 if look == best else 2.0 + look % 2 for look in range(LOOKS + 1)]
    judge = Judge(2 * losses)
    settings = replace(AS_PREVIOUS, ema_decay=ema_decay)
    found = tensors_of(distill(tiny_guider(), tiny_data(), settings, judge=judge))
    assert len(judge.seen) == 2 * (LOOKS + 1)
    assert same(found, [judge.seen[best], judge.seen[LOOKS + 1 + best]])
    others = [look for look in range(LOOKS + 1) if look != best]
    assert not any(same(found[:1], [judge.seen[look]]) for look in others)


def test_the_next_expert_starts_from_what_was_kept():
    losses = [1.0 if look == 3 else 2.0 for look in range(LOOKS + 1)]
    judge = Judge(2 * losses)
    distill(tiny_guider(), tiny_data(), AS_PREVIOUS, judge=judge)
    assert same([judge.seen[LOOKS + 1]], [judge.seen[3]])


def by_pictures_held_out(guider, heldout: TrainingSet):
    """A judge of the guider's own answers."""
    return partial(loss_of, guider, data=heldout)


@pytest.mark.parametrize("stop_after", [1, 9, 20, 21, 30, 39])
def test_a_stopped_training_keeps_the_same(tmp_path, stop_after):
    training, heldout = tiny_data().split(6)

    def run(**calls):
        guider = tiny_guider()
        judge = by_pictures_held_out(guider, heldout)
        return distill(guider, training, AS_PREVIOUS, judge=judge, **calls)

    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    file = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(file=file, watch=stop)
    assert same(tensors_of(run(file=file)), tensors_of(run()))


def test_what_is_learned_by_heart_is_not_kept():
    """Wrong answers are taught, so that every step is one away from those to pictures held out."""
    training, heldout = tiny_data().split(6)
    guider = tiny_guider()
    with torch.no_grad():
        right = guider(heldout.x_0(torch.arange(len(heldout))))
    heldout = TrainingSet(heldout.states, right)
    settings = replace(AS_PREVIOUS, learning_rate=0.05)
    rows = {}
    for judge in (None, by_pictures_held_out(guider, heldout)):
        experts = distill(guider, training, settings, judge=judge).experts
        rows[judge is None] = agreement_per_range(guider, experts, heldout)
    assert all(row.expert_loss <= row.plain_loss for row in rows[False])
    assert any(row.expert_loss > row.plain_loss for row in rows[True])
