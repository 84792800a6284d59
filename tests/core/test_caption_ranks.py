"""Ranks of captions, counted by hand."""

import torch

from demo.captions import describe
from demo.scenes import random_parameters, render_parameters
from evidence.caption_ranks import NUM, SPREAD, _log_colours, _log_probabilities, caption_ranks

ROWS = 12


def test_ranks_are_those_of_captions_counted_one_by_one():
    parameters = random_parameters(ROWS, 5)
    pictures, asked = render_parameters(parameters, 32).pictures(), describe(parameters)
    pool = describe(random_parameters(400, 6))
    logs = _log_probabilities(pictures)
    texts = list(dict.fromkeys(pool.captions()))
    index = {text: row for row, text in reversed(list(enumerate(pool.captions())))}

    def likely(row, seen, k):
        parts = zip(logs, (seen.colour, seen.shape, seen.floor), strict=True)
        return sum(log[row, of[k]] for log, of in parts)

    found = caption_ranks(pictures, asked, pool)
    for row, own in enumerate(asked.captions()):
        others = [text for text in texts[:NUM] if text != own][: NUM - 1]
        better = [likely(row, pool, index[text]) > likely(row, asked, row) for text in others]
        assert found[row] == 1 + sum(better)
    assert found.float().mean() < 5  # renders that show their captions
    shuffled = caption_ranks(pictures.roll(1, 0), asked, pool)
    assert shuffled.float().mean() > 20  # and pictures that do not


def test_a_hue_between_two_colours_belongs_to_both():
    """Red ends at 0.04 of a turn, and begins at 0.95."""
    p = _log_colours(torch.tensor([0.04, 0.0, 0.04 + SPREAD])).exp()
    torch.testing.assert_close(p[0, :2], torch.tensor([0.5, 0.5]), rtol=1e-4, atol=0)
    assert p[1, 0] > 0.98
    ratio = torch.exp(torch.tensor(-0.5))
    torch.testing.assert_close(p[2, 0] / p[2, 1], ratio, rtol=1e-4, atol=0)
