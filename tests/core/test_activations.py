"""The memory of a backward pass, told beforehand, against what a real pass keeps."""

import pytest
import timm
import torch

from ppap_core.activations import activation_bytes


def kept_by_a_real_pass(module, shape):
    """Sizes of all distinct buffers that autograd holds, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in [*module.parameters(), *module.buffers()]}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer = module(torch.zeros(shape, requires_grad=True))
    assert answer.requires_grad  # and all that it holds is still alive
    return sum(kept.values())


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny_patch16_224", "convnext_atto"])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_what_a_real_pass_keeps(name, batch):
    module = timm.create_model(name).eval().requires_grad_(False)
    shape = (batch, 3, 224, 224)
    expected = kept_by_a_real_pass(module, shape)
    assert activation_bytes(module, shape) == pytest.approx(expected, rel=0.1)


def test_nothing_is_computed_inside_inference_mode_either():
    module = torch.nn.Conv2d(3, 8, 3).requires_grad_(False)
    with torch.inference_mode():
        assert activation_bytes(module, (1, 3, 4096, 4096)) < 1e9


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError):
        activation_bytes(torch.nn.Conv2d(3, 8, 3), (1, 4, 16, 16))


def test_a_network_that_keeps_what_it_computed_is_left_alone():
    """LeViT keeps its attention's biases at the first pass."""
    module = timm.create_model("levit_128s").eval().requires_grad_(False)
    image = torch.rand(1, 3, 224, 224)
    expected = timm.create_model("levit_128s").eval().requires_grad_(False)
    expected.load_state_dict(module.state_dict())
    assert activation_bytes(module, image.shape) > 1e6
    torch.testing.assert_close(module(image), expected(image))
