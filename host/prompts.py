"""A saved workflow as a prompt that a ComfyUI server runs."""

from collections.abc import Iterator
from typing import Any

MUTED, BYPASSED = 2, 4
NOT_RUN = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}  # only the front end has them
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "COMFY_DYNAMICCOMBO_V3"}
SEED_CONTROLS = {"fixed", "increment", "decrement", "randomize"}


def node_of(prompt: dict, class_type: str) -> tuple[str, dict]:
    """(id, inputs) of the prompt's first node of this class."""
    return next((i, n["inputs"]) for i, n in prompt.items() if n["class_type"] == class_type)


def ui_to_api(workflow: dict, object_info: dict) -> dict:
    """A workflow as the front end saves it -> a prompt as POST /prompt wants it.

    Does what the front end's graphToPrompt does for plain graphs: widget values by position,
    reroutes and primitive nodes resolved. Subgraphs, muted and bypassed nodes are refused; random
    choices `{a|b}` in texts are sent as they are.
    """
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOT_RUN:
            continue
        if node.get("mode", 0) in (MUTED, BYPASSED):
            raise ValueError(f"{_name(node)} is muted or bypassed; remove it from the workflow")
        if node["type"] not in object_info:
            raise ValueError(f"{_name(node)} is unknown to the server")
        inputs = _node_inputs(node, object_info[node["type"]], workflow)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _linked_value(workflow: dict, link_id: int) -> Any:
    """What an input gets through a link: [node id, output slot], or a primitive's value."""
    _, origin_id, slot, *_ = next(link for link in workflow["links"] if link[0] == link_id)
    origin = next(node for node in workflow["nodes"] if node["id"] == origin_id)
    if origin["type"] == "PrimitiveNode":
        return origin["widgets_values"][0]
    if origin["type"] == "Reroute":
        behind = origin["inputs"][0]["link"]
        if behind is None:
            raise ValueError(f"{_name(origin)} is not connected")
        return _linked_value(workflow, behind)
    return [str(origin_id), slot]


def _node_inputs(node: dict, info: dict, workflow: dict) -> dict:
    values = list(node.get("widgets_values") or [])
    inputs = dict(_widget_values(info["input"], values))
    if values and not info.get("output_node"):  # output nodes also store what they display
        raise ValueError(f"{_name(node)} has more widget values than widgets: {values} are left")
    for socket in node.get("inputs", []):
        if socket.get("link") is not None:
            inputs[socket["name"]] = _linked_value(workflow, socket["link"])
    return inputs


def _widget_values(groups: dict, values: list, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(input, value) of every widget, from `values` in order; a missing value is the default."""
    specs = [groups.get(key) or {} for key in ("required", "optional")]
    for name, spec in (pair for group in specs for pair in group.items()):
        kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
        if not is_widget(kind, options):
            continue
        value = values.pop(0) if values else default_value(kind, options)
        yield prefix + name, {"__value__": value} if isinstance(value, list) else value
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = [o["inputs"] for o in options["options"] if o["key"] == value]
            if not chosen:
                raise ValueError(f"{prefix + name}: {value!r} is not one of its options")
            yield from _widget_values(chosen[0], values, f"{prefix}{name}.")
        _drop_companions(name, kind, options, values)


def is_widget(kind: Any, options: dict) -> bool:
    """Whether an input of this kind, in the server's words, is a widget and no socket."""
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def default_value(kind: Any, options: dict) -> Any:
    """What such a widget shows in a new node; None if nothing is known."""
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    first = choices[0] if choices else None
    return first["key"] if isinstance(first, dict) else first


def _drop_companions(name: str, kind: Any, options: dict, values: list) -> None:
    """Drop the values of seed control and upload button, which are stored but never sent."""
    is_seed = options.get("control_after_generate") or name in ("seed", "noise_seed")
    if kind == "INT" and is_seed and values and values[0] in SEED_CONTROLS:
        values.pop(0)
    if values and any(option.endswith("upload") and options[option] for option in options):
        values.pop(0)


def _name(node: dict) -> str:
    return f"node {node['id']} ({node['type']})"
