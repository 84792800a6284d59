"""A person's way: open the workflow in the front end, press Queue, see the picture."""

import json
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / "workflows" / "13 Demo class guidance.json"
ARTIFACTS = Path(__file__).parents[1] / "artifacts"

LOAD = "wf => app.loadGraphData(wf, true, true, '13 Demo class guidance')"
MISSING = """() => app.graph.nodes
  .filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type]).map(n => n.type)"""
SAVED = """() => {
  const node = app.graph.nodes.find(n => n.type === 'SaveImage');
  return (node.imgs || []).filter(i => i.complete && i.naturalWidth > 0).length;
}"""


@pytest.fixture(scope="module")
def workflow_page(shared_page):
    shared_page.evaluate(LOAD, json.loads(WORKFLOW.read_text("utf-8")))
    shared_page.wait_for_timeout(1500)
    return shared_page


def test_the_workflow_loads_without_missing_nodes(workflow_page):
    assert workflow_page.evaluate(MISSING) == []


def test_saving_again_gives_the_shipped_workflow(workflow_page):
    """Made by the real front end: what it saves is what is shipped, widget for widget."""
    shipped = json.loads(WORKFLOW.read_text("utf-8"))
    saved = workflow_page.evaluate("() => app.graph.serialize()")

    def essence(workflow):
        nodes = {n["id"]: (n["type"], n.get("widgets_values") or []) for n in workflow["nodes"]}
        return nodes, sorted(link[1:] for link in workflow["links"])

    for ours, theirs in zip(essence(saved), essence(shipped), strict=True):
        assert ours == theirs


def test_workflow_to_prompt_matches_the_front_end(workflow_page, server):
    from host.client import request_json, ui_to_api

    theirs = workflow_page.evaluate("async () => (await app.graphToPrompt()).output")
    ours = ui_to_api(
        json.loads(WORKFLOW.read_text("utf-8")), request_json(f"{server.url}/object_info")
    )
    assert {i: (n["class_type"], n["inputs"]) for i, n in theirs.items()} == {
        i: (n["class_type"], n["inputs"]) for i, n in ours.items()
    }


def test_queue_runs_it_and_the_picture_appears(workflow_page):
    workflow_page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    workflow_page.evaluate("() => app.queuePrompt(0, 1)")
    workflow_page.wait_for_function(f"({SAVED})() > 0", timeout=240_000)
    workflow_page.wait_for_timeout(1000)
    ARTIFACTS.mkdir(exist_ok=True)
    workflow_page.screenshot(path=ARTIFACTS / "13 Demo class guidance.png")
    assert workflow_page.evaluate("() => app.lastExecutionError ?? null") is None
