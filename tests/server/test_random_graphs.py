"""Graphs made at random around guidance; `python -m host.random_graphs` runs hundreds."""

import pytest

from host.client import request_json
from host.random_graphs import FINE, FITS, build, candidates, try_graph


@pytest.fixture(scope="module")
def info(server):
    return request_json(f"{server.url}/object_info")


def test_many_nodes_take_part(info):
    found = {kind: candidates(info, kind) for kind in FITS}
    assert len(found["MODEL"]) > 30 and "EasyCache" in found["MODEL"]
    assert "ConditioningSetTimestepRange" in found["CONDITIONING"]
    assert "LatentFlip" in found["LATENT"]


def test_a_graph_without_ours_is_the_same_otherwise(info):
    for seed in range(30):
        guided, without, _ = build(info, seed)
        ours = {i for i, n in guided.items() if n["class_type"] == "PPAP_ApplyGuidance"}
        assert guided.keys() - without.keys() >= ours and len(ours) == 1
        assert not [n for n in without.values() if [*ours, 0] in n["inputs"].values()]
        changed = [i for i, n in without.items() if n != guided[i]]
        assert 1 <= len(changed) <= 3 and build(info, seed)[0] == guided


@pytest.mark.parametrize("seed", range(2))
def test_a_random_graph_is_guided_or_says_why_not(server, info, seed):
    found = try_graph(server.url, info, seed)
    assert found.what in FINE, found.detail
