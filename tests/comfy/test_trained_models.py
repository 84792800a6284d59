"""Which model a training on the node belongs to."""

import pytest
import torch

from tests.comfy.test_training import inputs, train  # noqa: F401  (inputs: a fixture)
from tests.comfy.test_user_cases import load, lora, sample  # noqa: F401


@pytest.fixture
def fingerprint(comfyui):
    return comfyui.module("ppap_core.comfy_bridge.checkpoint").model_fingerprint


def test_a_lora_is_part_of_the_model_whether_it_is_merged_or_not(
    load,  # noqa: F811
    call,  # noqa: F811
    sample,  # noqa: F811
    lora,  # noqa: F811
    fingerprint,
):
    """ComfyUI merges it when it samples: the same graph was then taken for another model."""

    def with_lora(strength):
        settings = {"lora_name": lora, "strength_model": strength}
        return call("LoraLoaderModelOnly", model=model, **settings)[0]

    model = load("SD15")
    plain, weak, strong = fingerprint(model), fingerprint(with_lora(0.5)), with_lora(1.0)
    before = fingerprint(strong)
    assert len({plain, weak, before}) == 3
    sample(strong)
    merged = strong.model.diffusion_model.state_dict()["input_blocks.0.0.weight"]
    kept = strong.backup["diffusion_model.input_blocks.0.0.weight"].weight
    assert not torch.equal(merged.cpu(), kept.cpu())
    assert fingerprint(strong) == before and fingerprint(model) == plain
    assert fingerprint(with_lora(1.0)) == before


def test_a_guided_model_is_not_trained_on(comfyui, inputs):  # noqa: F811
    """Its pictures would be guided ones, under the name of the plain model."""
    target = comfyui.module("ppap_core.targets").ClassTarget({0: 1.0}, 10)
    apply = comfyui.node("PPAP_ApplyGuidance").execute
    with torch.inference_mode():
        guided = apply(model=inputs["model"], guider=inputs["guider"], target=target).args[0]
    with pytest.raises(ValueError, match="the model at the socket model is guided already"):
        train(comfyui, inputs | {"model": guided}, "guided")
    assert not (comfyui.base / "output/ppap_training/guided").exists()
