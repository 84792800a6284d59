"""Talk to a ComfyUI server: run a prompt, and wait for its pictures."""

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from host.prompts import ui_to_api
from ppap_core.picture_files import read_picture
from ppap_core.text_files import read_json

# A server on this machine is never reached through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request_json(url: str, payload: Any = None, timeout: float = 30.0) -> Any:
    """GET `url`, or POST `payload` to it, and decode the answer."""
    body = None if payload is None else json.dumps(payload).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with _opener.open(request, timeout=timeout) as response:
        return json.load(response)


def run_prompt(url: str, prompt: dict, timeout: float = 600.0) -> dict:
    """Queue `prompt` (API format), wait until it has ended and return its entry in the history.

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
            pictures.append(read_picture(io.BytesIO(response.read())))
    return pictures


def run_and_fetch(url: str, prompt: dict) -> dict[str, list[Image.Image]]:
    """Run `prompt` and fetch the pictures that its nodes saved or previewed, by node.

    The pictures of loaders are left out: a loader shows its file only in the run that loads it.
    """
    outputs = run_prompt(url, prompt)["outputs"]
    shown = [node for node in outputs if not prompt[node]["class_type"].startswith("PPAP_Load")]
    found = {node: fetch_images(url, outputs[node]) for node in shown}
    return {node: pictures for node, pictures in found.items() if pictures}


def read_prompt(url: str, path: Path) -> dict:
    """A workflow file as a prompt for the server at `url`."""
    return ui_to_api(read_json(path), request_json(f"{url}/object_info"))


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
    """The prompt's entry, as soon as it has a status.

    Polled, since the history stays empty for a moment after the server has reported success.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        entry = request_json(f"{url}/history/{prompt_id}").get(prompt_id)
        if entry and entry.get("status"):
            return entry
        time.sleep(0.1)
    raise TimeoutError(f"prompt {prompt_id} has not ended after {timeout:g} s")


def validation_error(answer: dict) -> str:
    """A line for each input that the server refused."""
    lines = [
        f"node {node_id} ({node['class_type']}): {error['message']}: {error['details']}"
        for node_id, node in (answer.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    error = answer.get("error")
    fallback = error.get("message") if isinstance(error, dict) else error
    return "\n".join(lines) or str(fallback)


def execution_error(entry: dict) -> str:
    """The message of the node that failed, or where the run was interrupted."""
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            message = data["exception_message"].strip()
            return f"node {data['node_id']} ({data['node_type']}): {message}"
        if event == "execution_interrupted":
            return f"interrupted at node {data['node_id']} ({data['node_type']})"
    return f"the run ended with status {entry['status']['status_str']!r}"
