"""Graphs made at random around guidance: nodes of ComfyUI that change a MODEL, prompt or latent.

`python -m host.random_graphs [--graphs 200]` builds graphs for the demo's models with one to three
such nodes, by their default widgets, before and after *PPAP Apply Guidance*, and runs each on a
server twice: as it is, and without ours. What runs without ours has to run with it, or be refused
by us with a reason; and the picture has to be another one, or the report says why it is not.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from host.client import execution_error, fetch_images, queue_prompt, request_json, wait_for_history
from host.prompts import default_value, is_widget
from host.serve import ComfyServer

FITS = ("MODEL", "CONDITIONING", "LATENT")
SLOW = ("TorchCompileModel", "TrainLoraNode")  # minutes each
LONGEST = 600.0  # seconds that a prompt may take
WORLDS = {  # the model's loader and file, its experts, sampler and size
    "pixels": ("PPAP_LoadPixelModel", "demo-scenes", "demo-shapes-resnet", "ddim", 32),
    "latents": ("UNETLoader", "demo-scenes-flux", "demo-shapes-flux-x0", "euler", 64),
}
GUIDED, REFUSED, SAID, HOSTS = (
    "guided",
    "refused by us with a reason",
    "unguided, as the report says",
    "fail without ours as well",
)
FINE = (GUIDED, REFUSED, SAID, HOSTS)
REASONS = ("nothing", "not finite", "certain", "from the first step on", "cache answered", "no run")

Link = list  # [node id, number of the output]


class Found(NamedTuple):
    """How a graph ended: one of FINE, or what went wrong; `detail` names its nodes."""

    what: str
    detail: str


class Graph:
    """A prompt that grows. `info`: the server's object_info."""

    def __init__(self, info: dict):
        self.info, self.nodes, self.links = info, {}, {}

    def add(self, name: str, **inputs) -> str:
        """The id of a new node with default widgets; `inputs` are links and other widgets."""
        groups = self.info[name]["input"]
        values = {
            key: default_value(spec[0], (*spec, {})[1])
            for key, spec in groups.get("required", {}).items()
            if is_widget(spec[0], (*spec, {})[1])
        }
        number = str(len(self.nodes) + 1)
        self.nodes[number] = {"class_type": name, "inputs": values | inputs}
        return number

    def add_any(self, name: str) -> str:
        """A node of the host whose sockets get what there is of their types."""
        required = self.info[name]["input"].get("required", {})
        sockets = {key: self.links[spec[0]] for key, spec in required.items() if _fits(spec)}
        return self.add(name, **sockets)

    def grow(self, kind: str, num: int, generator: random.Random) -> list[str]:
        """Put `num` random nodes behind what gives `kind`; their names."""
        chosen = generator.choices(candidates(self.info, kind), k=num)
        for name in chosen:
            self.links[kind] = [self.add_any(name), 0]
        return chosen


def _fits(spec: list) -> bool:
    return spec[0] in FITS


def candidates(info: dict, kind: str) -> list[str]:
    """The host's nodes that take a `kind` and give one first, and want nothing that is missing."""
    found = []
    for name, node in sorted(info.items()):
        specs = [(*spec, {}) for spec in node["input"].get("required", {}).values()]
        serves = all(spec[0] in FITS or _has_default(spec) for spec in specs)
        takes = any(spec[0] == kind for spec in specs)
        if takes and serves and node["output"][:1] == [kind]:
            found.append(name)
    return [name for name in found if not name.startswith("PPAP_") and name not in SLOW]


def _has_default(spec: tuple) -> bool:
    return is_widget(spec[0], spec[1]) and default_value(spec[0], spec[1]) is not None


