"""Classes in one's own words, against transformers' zero-shot pipeline."""

import pytest
import torch
import transformers
from PIL import Image

from demo.paths import WORDS_EXPERTS, WORDS_GUIDER
from demo.scenes import render
from ppap_core.expert_file import load_experts
from ppap_core.guidance import Guidance
from ppap_core.guiders import describe, load_guider, name_classes
from ppap_core.targets import ClassTarget, find_class
from tests.core.tiny_guiders import embedding_folder

NAMES = ("red cone", "blue cube", "green floor")
LINES = "\n".join(NAMES)
TEMPLATE = "a {} on the floor"


@pytest.fixture(scope="module")
def clip():
    return load_guider(WORDS_GUIDER)


@pytest.mark.parametrize(("name", "answer"), [("CLIPModel", "softmax"), ("SiglipModel", "sigmoid")])
def test_answers_are_those_of_transformers_zero_shot_pipeline(tmp_path, name, answer):
    folder = embedding_folder(tmp_path / name, name)
    lines = f"{NAMES[0]}\n\n  blue   cube\n{NAMES[2]}"
    named, notes = name_classes(load_guider(folder), lines, TEMPLATE)
    rows, columns = torch.linspace(0, 1, 40), torch.linspace(0, 1, 52)
    waves = [torch.sin(3 * i * rows[:, None] + 4 * columns) for i in (1, 2, 3)]
    pixels = ((torch.stack(waves) + 1) * 127.5).byte()
    pipeline = transformers.pipeline("zero-shot-image-classification", str(folder))
    tokenizer = pipeline.tokenizer
    if answer == "sigmoid":  # as the tokenizers of real SigLIPs
        tokenizer.model_input_names = ["input_ids"]
    short = {"padding": "max_length", "max_length": 8}  # the pipeline's 64 are too many here
    pipeline.tokenizer = lambda texts, **how: tokenizer(texts, **how | short)
    found = pipeline(
        Image.fromarray(pixels.movedim(0, -1).numpy()),
        candidate_labels=list(NAMES),
        hypothesis_template=TEMPLATE,
    )
    wanted = {one["label"]: one["score"] for one in found}
    with torch.no_grad():
        logits = named(pixels[None].float() / 127.5 - 1)
    p = logits.softmax(1) if answer == "softmax" else logits.sigmoid()
    assert named.info.labels == NAMES and named.info.answer == answer and not notes
    logs = torch.tensor([wanted[label] for label in NAMES]).log()
    assert logs.max() - logs.min() > 0.2
    torch.testing.assert_close(p[0].log(), logs, rtol=0.01, atol=0.05)


def test_the_demos_clip_names_the_floors_of_renders(clip):
    """Whose captions it learned: the hue of the floor decides, far above chance of an eighth."""
    from demo.captions import NAMES as COLOURS
    from demo.captions import describe as describe_scenes
    from demo.scenes import random_parameters

    lines = "\n".join(f"{colour} floor" for colour in COLOURS)
    named, _ = name_classes(clip, lines, "a cone on a {}")
    with torch.no_grad():
        seen = named(render(60, 7).pictures()).argmax(1)
    right = seen == describe_scenes(random_parameters(60, 7)).floor
    assert right.float().mean() > 0.6
    assert f"classes: {COLOURS[0]} floor, " in describe(named)
    assert find_class("Blue Floor", named.info.labels) == COLOURS.index("blue")


def test_experts_of_the_embedding_fit_the_classes(clip):
    named, _ = name_classes(clip, LINES)
    experts = load_experts(WORDS_EXPERTS).for_guider(clip)
    experts.check_fit(named.backbone)
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = named(pictures)
        for guider in (clip, named):
            guider.switch.activate(experts.select(5.0))
        found, embeddings = named(pictures), clip(pictures)
    clip.switch.restore()
    torch.testing.assert_close(found, embeddings @ named.backbone.head.weight.T)
    assert not torch.allclose(found, plain)


def test_a_gradient_leads_to_the_class_and_names_tell_guiders_apart(clip):
    named, _ = name_classes(clip, LINES)
    guidance = Guidance(named, ClassTarget({1: 1.0}, 3))
    score = guidance.score(torch.zeros(1, 3, 32, 32), 0.1)
    assert score.gradient.any() and not score.is_lost
    others = (name_classes(clip, LINES, "{}")[0], name_classes(clip, LINES[:-1])[0])
    assert len({g.info.fingerprint for g in (clip, named, *others)}) == 4


@pytest.mark.parametrize(
    ("names", "template", "line"),
    [
        ("", "{}", "the widget names has 0 of at least 2 lines: write a class per line, and what"),
        ("cone, cube", "{}", "has 1 of at least 2 lines"),
        ("cone\ncone", "{}", "the widget names has 'cone' twice: delete one"),
        ("cone\ncube", "a photo", "the widget template has no {}, which stands for the name"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(clip, names, template, line):
    with pytest.raises(ValueError, match=line) as caught:
        name_classes(clip, names, template)
    assert "\n" not in str(caught.value)
