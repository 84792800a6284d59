"""A task that another pack brings (tests/example_pack): experts learn it, and it guides."""

import json
import re
from pathlib import Path

import numpy
import pytest

from host.client import run_and_fetch, run_prompt

PROMPT = Path(__file__).parents[1] / "example_pack" / "prompt.json"


@pytest.fixture(scope="module")
def prompt() -> dict:
    return json.loads(PROMPT.read_text("utf-8"))


def colourfulness(pictures) -> float:
    """What the pack's network computes, by numpy: mean of |red - green| + |yellow - blue|."""
    red, green, blue = numpy.moveaxis(numpy.stack(pictures) / 127.5 - 1, -1, 0)
    return float((abs(red - green) + abs((red + green) / 2 - blue)).mean())


def test_another_packs_task_is_learned_and_guides(server, prompt):
    pictures = run_and_fetch(server.url, prompt)
    found = {name: colourfulness(pictures[f"{name} saved"]) for name in ("plain", "guided")}
    assert found["guided"] > found["plain"] + 0.1, found
    assert (server.base / "models/ppap_experts/colourful.preview.png").is_file()


def test_its_own_words_are_in_the_report(server, prompt):
    prompt["report"]["inputs"]["num_steps"] = 4  # so that the node runs again
    (text,) = run_prompt(server.url, prompt)["outputs"]["report"]["text"]
    told = re.search(r"colourfulness was ([\d.]+), now ([\d.]+)", text)
    assert text.startswith("colourfulness guidance by opponent colours") and told, text
    assert float(told[2]) > float(told[1]) + 0.1 and " of 2 answered" in text


def test_a_guider_of_another_task_is_refused_in_its_words(server, prompt):
    wrong = {
        "judge": prompt["judge"],
        "target": {
            "class_type": "PPAP_TargetClass",
            "inputs": {"guider": ["judge", 0], "classes": "cone", "temperature": 1.0},
        },
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["target", 0]}},
    }
    line = (
        "Target Class needs a classifier at its socket guider, but example is a judge of colours: "
        "connect another guider there, or use Target Colourfulness with this one"
    )
    with pytest.raises(RuntimeError, match=line):
        run_prompt(server.url, wrong)
