"""Target Words in the real ComfyUI: guided pictures, experts, reports, errors before sampling."""

import pytest
import torch

from demo.scene_files import load_heldout_scenes
from tests.core.tiny_guiders import embedding_folder

NAMES = {"clip": "CLIPModel", "siglip": "SiglipModel", "dino": "Dinov2Model"}
TRAINING = {
    **{"num_images": 24, "width": 32, "height": 32, "sampling_steps": 3, "num_experts": 1},
    **{"steps": 4, "batch_size": 8, "guider_input": "x0_hat", "seed": 0},
}


@pytest.fixture(scope="module")
def guiders(comfyui):
    """Small networks with random weights, loaded by the node."""
    root = comfyui.base / "models" / "ppap_guiders"
    root.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        load = comfyui.node("PPAP_LoadGuider").execute
        return {
            name: load(embedding_folder(root / f"tiny-{name}", kind).name).args[0]
            for name, kind in NAMES.items()
        }


@pytest.fixture(scope="module")
def image():
    """Two scenes as an IMAGE."""
    return (load_heldout_scenes().pictures(slice(0, 2)).movedim(1, -1) + 1) / 2


def words(comfyui, guider, text="", away_from="", **changes):
    with torch.inference_mode():
        return comfyui.node("PPAP_TargetWords").execute(guider, text, away_from, **changes)


def sample(comfyui, demo_model, guider=None, target=None, steps=6):
    model, empty = demo_model
    with torch.inference_mode():
        return (
            comfyui.node("PPAP_GuidedKSampler")
            .execute(
                model=model,
                **{"seed": 5, "steps": steps, "cfg": 1.0, "positive": empty, "negative": empty},
                **{"guider": guider, "target": target, "denoise": 1.0},
                **{"sampler_name": "ddim", "scheduler": "ddim_uniform"},
                latent_image={"samples": torch.zeros(2, 3, 32, 32)},
            )
            .args
        )


def alike(guider, target, latent):
    """The cosine with the first thing asked for, outside inference mode, without experts."""
    guider.guider.switch.restore()
    device = next(guider.guider.parameters()).device
    with torch.no_grad():
        answer = guider.guider(latent["samples"].clone().to(device))
    return target.cosines(answer)[:, 0].mean().item()


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_pictures_become_like_the_words_and_the_report_says_how_much(
    comfyui, demo_model, guiders, name
):
    guider = guiders[name]
    target, info = words(comfyui, guider, "a red cone:2", "the blue floor").args
    assert info == 'asks for "a red cone" (weight 2)\naway from "the blue floor"'
    latent, guided = sample(comfyui, demo_model, guider, target)
    plain, _ = sample(comfyui, demo_model)
    assert alike(guider, target, latent) > alike(guider, target, plain) + 0.02
    with torch.inference_mode():
        report = comfyui.node("PPAP_GuidanceReport").execute(guided, latent, 3).args[2]
    first = report.splitlines()[0]
    assert first.startswith(f"embedding guidance by {NAMES[name]}: on average over 2 pictures the")
    assert '"a red cone"' in first and ("(cosine)" in first) == (name == "clip")


def test_a_reference_is_followed_by_a_model_that_knows_no_words(
    comfyui, demo_model, guiders, image
):
    guider = guiders["dino"]
    shown = words(comfyui, guider, image=image, line_per_picture=True)
    target = shown.args[0]
    assert shown.ui["text"] == ("asks for 2 reference pictures",)
    references = {"samples": image.movedim(-1, 1) * 2 - 1}
    assert alike(guider, target, references) > 0.999
    latent, _ = sample(comfyui, demo_model, guider, target)
    plain, _ = sample(comfyui, demo_model)
    assert alike(guider, target, latent) > alike(guider, target, plain) + 0.02


def test_experts_are_trained_and_guide(comfyui, demo_model, guiders, image):
    model, conditioning = demo_model
    inputs = {"model": model, "conditioning": conditioning, "guider": guiders["clip"]}
    with torch.inference_mode():
        train = comfyui.node("PPAP_TrainExperts").execute
        guider, preview, report = train(**inputs, name="words", **TRAINING).result
    assert "on 2 pictures held out (cosine less the mean picture's)" in report
    assert preview.shape[-1] == 3 and preview.std() > 0.05
    target, _ = words(comfyui, guider, "a red cone", image=image[:1]).args
    latent, guided = sample(comfyui, demo_model, guider, target)
    plain, _ = sample(comfyui, demo_model)
    assert alike(guider, target, latent) > alike(guider, target, plain)
    with torch.inference_mode():
        report = comfyui.node("PPAP_GuidanceReport").execute(guided, latent, 3).args[2]
    assert "experts 0 of 1 answered" in report


def test_wrong_guiders_and_empty_texts_are_refused(comfyui, demo_model, guiders, image):
    with torch.inference_mode():
        classifier = comfyui.node("PPAP_LoadGuider").execute("demo-shapes-resnet").args[0]
        line = (
            "Target Words needs an embedding model .* at its socket guider, but "
            "timm/demo-shapes-resnet is a classifier: connect another guider there, or use "
            "Target Class with this one"
        )
        with pytest.raises(ValueError, match=line):
            words(comfyui, classifier, "a red cone")
        line = "Target Class needs a classifier at its socket guider, .* or use Target Words with"
        with pytest.raises(ValueError, match=line):
            comfyui.node("PPAP_TargetClass").execute(guiders["clip"], "cone", 1.0)
    with pytest.raises(ValueError, match="nothing is asked for: write a line into the widget text"):
        words(comfyui, guiders["clip"], " \n")
    with pytest.raises(ValueError, match="cannot read words: empty text and away_from and connect"):
        words(comfyui, guiders["dino"], "a red cone", image=image)
    target, _ = words(comfyui, guiders["clip"], "a\nred\ncone", line_per_picture=True).args
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        sample(comfyui, demo_model, guiders["clip"], target)
    target, _ = words(comfyui, guiders["clip"], "a red cone").args
    with pytest.raises(ValueError, match="the guider predicts class, the target is for embedding"):
        sample(comfyui, demo_model, classifier, target)
    with pytest.raises(ValueError, match="was made with another guider"):
        sample(comfyui, demo_model, guiders["siglip"], target)
