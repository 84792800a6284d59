"""A pass that is asked to stop stops there, forwards or backwards, and leaves nothing behind."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ppap_core.distillation.distill import distill
from ppap_core.distillation.state import resume, settings_by_name
from ppap_core.interruptible import interruptible
from tests.core.test_run import SETTINGS, same, tensors_of, tiny_data, tiny_guider
from tests.hooks import num_hooks


class Cancelled(BaseException):
    """As ComfyUI's InterruptProcessingException: no Exception, so that nothing swallows it."""


def networks():
    """With layers that compute in place, in other ways where hooks are, or give several tensors."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
    return {
        "in place": nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True), nn.Linear(16, 16)),
        "norms": nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(5), nn.Dropout(0.3)),
        "fast path": nn.TransformerEncoder(encoder, 2).eval(),
        "tuples": nn.LSTM(16, 16, num_layers=2),
    }


@pytest.mark.parametrize("name", networks())
def test_values_and_gradients_are_the_same_bits(name):
    def run(asked):
        net, generator = networks()[name], torch.Generator().manual_seed(1)
        x = torch.randn(3, 5, 16, generator=generator, requires_grad=True)
        torch.manual_seed(2)
        with torch.no_grad(), interruptible([net] * asked, lambda: None):
            plain = net(x)
        with interruptible([net, None] * asked, lambda: None):
            answer = net(x)
            answer = answer[0] if isinstance(answer, tuple) else answer
            answer.square().sum().backward()
        plain = plain[0] if isinstance(plain, tuple) else plain
        assert not num_hooks(net)
        return [plain, answer, x.grad, *(p.grad for p in net.parameters())]

    assert all(one.equal(other) for one, other in zip(run(False), run(True), strict=True))


def test_every_layer_asks_before_its_pass_and_before_its_backward_pass():
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    asked = []
    with interruptible([net], lambda: asked.append(None)):
        answer = net(torch.ones(1, 4, requires_grad=True))
        forwards = len(asked)
        answer.sum().backward()
    assert forwards >= 6 and len(asked) - forwards >= 6


@pytest.mark.parametrize("nth", [1, 3, 9, 17])
def test_a_backward_pass_is_left_where_it_is(nth):
    """No layer after the one that was asked about computes its gradients."""
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(16)))
    asked, is_backward = [], []

    def ask():
        asked.extend(is_backward)
        if len(asked) == nth:
            raise Cancelled

    with pytest.raises(Cancelled):
        with interruptible([net], ask):
            answer = net(torch.ones(1, 4, requires_grad=True)).sum()
            is_backward.append(True)
            answer.backward()
    done = [layer.weight.grad is not None for layer in net]
    assert done == sorted(done) and nth - 2 <= sum(done) < nth
    assert not num_hooks(net)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.77, 0.999])
def test_a_training_cancelled_inside_a_step_resumes_with_the_same_bits(tmp_path, share):
    """Batch norms have changed their statistics by then: the step is undone, and kept."""
    settings, counted = replace(SETTINGS, steps=6), []
    whole = tensors_of(distill(tiny_guider(), tiny_data(), settings))
    watched = distill(tiny_guider(), tiny_data(), settings, ask=lambda: counted.append(None))
    assert same(tensors_of(watched), whole)
    file, asked, steps = tmp_path / "state.safetensors", [], []

    def ask():
        asked.append(None)
        if len(asked) == 1 + int(share * len(counted)):
            raise Cancelled

    with pytest.raises(Cancelled):
        distill(tiny_guider(), tiny_data(), settings, file=file, ask=ask, watch=steps.append)
    state = resume(file, "", settings_by_name(settings))
    assert sum(map(len, state.losses)) == len(steps)  # not one finished step is lost
    guider = tiny_guider()
    assert same(tensors_of(distill(guider, tiny_data(), settings, file=file)), whole)
    assert num_hooks(guider) == num_hooks(tiny_guider())
