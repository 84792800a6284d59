"""Load Off-the-shelf Guider: depth and segmentation models, and names that are not here."""

import pytest
import torch


def load(comfyui, name, **options):
    with torch.inference_mode():
        return comfyui.node("PPAP_LoadGuider").execute(name, **options).args[0]


@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_a_transformers_guider_is_moved_by_comfyui_and_gives_gradients(comfyui, task):
    loaded = load(comfyui, f"demo-scenes-{task}")
    assert loaded.guider.info.task == task
    import comfy.model_management

    comfy.model_management.load_models_gpu([loaded.patcher])
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    loaded.guider(image).std().backward()
    assert image.grad.abs().sum() > 0


def test_presets_are_offered_last_and_refused_while_not_allowed(comfyui):
    schema = comfyui.node("PPAP_LoadGuider").define_schema()
    guider, allow_download = schema.inputs
    presets = list(comfyui.module("ppap_core.guiders").PRESETS)
    assert guider.options[-len(presets) :] == presets and guider.options[0].startswith("demo-")
    assert (allow_download.id, allow_download.default) == ("allow_download", False)
    assert allow_download.optional
    with pytest.raises(ValueError, match="tick allow_download, or download config.json"):
        load(comfyui, presets[0])
