"""The demo world in captions, and its CLIP."""

import colorsys

import pytest
import torch

from demo.captions import NAMES, Seen, describe, judge, name_hues
from demo.paths import WORDS_GUIDER
from demo.scenes import random_parameters, render_parameters
from demo.word_model import accuracy, build, contrastive_loss, random_captions
from ppap_core.guiders import load_guider

NUM, SEED = 40, 12345


@pytest.fixture(scope="module")
def scenes():
    return render_parameters(random_parameters(NUM, SEED), 32)


@pytest.fixture(scope="module")
def seen():
    return describe(random_parameters(NUM, SEED))


@pytest.mark.parametrize(
    ("colour", "rgb"),
    [("red", (1, 0, 0)), ("yellow", (1, 1, 0)), ("green", (0, 1, 0)), ("cyan", (0, 1, 1))]
    + [("blue", (0, 0, 1)), ("pink", (1, 0, 1)), ("orange", (1, 0.5, 0)), ("red", (1, 0, 0.1))],
)
def test_colours_have_their_usual_names(colour, rgb):
    hue = torch.tensor([colorsys.rgb_to_hsv(*rgb)[0]])
    assert NAMES[name_hues(hue).item()] == colour


def test_judges_see_what_was_rendered(scenes, seen):
    assert seen.agreement(judge(scenes.pictures()))["all"] > 0.8


def test_the_shipped_clip_reads_captions_of_renders_it_has_never_seen(scenes, seen):
    found = accuracy(load_guider(WORDS_GUIDER), scenes.pictures(), seen)
    assert min(found.values()) > 0.6, found


def test_captions_that_leave_something_out_are_true_of_more_scenes():
    torch.manual_seed(1)
    same, other = torch.zeros(64).long(), torch.arange(64) % 2
    captions, is_true = random_captions(Seen(colour=other, shape=same, floor=same))
    for column, caption in enumerate(captions):
        says_colour = caption.split()[1] in NAMES
        assert is_true[:, column].equal((other == other[column]) | torch.tensor(not says_colour))
    assert len({caption.count(" ") for caption in captions}) == 4


def test_the_loss_is_clips_where_each_caption_is_true_of_one_picture():
    torch.manual_seed(0)
    given = {"input_ids": torch.randint(4, 25, (6, 9)), "pixel_values": torch.randn(6, 3, 32, 32)}
    with torch.no_grad():
        answer = build()(**given, return_loss=True)
    loss = contrastive_loss(answer.logits_per_image, torch.eye(6) > 0)
    torch.testing.assert_close(loss, answer.loss)
