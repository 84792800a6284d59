"""Each expert ends with those of its weights that answer best to pictures held out."""

from dataclasses import replace

import pytest
import torch

from ppap_core.distillation.distill import LOOKS, distill
from ppap_core.distillation.evaluate import HeldOut
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
    return HeldOut(guider, heldout).loss


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


@pytest.mark.parametrize("look", [LOOKS // 2, LOOKS])
def test_a_look_that_runs_out_of_memory_ends_the_training_as_it_stood(tmp_path, look):
    """It is no step that could be taken in parts, and the guider has no expert left in it."""
    training, heldout = tiny_data().split(6)
    guider = tiny_guider()
    judge, looks = by_pictures_held_out(guider, heldout), []

    def without_room(expert):
        looks.append(expert)
        if len(looks) == look + 1:
            hook = guider.backbone[-1].register_forward_pre_hook(lambda *_: 1 / 0)
            try:
                with pytest.raises(ZeroDivisionError):
                    judge(expert)
            finally:
                hook.remove()
            raise torch.OutOfMemoryError
        return judge(expert)

    file, whole = tmp_path / "state.safetensors", tiny_guider()
    with pytest.raises(torch.OutOfMemoryError):
        distill(guider, training, AS_PREVIOUS, judge=without_room, file=file)
    found = distill(guider, training, AS_PREVIOUS, judge=judge, file=file)
    expected = distill(whole, training, AS_PREVIOUS, judge=by_pictures_held_out(whole, heldout))
    assert same(tensors_of(found), tensors_of(expected)) and found.kept == expected.kept


@pytest.mark.parametrize("steps", [1, 4, 10, 19, 39, 815])
def test_looks_are_spread_over_a_training_of_any_length(steps):
    looks = [step for step in range(steps + 1) if step * LOOKS % steps < LOOKS]
    assert looks[0] == 0 and looks[-1] == steps and len(looks) == min(steps, LOOKS) + 1


def test_pictures_held_out_have_their_noise_however_many_are_read_at_once():
    guider, data = tiny_guider(), tiny_data()
    experts = distill(guider, data, AS_PREVIOUS).experts
    rows = {num: HeldOut(guider, data, at_once=num).rows(experts) for num in (1, 5, 64)}
    for row, *others in zip(rows[64], rows[5], rows[1], strict=True):
        assert row.plain == others[0].plain == others[1].plain
        one = HeldOut(guider, data, at_once=7)
        expert = next(e for e in experts.experts if e.noise_range == row.noise_range)
        for loss in (one.loss(expert), *(other.expert_loss for other in others)):
            assert loss == pytest.approx(row.expert_loss, rel=1e-5)
    assert guider.switch.active is None


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
        rows[judge is None] = HeldOut(guider, heldout).rows(experts)
    assert all(row.expert_loss <= row.plain_loss for row in rows[False])
    assert any(row.expert_loss > row.plain_loss for row in rows[True])
