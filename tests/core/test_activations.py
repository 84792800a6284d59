"""The memory of a backward pass, told beforehand, against what has to be kept in closed form."""

import gc

import pytest
import timm
import torch
from torch import nn

from ppap_core.activations import activation_bytes


@pytest.mark.parametrize("batch", [1, 3])
def test_activation_bytes_of_convolution_and_relu_are_exact(batch):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    expected = batch * 4 * 16 * 16 * (3 + 8)  # what the second convolution reads is the ReLU's
    assert activation_bytes(net.requires_grad_(False), (batch, 3, 16, 16)) == expected


def test_counting_leaves_the_network_unchanged_in_inference_mode_too():
    """LeViT keeps its attention's biases at the first pass."""
    module = timm.create_model("levit_128s").eval().requires_grad_(False)
    again = timm.create_model("levit_128s").eval().requires_grad_(False)
    again.load_state_dict(module.state_dict())
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert activation_bytes(module, image.shape) > 1e6
    image.requires_grad_(True)
    answer = module(image)
    torch.testing.assert_close(answer, again(image))
    (gradient,) = torch.autograd.grad(answer.std(), image)
    assert gradient.isfinite().all()


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError):
        activation_bytes(nn.Conv2d(3, 8, 3), (1, 4, 16, 16))


def test_counting_activations_frees_its_memory():
    """An output that a graph keeps for itself, as softmax does, would never be freed."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Softmax(dim=1))
    module.requires_grad_(False)
    gc.collect()
    before = sum(isinstance(o, torch.Tensor) for o in gc.get_objects())
    for _ in range(5):
        activation_bytes(module, (1, 3, 8, 8))
    gc.collect()
    assert sum(isinstance(o, torch.Tensor) for o in gc.get_objects()) == before
