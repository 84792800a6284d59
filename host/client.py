"""Talk to a ComfyUI server: run a prompt, and turn a saved workflow into one."""

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

MUTED, BYPASSED = 2, 4
NOTES = {"Note", "MarkdownNote"}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "COMFY_DYNAMICCOMBO_V3"}
SEED_CONTROLS = {"fixed", "increment", "decrement", "randomize"}

# A server on this machine is never reached through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request_json(url: str, payload: Any = None, timeout: float = 30.0) -> Any:
    """GET `url`, or POST `payload` to it, and decode the answer."""
    body = None if payload is None else json.dumps(payload).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with _opener.open(request, timeout=timeout) as response:
        return json.load(response)


def run_prompt(url: str, prompt: dict, timeout: float = 600.0) -> dict:
    """Queue `prompt` (API format), wait for its end and return its entry in the history.

    Raises RuntimeError with the messages of the nodes, TimeoutError after `timeout` seconds.
    """
    entry = wait_for_history(url, queue_prompt(url, prompt), timeout)
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(execution_error(entry))
    return entry


def fetch_images(url: str, output: dict) -> list[Image.Image]:
    """The pictures, in RGB, of one node's entry under "outputs" in the history."""
    pictures = []
    for image in output.get("images", []):
        with _opener.open(f"{url}/view?{urllib.parse.urlencode(image)}") as response:
            pictures.append(Image.open(io.BytesIO(response.read())).convert("RGB"))
    return pictures


def draw_prompt(url: str, prompt: dict) -> dict[str, list[Image.Image]]:
    """Run `prompt`: the pictures that its nodes drew, by node.

    Not what a loader shows of its file: it shows it only in the run that loads it.
    """
    outputs = run_prompt(url, prompt)["outputs"]
    drawn = {
        node: fetch_images(url, output)
        for node, output in outputs.items()
        if not prompt[node]["class_type"].startswith("PPAP_Load")
    }
    return {node: pictures for node, pictures in drawn.items() if pictures}


def read_prompt(url: str, path: Path) -> dict:
    """A workflow file as a prompt for the server."""
    return ui_to_api(json.loads(path.read_text("utf-8")), request_json(f"{url}/object_info"))


def node_of(prompt: dict, class_type: str) -> tuple[str, dict]:
    """(id, inputs) of the first node of this class."""
    return next((i, n["inputs"]) for i, n in prompt.items() if n["class_type"] == class_type)


def queue_prompt(url: str, prompt: dict) -> str:
    """Queue `prompt` and return its id; RuntimeError if a node does not accept its inputs."""
    try:
        answer = request_json(f"{url}/prompt", {"prompt": prompt})
    except urllib.error.HTTPError as error:
        if error.code != 400:
            raise
        raise RuntimeError(validation_error(json.load(error))) from None
    if answer.get("node_errors"):  # some outputs are fine and were queued, others were dropped
        raise RuntimeError(validation_error(answer))
    return answer["prompt_id"]


def wait_for_history(url: str, prompt_id: str, timeout: float) -> dict:
    """Poll: the history stays empty for a moment after the server has reported success."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        entry = request_json(f"{url}/history/{prompt_id}").get(prompt_id)
        if entry and entry.get("status"):
            return entry
        time.sleep(0.1)
    raise TimeoutError(f"prompt {prompt_id} has not ended after {timeout:g} s")


def validation_error(answer: dict) -> str:
    """One line for each input that was refused."""
    lines = [
        f"node {node_id} ({node['class_type']}): {error['message']}: {error['details']}"
        for node_id, node in (answer.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    error = answer.get("error")
    fallback = error.get("message") if isinstance(error, dict) else error
    return "\n".join(lines) or str(fallback)


def execution_error(entry: dict) -> str:
    """What the node that failed said, or that the run was interrupted."""
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            message = data["exception_message"].strip()
            return f"node {data['node_id']} ({data['node_type']}): {message}"
        if event == "execution_interrupted":
            return f"interrupted at node {data['node_id']} ({data['node_type']})"
    return f"the run ended with status {entry['status']['status_str']!r}"


def ui_to_api(workflow: dict, object_info: dict) -> dict:
    """A workflow as the front end saves it -> a prompt as POST /prompt wants it.

    The front end's graphToPrompt for plain graphs: widget values by position, reroutes and
    primitive nodes resolved. Not done: subgraphs, muted and bypassed nodes (refused), random
    choices `{a|b}` in texts (sent as they stand).
    """
    graph = _Graph(workflow)
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES or node["type"] in graph.passed_through:
            continue
        if node.get("mode", 0) in (MUTED, BYPASSED):
            raise ValueError(f"{_name(node)} is muted or bypassed; remove it from the workflow")
        if node["type"] not in object_info:
            raise ValueError(f"{_name(node)} is unknown to the server")
        inputs = _node_inputs(node, object_info[node["type"]], graph)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


class _Graph:
    """The links of a workflow, looked up by the input that they end in."""

    passed_through = {"Reroute", "PrimitiveNode"}

    def __init__(self, workflow: dict):
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.links = {link[0]: link for link in workflow["links"]}

    def value(self, link_id: int) -> Any:
        """What an input gets through a link: [node id, output slot], or a primitive's value."""
        _, origin_id, slot, *_ = self.links[link_id]
        origin = self.nodes[origin_id]
        if origin["type"] == "PrimitiveNode":
            return origin["widgets_values"][0]
        if origin["type"] == "Reroute":
            behind = origin["inputs"][0]["link"]
            if behind is None:
                raise ValueError(f"{_name(origin)} is not connected")
            return self.value(behind)
        return [str(origin_id), slot]


def _node_inputs(node: dict, info: dict, graph: _Graph) -> dict:
    values = list(node.get("widgets_values") or [])
    inputs = dict(_widget_values(info["input"], values))
    if values and not info.get("output_node"):  # output nodes also store what they display
        raise ValueError(f"{_name(node)} has more widget values than widgets: {values} are left")
    for socket in node.get("inputs", []):
        if socket.get("link") is not None:
            inputs[socket["name"]] = graph.value(socket["link"])
    return inputs


def _widget_values(groups: dict, values: list, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Consume `values` in the order of the widgets; a missing one takes its default."""
    for name, spec in (pair for key in ("required", "optional") for pair in _inputs(groups, key)):
        kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
        if not _is_widget(kind, options):
            continue
        value = values.pop(0) if values else _default(kind, options)
        yield prefix + name, {"__value__": value} if isinstance(value, list) else value
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = [o["inputs"] for o in options["options"] if o["key"] == value]
            if not chosen:
                raise ValueError(f"{prefix + name}: {value!r} is not one of its options")
            yield from _widget_values(chosen[0], values, f"{prefix}{name}.")
        _drop_companions(name, kind, options, values)


def _inputs(groups: dict, key: str) -> Iterator[tuple[str, list]]:
    yield from (groups.get(key) or {}).items()


def _is_widget(kind: Any, options: dict) -> bool:
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def _default(kind: Any, options: dict) -> Any:
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    first = choices[0] if choices else None
    return first["key"] if isinstance(first, dict) else first


def _drop_companions(name: str, kind: Any, options: dict, values: list) -> None:
    """Some widgets bring a second one that is stored but never sent: seed control, upload."""
    is_seed = options.get("control_after_generate") or name in ("seed", "noise_seed")
    if kind == "INT" and is_seed and values and values[0] in SEED_CONTROLS:
        values.pop(0)
    if values and any(option.endswith("upload") and options[option] for option in options):
        values.pop(0)


def _name(node: dict) -> str:
    return f"node {node['id']} ({node['type']})"
