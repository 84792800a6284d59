"""A score is raised beside a style, by a saved prompt that a server runs."""

import json
import re
from pathlib import Path

import numpy
import pytest

from host.client import run_and_fetch, run_prompt

PROMPT = Path(__file__).with_name("score_prompt.json")
LUMA = (0.299, 0.587, 0.114)


@pytest.fixture(scope="module")
def prompt() -> dict:
    return json.loads(PROMPT.read_text("utf-8"))


def test_a_score_is_raised_beside_a_style_and_the_report_tells_both(server, prompt):
    pictures = run_and_fetch(server.url, prompt)
    plain, guided = (
        numpy.mean(numpy.stack(pictures[f"{name} saved"]) @ numpy.array(LUMA)) / 25.5
        for name in ("plain", "guided")
    )
    assert guided > plain + 0.5
    prompt["report"]["inputs"]["num_steps"] = 4  # so that the node runs again
    outputs = run_prompt(server.url, prompt)["outputs"]
    text = outputs["report"]["text"][0]
    assert "style guidance by CLIPModel" in text and "score guidance by CLIPModel" in text
    assert re.search(r"brightness was [\d.]+, now [\d.]+ \(wished: 6 or more\)", text), text


def test_a_wish_that_is_no_number_is_refused_before_anything_is_sampled(server, prompt):
    prompt["target"]["inputs"]["wished"] = "much"
    with pytest.raises(RuntimeError, match="the widget wished takes a finite number.*got 'much'"):
        run_prompt(server.url, prompt)
