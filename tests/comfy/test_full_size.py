"""The layouts in which `python -m evidence.full_size` measures are those of real models."""

import pytest

from evidence.full_size import CASES, READINGS, Case, chosen, sides
from evidence.full_size_models import LAYOUTS, build_without_weights

FLUX = next(name for name in LAYOUTS if name.startswith("Flux"))
PARAMETERS = {  # of the published files
    "SD1.5": 859_520_964,
    "SDXL": 2_567_463_684,
    "SD3 medium": 2_084_951_104,
    "Wan 2.1 1.3B, 5 frames": 1_418_996_800,
    "Flux": 11_901_408_320,
}
WHOLE = {name: layout for name, layout in LAYOUTS.items() if name != FLUX}
WHOLE["Flux"] = LAYOUTS[FLUX]._replace(
    unet=LAYOUTS[FLUX].unet | {"depth": 19, "depth_single_blocks": 38}
)


def weights_of(layout):
    """Without numbers."""
    return build_without_weights(layout).diffusion_model.state_dict()


@pytest.mark.parametrize("name", LAYOUTS)
def test_comfyui_recognises_a_layout_as_the_model_that_it_stands_for(comfyui, name):
    import comfy.model_detection

    layout = LAYOUTS[name]
    found = comfy.model_detection.model_config_from_unet(weights_of(layout), "")
    assert type(found).__name__ == layout.config
    built = {key: value.shape for key, value in weights_of(layout).items()}
    again = weights_of(layout._replace(unet=found.unet_config))
    assert {key: value.shape for key, value in again.items()} == built


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_layout_has_as_many_parameters_as_the_published_model(comfyui, name):
    weights = weights_of(WHOLE[name])
    assert sum(tensor.numel() for tensor in weights.values()) == PARAMETERS[name]


def test_flags_choose_the_cases():
    assert chosen({"model": None, "cfg": None}) == list(CASES)
    assert chosen({"size": "768x512"}) == [case._replace(size="768x512") for case in READINGS]
    one = {"cfg": 1.0, "input": "x0_hat", "view": "vae", "jacobian": "none"}
    assert chosen(one) == [Case(view="vae")]
    assert {case.jacobian for case in chosen({"input": "x_t", "jacobian": "jvp"})} == {""}


def test_a_size_is_the_side_of_a_square_or_width_and_height():
    assert sides("512") == (512, 512)
    assert sides("768x512") == (768, 512)
