"""transformers' detectors against the library's own processor, forward and post-processing."""

import pytest
import torch
import transformers

from demo.paths import BOXES_GUIDER
from ppap_core.guiders import describe, load_guider
from ppap_core.guiders.detector import softmax_log_odds
from ppap_core.targets.boxes import to_corners
from tests.core.tiny_guiders import DETECTORS, picture, transformers_folder

QUICK = ("DetrForObjectDetection", "RTDetrForObjectDetection")
SLOW = [name for name in DETECTORS if name not in QUICK]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """name -> its folder, written once."""
    root = tmp_path_factory.mktemp("detectors")

    def folder(name):
        return root / name if (root / name).exists() else transformers_folder(root / name, name)

    return folder


def test_the_gradient_is_that_of_the_whole_answer():
    """Against finite differences, of one picture: RT-DETR cuts most of it, see WholeGradient."""
    guider = load_guider(BOXES_GUIDER).double()
    generator = torch.Generator().manual_seed(0)
    image = 2 * torch.rand(1, 3, 64, 64, generator=generator, dtype=torch.double) - 1
    direction = torch.randn(image.shape, generator=generator, dtype=torch.double)
    weights = torch.randn(1, 10, 14, generator=generator, dtype=torch.double)

    def along(amount):
        pixels = guider.preprocessing(image + amount * direction)
        return (guider.backbone(pixels) * weights).sum()

    amount = torch.zeros((), dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(along(amount), amount)
    with torch.no_grad():
        difference = (along(1e-6) - along(-1e-6)) / 2e-6
    torch.testing.assert_close(gradient, difference, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_pixels_scores_and_boxes_are_the_librarys(folders, name):
    """Of a picture as wide as 3 : 2, and of a wider one, which the longest edge bounds."""
    guider = load_guider(folders(name))
    processor = transformers.AutoImageProcessor.from_pretrained(folders(name))
    model = getattr(transformers, name).from_pretrained(folders(name)).eval()
    for image in (picture(96, 144), picture(120, 400)):
        read = processor(images=list(image * 255), do_pad=False, return_tensors="pt")
        pixels = guider.preprocessing(image * 2 - 1)
        torch.testing.assert_close(pixels, read["pixel_values"], rtol=0, atol=1e-4)
        with torch.no_grad():
            answer, theirs = guider(image * 2 - 1), model(pixel_values=pixels)
        (found,) = processor.post_process_object_detection(theirs, 0.0, [(1.0, 1.0)])
        p, corners = answer[0, :, :-4].sigmoid(), to_corners(answer[0, :, -4:])
        for query in found["scores"].topk(5).indices:
            score, label, box = (found[key][query] for key in ("scores", "labels", "boxes"))
            off = (p[:, label] - score).abs() + (corners - box).abs().amax(1)
            assert off.min() < 1e-4
        assert answer.shape == (1, 10, 4 + 4)


def test_log_odds_are_exact_and_keep_their_gradient():
    """In double precision, from the definition; where a class is certain, in single precision."""
    logits = torch.randn(3, 7, 5, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(softmax_log_odds(logits), logits.softmax(-1).logit())
    certain = torch.tensor([[40.0, 1.0, 0.0]], requires_grad=True)
    odds = softmax_log_odds(certain)
    expected = 40 - torch.tensor([1.0, 0.0]).logsumexp(0)
    assert odds[0, 0].item() == pytest.approx(expected.item())
    odds.sum().backward()
    assert certain.grad.isfinite().all() and certain.grad[0, 0].abs() > 0.5


def test_the_card_says_what_a_detector_answers(folders):
    card = describe(load_guider(folders("DetrForObjectDetection"))).splitlines()
    assert card[1].startswith("predicts boxes: 4 classes, how sure it is of each class")
    assert card[3] == "reads 96 x 64 pixels, colour"
