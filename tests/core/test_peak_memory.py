"""The most memory that a pass and its backward pass take, against what they must keep."""

import pytest
import torch
from torch import nn

from ppap_core.peak_memory import Tally, peak_of

NUMBERS = 1000
MAP = 4 * NUMBERS  # bytes


class Chain(nn.Module):
    """Each exponential keeps its result for the backward pass."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        self.scale = nn.Parameter(torch.ones(NUMBERS), requires_grad=False)

    def forward(self, x):
        for _ in range(self.length):
            x = x.exp()
        return x


def test_each_layer_adds_what_it_keeps_and_weights_do_not_count():
    peaks = [peak_of(Chain(n), lambda m, x: m(x), (1, NUMBERS)).num_bytes for n in (2, 3, 6)]
    assert peaks[1] - peaks[0] == MAP
    assert peaks[2] - peaks[1] == 3 * MAP
    assert peaks[0] <= 5 * MAP  # two results, and gradients of them and of x


def test_what_is_freed_on_the_way_counts_at_its_height():
    def detour(module, x):
        return module(x) + x.detach().repeat(50, 1).sum(0)

    plain = peak_of(Chain(1), lambda m, x: m(x), (1, NUMBERS))
    high = peak_of(Chain(1), detour, (1, NUMBERS))
    assert high.num_bytes == pytest.approx(51 * MAP, abs=2 * MAP)
    assert high.num_bytes > 10 * plain.num_bytes
    assert high.shape == (1, NUMBERS)


def test_half_precision_takes_half():
    def half(module, x):
        return module(x.half())

    wide, narrow = (peak_of(Chain(9), c, (1, NUMBERS)) for c in (lambda m, x: m(x), half))
    assert narrow.num_bytes < 0.65 * wide.num_bytes


def test_nothing_is_computed_and_the_module_stays_as_it_is():
    """At a size that no machine could hold."""
    module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)).eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    peak = peak_of(module, lambda m, x: m(x), (1, 3, 1_000_000, 1_000_000))
    assert peak.num_bytes > 1e14
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_the_estimate_is_what_a_real_run_takes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8))
    net.requires_grad_(False)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    with Tally([*net.parameters(), x]) as tally:
        answer = net(x)
        torch.autograd.grad(answer, x, torch.ones_like(answer))
    assert peak_of(net, lambda m, x: m(x), x.shape).num_bytes == tally.most


class Owner:
    """Frees something when it goes, as ComfyUI's places in dynamic VRAM do."""

    freed = 0

    def __del__(self):
        Owner.freed += 1


def test_what_owns_a_resource_is_not_copied():
    module = nn.Linear(4, 4).requires_grad_(False)
    module.owner, module.place, module.by_name = Owner(), (Owner(), 1), {"one": Owner()}
    peak_of(module, lambda m, x: m(x), (1, 4))
    assert Owner.freed == 0
