"""A graph with a node's old name runs, and draws what the new name draws."""

from host.client import request_json
from host.server_load import pixels_of, shipped_prompt, with_values


def test_a_node_under_its_old_name_still_works(server):
    prompt = with_values(shipped_prompt(server, "13 Demo class guidance"), seed=7, classes="cone")
    expected = pixels_of(server, prompt)
    for node in prompt.values():
        node["_meta"] = {}  # the front end always sends it
        if node["class_type"] == "PPAP_TargetClass":
            node["class_type"] = "PPAP_ClassTarget"
            inputs = node["inputs"]
            node["inputs"] = {"guider": inputs["guider"], "names": inputs["classes"]}
    assert pixels_of(server, prompt) == expected


def test_replacement_is_offered_to_the_front_end(server):
    (entry,) = request_json(f"{server.url}/node_replacements")["PPAP_ClassTarget"]
    assert entry["new_node_id"] == "PPAP_TargetClass"
