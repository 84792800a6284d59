"""OWLv2 against transformers' own model, processor and post-processing; on tiny random weights."""

import pytest
import torch
import transformers

from demo.paths import BOXES_GUIDER
from ppap_core.guidance import Guidance
from ppap_core.guiders import load_guider, name_classes
from ppap_core.targets.boxes import to_corners
from ppap_core.targets.boxes_target import Box, BoxesTarget
from tests.core.tiny_guiders import owl_folder, picture

NAMES = ("red cone", "blue cube", "green floor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return owl_folder(tmp_path_factory.mktemp("owl") / "tiny")


@pytest.fixture(scope="module")
def owl(folder):
    return load_guider(folder)


def library(folder, image, texts):
    """transformers' answer to `image` (1, 3, H, W) in [0, 1], and its processor's pixels."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")
    given = {name: words[name] for name in ("input_ids", "attention_mask")}
    pixels = processor(images=[image[0] * 255], return_tensors="pt")["pixel_values"]
    model = transformers.Owlv2ForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        return processor, model(pixel_values=pixels, **given), pixels


@pytest.mark.parametrize("sides", [(64, 64), (48, 36), (30, 60)])
def test_pixels_log_odds_and_boxes_are_the_librarys(folder, owl, sides):
    named, notes = name_classes(owl, "\n".join(NAMES), "a {}")
    image = picture(*sides)
    processor, theirs, pixels = library(folder, image, [f"a {name}" for name in NAMES])
    torch.testing.assert_close(named.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    with torch.no_grad():
        answer, nameless = named(image * 2 - 1), owl(image * 2 - 1)
    assert named.info.labels == NAMES and not notes and answer.shape == (1, 16, 3 + 4)
    torch.testing.assert_close(answer[..., :-4], theirs.logits, rtol=1e-3, atol=1e-5)
    (found,) = processor.post_process_object_detection(theirs, 0.0, [sides])
    pixels_of = torch.tensor([sides[1], sides[0]] * 2)
    torch.testing.assert_close(
        to_corners(answer[0, :, -4:]) * pixels_of, found["boxes"], rtol=1e-3, atol=1e-2
    )
    torch.testing.assert_close(nameless[..., 0], theirs.objectness_logits, rtol=1e-3, atol=1e-5)


def test_a_gradient_leads_to_a_named_object_in_its_box(owl):
    named, _ = name_classes(owl, "\n".join(NAMES))
    for guider, num in ((named, 3), (owl, 1)):
        target = BoxesTarget([[Box(0, (0.1, 0.1, 0.5, 0.5))]], num)
        score = Guidance(guider, target).score(torch.zeros(1, 3, 48, 32), 0.1)
        assert score.gradient.abs().sum() > 0 and not score.is_lost


def test_what_reads_words_is_not_kept_and_one_name_is_enough(owl):
    assert not any("text_model" in name for name, _ in owl.named_parameters())
    named, _ = name_classes(owl, "cone")
    assert named.info.labels == ("cone",) and named.info.fingerprint != owl.info.fingerprint
    assert owl.info.labels == ("object",)


def test_detectors_with_classes_of_their_own_are_refused():
    with pytest.raises(ValueError, match="cannot read words: connect a CLIP, SigLIP or OWLv2"):
        name_classes(load_guider(BOXES_GUIDER), "cone")
