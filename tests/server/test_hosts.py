"""The oldest ComfyUI that pyproject.toml allows draws what the newest draws."""

import re
from pathlib import Path

import pytest

from host.fetch import fetch_comfyui
from host.releases import OLDEST, SAME, largest_difference, run_workflow
from host.serve import ComfyServer
from host.workflow_graphs import DEMO_GRAPHS

ROOT = Path(__file__).parents[2]


def test_oldest_tested_comfyui_is_the_required_version():
    assert f'requires-comfyui = ">={OLDEST}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_hosts_page_lists_the_workflows_with_the_demos_models():
    table = (ROOT / "docs" / "hosts.md").read_text("utf-8")
    names = re.search(r"^\| ComfyUI \|(.*)\|$", table, re.MULTILINE)[1].split("|")
    assert [name.strip() for name in names] == list(DEMO_GRAPHS)


@pytest.mark.slow
def test_the_oldest_host_draws_the_same_pictures(server, tmp_path, no_links):
    """From a folder with spaces and letters beyond ASCII, where no links can be made."""
    expected = run_workflow(server.url, "13 Demo class guidance")
    base = tmp_path / "Neue Bilder (Büro)" / "绘画"
    with ComfyServer(base, cpu=True, root=fetch_comfyui(OLDEST)) as oldest:
        assert not (base / "custom_nodes" / "comfyui-ppap").is_symlink()
        assert (
            largest_difference(run_workflow(oldest.url, "13 Demo class guidance"), expected) <= SAME
        )
