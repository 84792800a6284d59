"""A real server under load: cancelled runs, many prompts, two clients, a kill in the middle.

After each of these, a prompt must give the same picture as before, bit for bit.
"""

import json
import random
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from tqdm import tqdm

from demo.paths import WORKFLOWS
from host.client import queue_prompt, read_prompt, run_and_fetch, wait_for_history
from host.serve import ComfyServer

GUIDED = (
    "13 Demo class guidance",
    "14 Demo depth from a reference",
    "15 Demo segmentation from masks",
    "16 Demo class and depth",
)
WARM_UP = 40  # prompts before memory is first measured: the last 32 runs are remembered


def shipped_prompt(server: ComfyServer, name: str) -> dict:
    return read_prompt(server.url, WORKFLOWS / f"{name}.json")


def with_values(prompt: dict, **values) -> dict:
    """A copy of `prompt` in which `seed=3` sets every widget of that name."""
    prompt = json.loads(json.dumps(prompt))
    for node in prompt.values():
        node["inputs"] |= {k: v for k, v in values.items() if k in node["inputs"]}
    return prompt


def without_experts(prompt: dict) -> dict:
    """A copy of `prompt` in which Load PPAP Experts is bypassed."""
    prompt = json.loads(json.dumps(prompt))
    loaders = {i: n for i, n in prompt.items() if n["class_type"] == "PPAP_LoadExperts"}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in loaders:
                node["inputs"][name] = loaders[value[0]]["inputs"]["guider"]
    return {i: n for i, n in prompt.items() if i not in loaders}


def pixels_of(server: ComfyServer, prompt: dict) -> list[bytes]:
    """Run `prompt`: its pictures' pixels, in the order of the nodes. Files also hold the prompt."""
    found = run_and_fetch(server.url, prompt)
    return [picture.tobytes() for node in sorted(found) for picture in found[node]]


def cancel(server: ComfyServer, times: int) -> str:
    """Interrupt every run at a random moment."""
    prompt, generator, stopped = (
        shipped_prompt(server, "13 Demo class guidance"),
        random.Random(0),
        0,
    )
    expected = pixels_of(server, with_values(prompt, seed=1))
    start = time.monotonic()
    pixels_of(server, with_values(prompt, seed=2))
    duration = time.monotonic() - start
    for number in tqdm(range(times), desc="cancel"):
        queued = queue_prompt(server.url, with_values(prompt, seed=100 + number))
        time.sleep(generator.uniform(0, duration))
        urllib.request.urlopen(f"{server.url}/interrupt", data=b"").close()
        entry = wait_for_history(server.url, queued, 120)
        stopped += "execution_interrupted" in dict(entry["status"]["messages"])
    same = pixels_of(server, with_values(prompt, seed=1)) == expected
    return f"{stopped} stopped, {times - stopped} had already ended; {verdict(same)}"


def verdict(same: bool) -> str:
    return (
        f"a prompt run before and after gives {'the same picture' if same else 'ANOTHER PICTURE'}"
    )


def repeat(server: ComfyServer, times: int) -> str:
    """Run prompts with changing guiders, with and without experts, and watch the memory."""
    prompts = [shipped_prompt(server, name) for name in GUIDED]
    prompts += [without_experts(prompt) for prompt in prompts]
    expected, held = pixels_of(server, with_values(prompts[0], seed=1)), []
    for number in tqdm(range(times), desc="repeat"):
        pixels_of(server, with_values(prompts[number % len(prompts)], seed=1000 + number))
        held.append(psutil.Process(server.process_id).memory_info().rss / 2**20)  # MiB
    same = pixels_of(server, with_values(prompts[0], seed=1)) == expected
    first, last = (sum(part) / len(part) for part in (held[WARM_UP:][:10], held[-10:]))
    held_at = f"{first:.0f} MiB after {WARM_UP} prompts, {last:.0f} MiB at the end"
    return f"the server holds {held_at}; {verdict(same)}"


def two_clients(server: ComfyServer, times: int) -> str:
    """Let two clients queue at once; each must get the pictures that it gets alone."""
    prompt = shipped_prompt(server, "13 Demo class guidance")
    asked = {
        name: [with_values(prompt, classes=name, seed=seed) for seed in range(times)]
        for name in ("cone", "torus")
    }
    alone = {name: [pixels_of(server, p) for p in prompts] for name, prompts in asked.items()}
    together: dict[str, list] = {}

    def queue_all(name: str) -> None:
        together[name] = [pixels_of(server, p) for p in asked[name]]

    threads = [threading.Thread(target=queue_all, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = [(a, b) for name in asked for a, b in zip(alone[name], together[name], strict=True)]
    same = sum(a == b for a, b in pairs)
    return f"{same} of {len(pairs)} pictures are the same as when each client is alone"


def kill(base: Path, times: int) -> str:
    """Kill the server in the middle of a run and start one in the same folders."""
    generator, same = random.Random(0), 0
    with ComfyServer(base) as server:
        prompt = shipped_prompt(server, "13 Demo class guidance")
        expected = pixels_of(server, with_values(prompt, seed=1))
    for number in tqdm(range(times), desc="kill"):
        with ComfyServer(base) as server:
            queue_prompt(server.url, with_values(prompt, seed=100 + number))
            time.sleep(generator.uniform(0.5, 4))
            psutil.Process(server.process_id).kill()
        with ComfyServer(base) as server:
            same += pixels_of(server, with_values(prompt, seed=1)) == expected
    left = ", ".join(path.name for path in base.rglob("*.partial*")) or "none"
    return (
        f"{same} of {times} times a restarted server makes the same picture as before; "
        f"unfinished files left over: {left}"
    )
