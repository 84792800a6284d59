"""How a saved workflow becomes a prompt, and how the server's errors are told."""

import pytest

from host.client import execution_error, validation_error
from host.prompts import ui_to_api

OBJECT_INFO = {
    "Load": {"input": {"required": {"name": [["a", "b"]]}}},
    "Sample": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
            },
            "optional": {"denoise": ["FLOAT", {"default": 1.0}]},
        }
    },
    "Target": {
        "input": {
            "required": {
                "target": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "class", "inputs": {"required": {"index": ["INT", {}]}}},
                            {"key": "depth", "inputs": {"required": {"map": ["IMAGE"]}}},
                        ]
                    },
                ],
                "weight": ["FLOAT", {}],
            }
        }
    },
    "LoadImage": {"input": {"required": {"image": [["x.png"], {"image_upload": True}]}}},
    "Save": {
        "input": {"required": {"images": ["IMAGE"], "prefix": ["STRING", {}]}},
        "output_node": True,
    },
}


def ui_node(node_id: int, kind: str, values=(), inputs=(), **more) -> dict:
    sockets = [{"name": name, "link": link} for name, link in inputs]
    return {"id": node_id, "type": kind, "widgets_values": list(values), "inputs": sockets, **more}


def test_widget_values_and_links_find_their_inputs():
    workflow = {
        "nodes": [
            ui_node(1, "Load", ["b"]),
            ui_node(2, "Sample", [7, "randomize", 5, "heun"], [("model", 10), ("denoise", None)]),
            ui_node(3, "MarkdownNote", ["read me"]),
        ],
        "links": [[10, 1, 0, 2, 0, "MODEL"]],
    }
    assert ui_to_api(workflow, OBJECT_INFO) == {
        "1": {"class_type": "Load", "inputs": {"name": "b"}},
        "2": {
            "class_type": "Sample",
            "inputs": {
                "model": ["1", 0],
                "seed": 7,
                "steps": 5,
                "sampler": "heun",
                "denoise": 1.0,
            },
        },
    }


def test_reroutes_and_primitives_are_resolved():
    workflow = {
        "nodes": [
            ui_node(1, "Load", ["a"]),
            ui_node(2, "Reroute", inputs=[("", 10)]),
            ui_node(3, "Reroute", inputs=[("", 11)]),
            ui_node(4, "PrimitiveNode", [30, "fixed"]),
            ui_node(5, "Sample", [7, "fixed", 5], [("model", 12), ("steps", 13)]),
        ],
        "links": [
            [10, 1, 0, 2, 0, "*"],
            [11, 2, 0, 3, 0, "*"],
            [12, 3, 0, 5, 0, "*"],
            [13, 4, 0, 5, 1, "INT"],
        ],
    }
    prompt = ui_to_api(workflow, OBJECT_INFO)
    assert set(prompt) == {"1", "5"}
    assert prompt["5"]["inputs"]["model"] == ["1", 0]
    assert prompt["5"]["inputs"]["steps"] == 30
    assert prompt["5"]["inputs"]["sampler"] == "euler"


@pytest.mark.parametrize(
    ("values", "inputs"),
    [
        (["class", 4, 0.5], {"target": "class", "target.index": 4, "weight": 0.5}),
        (["depth", 0.5], {"target": "depth", "weight": 0.5}),
    ],
)
def test_dynamic_combo_brings_its_own_widgets(values, inputs):
    workflow = {"nodes": [ui_node(1, "Target", values)], "links": []}
    assert ui_to_api(workflow, OBJECT_INFO)["1"]["inputs"] == inputs


def test_upload_and_display_widgets_are_left_out_of_the_prompt():
    nodes = [ui_node(1, "LoadImage", ["x.png", "image"]), ui_node(2, "Save", ["out", "shown text"])]
    prompt = ui_to_api({"nodes": nodes, "links": []}, OBJECT_INFO)
    assert prompt["1"]["inputs"] == {"image": "x.png"}
    assert prompt["2"]["inputs"] == {"prefix": "out"}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (ui_node(9, "Load", ["a"], mode=2), r"node 9 \(Load\) is muted or bypassed"),
        (ui_node(9, "Load", ["a"], mode=4), r"node 9 \(Load\) is muted or bypassed"),
        (ui_node(9, "Nowhere"), r"node 9 \(Nowhere\) is unknown"),
        (ui_node(9, "Load", ["a", 3]), r"node 9 \(Load\) has more widget values"),
        (ui_node(9, "Target", ["pose"]), "'pose' is not one of its options"),
    ],
)
def test_node_that_cannot_be_converted_is_refused(node, message):
    with pytest.raises(ValueError, match=message):
        ui_to_api({"nodes": [node], "links": []}, OBJECT_INFO)


def test_errors_name_the_node():
    refused = {"class_type": "Load", "errors": [{"message": "Not in list", "details": "name: z"}]}
    answer = {"error": {"message": "failed"}, "node_errors": {"3": refused}}
    assert validation_error(answer) == "node 3 (Load): Not in list: name: z"

    data = {"node_id": "5", "node_type": "Sample", "exception_message": "no memory\n"}
    entry = {"status": {"status_str": "error", "messages": [["execution_error", data]]}}
    assert execution_error(entry) == "node 5 (Sample): no memory"