def build(info: dict, seed: int) -> tuple[dict, dict, str]:
    """(prompt with guidance, the same without, its random nodes in words)."""
    generator = random.Random(seed)
    graph = Graph(info)
    world = generator.choice(list(WORLDS))
    loader, file, experts, sampler, side = WORLDS[world]
    widget = next(iter(info[loader]["input"]["required"]))
    graph.links["MODEL"] = [graph.add(loader, **{widget: f"{file}.safetensors"}), 0]
    is_pixels = world == "pixels"
    words = ["1", 1] if is_pixels else [graph.add("LotusConditioning"), 0]
    graph.links["CONDITIONING"] = words
    empty = "EmptyLatentImage" if is_pixels else "EmptySD3LatentImage"
    graph.links["LATENT"] = [graph.add(empty, width=side, height=side, batch_size=1), 0]
    guider = [graph.add("PPAP_LoadGuider", guider="demo-shapes-resnet"), 0]
    guider = [graph.add("PPAP_LoadExperts", guider=guider, experts=f"{experts}.safetensors"), 0]
    target = [graph.add("PPAP_TargetClass", guider=guider, classes="cone"), 0]
    vae_name = "pixel_space" if is_pixels else f"{file}.safetensors"
    vae = [graph.add("VAELoader", vae_name=vae_name), 0]
    names = graph.grow("MODEL", generator.randint(0, 2), generator) + ["|"]
    before = graph.links["MODEL"]
    jacobian = generator.choice(("none", "jvp", "backprop"))
    sockets = {"model": before, "guider": guider, "target": target, "vae": vae}
    ours = graph.add("PPAP_ApplyGuidance", **sockets, guidance_scale=0.5, jacobian=jacobian)
    graph.links["MODEL"] = [ours, 0]
    names += [*graph.grow("MODEL", generator.randint(0, 2), generator), "|"]
    for kind in ("CONDITIONING", "LATENT"):
        names += graph.grow(kind, generator.randint(0, 1), generator)
    prompt = graph.links["CONDITIONING"]
    sampling = {"sampler_name": sampler, "scheduler": "simple", "steps": 3, "cfg": 2.0}
    place = {"model": graph.links["MODEL"], "positive": prompt, "negative": words}
    latent = [graph.add("KSampler", **place, **sampling, latent_image=graph.links["LATENT"]), 0]
    pictures = [graph.add("VAEDecode", samples=latent, vae=vae), 0]
    graph.add("PreviewImage", images=pictures)
    without = {i: n for i, n in graph.nodes.items() if i != ours}
    without = {i: n | {"inputs": _relinked(n["inputs"], ours, before)} for i, n in without.items()}
    graph.add("PPAP_GuidanceReport", model=graph.links["MODEL"], latent=latent)
    return graph.nodes, without, f"{world}, {jacobian}: {' '.join(names)}"


def _relinked(inputs: dict, ours: str, before: Link) -> dict:
    return {key: before if value == [ours, 0] else value for key, value in inputs.items()}


class Run(NamedTuple):
    """`pixels` of the pictures, `text` of the report, or `error` and the exception's type."""

    pixels: list[bytes]
    text: str = ""
    error: str = ""
    kind: str = ""


def run(url: str, prompt: dict) -> Run:
    try:
        entry = wait_for_history(url, queue_prompt(url, prompt), LONGEST)
    except RuntimeError as error:  # the server does not accept the prompt
        return Run([], error=str(error), kind="invalid")
    if entry["status"]["status_str"] != "success":
        messages = dict(entry["status"]["messages"])
        kind = messages.get("execution_error", {}).get("exception_type", "")
        return Run([], error=execution_error(entry), kind=kind)
    found = {prompt[node]["class_type"]: output for node, output in entry["outputs"].items()}
    pixels = [picture.tobytes() for picture in fetch_images(url, found.get("PreviewImage", {}))]
    told = found.get("PPAP_GuidanceReport", {}).get("text", "")
    return Run(pixels, text=told if isinstance(told, str) else "\n".join(map(str, told)))


def try_graph(url: str, info: dict, seed: int) -> Found:
    guided, without, names = build(info, seed)
    plain = run(url, without)
    if plain.error:
        return Found(HOSTS, f"{names}: {plain.error}")
    ours = run(url, guided)
    if ours.error:
        is_reason = ours.kind == "ValueError" and "\n" not in ours.error and "PPAP" in ours.error
        return Found(REFUSED if is_reason else "crash", f"{names}: {ours.error}")
    if ours.pixels != plain.pixels:
        return Found(GUIDED, names)
    is_said = any(reason in ours.text for reason in REASONS)
    return Found(SAID if is_said else "silently unguided", f"{names}: {ours.text}")


def run_graphs(server: ComfyServer, num: int) -> list[Found]:
    info = request_json(f"{server.url}/object_info")
    return [try_graph(server.url, info, seed) for seed in tqdm(range(num), desc="graphs")]


def summary(found: list[Found]) -> str:
    """How many graphs had each end; faults in words."""
    counts = Counter(each.what for each in found)
    text = ", ".join(f"{counts.pop(what, 0)} {what}" for what in FINE)
    others = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"{text}, {others or '0 of anything else'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--verbose", action="store_true", help="say how each graph ended")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
        found = run_graphs(server, args.graphs)
    for number, each in enumerate(found):
        if args.verbose or each.what not in FINE:
            sys.stdout.write(f"{number}: {each.what}: {each.detail}\n")
    sys.stdout.write(f"{summary(found)}\n")


if __name__ == "__main__":
    main()
