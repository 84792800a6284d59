"""Damaged and hostile files, thousands of them: each is refused in one line, or works.

`python -m host.mutations [--files 1000]` mutates the demo's expert files and guider folders (bytes,
lengths, headers, settings, tensors), loads each and, where it is accepted, lets it guide. Cases run
in other processes, so that a crash or a hang is counted, not suffered. A case depends only on its
number.
"""

import argparse
import copy
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from tqdm import tqdm

from demo.paths import DEPTH_GUIDER, EXPERTS, GUIDER, SEGMENTATION_GUIDER
from demo.shapes import SHAPES
from ppap_core.comfy_bridge.headless import PACK_ROOT
from ppap_core.expert_file import hash_tensors, load_experts
from ppap_core.guidance import Guidance
from ppap_core.guidance_run import GuidanceRun
from ppap_core.guiders import Guider, load_guider
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

CHUNK, SLOWEST, START_UP = 50, 5.0, 120.0  # cases a process; seconds a case, seconds to start
MOST_MEMORY = 12 << 30  # bytes of address space a case may ask for beyond the process's own
NESTED = json.loads("[" * 200 + "]" * 200)
JUNK = (
    *(None, True, -1, 0, 1, 3, 10**9, 10**30, -(10**30), 1e300, float("inf"), float("nan")),
    *("", "..", "../../../../etc/passwd", "C:\\Windows", "a/b", "\0", "x" * 100_000),
    *([], {}, [[]], NESTED, ["a"] * 1000, {"auto_map": {}}, "trust_remote_code", "\ud800"),
)
# A file is refused in one line, or works; of settings that contradict each other some libraries
# know only when they are asked for an answer, and that error ComfyUI shows.
REFUSED, WORKS, LATE = "refused", "works", "an error when asked"
FINE = (REFUSED, WORKS, LATE)


# --- how files go wrong


def mutate_json(value, dice: random.Random):
    """A copy of which one place, anywhere in it, is another."""
    top = [copy.deepcopy(value)]
    holder, key = top, 0
    while isinstance(holder[key], dict | list) and holder[key] and dice.random() < 0.75:
        holder = holder[key]
        key = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    old = holder[key]
    if holder is not top and dice.random() < 0.2:
        del holder[key]
    elif isinstance(old, int | float) and dice.random() < 0.2:
        holder[key] = old * dice.choice((-1, 0, 2, 1000, 10**7, 0.5))
    else:
        holder[key] = dice.choice(JUNK)
    return top[0]


def mutate_bytes(data: bytes, dice: random.Random) -> bytes:
    kind = dice.randrange(4)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        return data + dice.randbytes(dice.randrange(1, 2000))
    changed = bytearray(data)
    reach = len(data) if kind == 2 else min(len(data), 4096)
    for _ in range(dice.randrange(1, 20)):
        changed[dice.randrange(reach)] = dice.randrange(256)
    return bytes(changed)


def split_header(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_header(header: object, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def mutate_length(data: bytes, dice: random.Random) -> bytes:
    length = dice.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1, dice.randrange(len(data))))
    return length.to_bytes(8, "little") + data[8:]


def mutate_index(data: bytes, dice: random.Random) -> bytes:
    """Names, types, shapes and places of tensors."""
    header, rest = split_header(data)
    return join_header(mutate_json(header, dice), rest)


def mutate_metadata(data: bytes, dice: random.Random) -> bytes:
    """What the header says of the experts; values hold JSON of their own."""
    header, rest = split_header(data)
    metadata = header.get("__metadata__") or {"format": "pt"}
    key = dice.choice(sorted(metadata))
    try:
        metadata[key] = json.dumps(mutate_json(json.loads(metadata[key]), dice))
    except json.JSONDecodeError:
        metadata[key] = str(dice.choice(JUNK)).replace("\ud800", "?")
    return join_header(header | {"__metadata__": metadata}, rest)


def mutate_tensors(data: bytes, dice: random.Random) -> bytes:
    """Another tensor in the place of one, and a checksum that agrees."""
    header, _ = split_header(data)
    tensors = load(data)
    name = dice.choice(sorted(tensors))
    old = tensors[name]
    tensors[name] = dice.choice(
        (
            lambda: torch.zeros(0),
            lambda: torch.zeros(()),
            lambda: old.flatten(),
            lambda: old.double() * 1e30,
            lambda: old.to(torch.int8),
            lambda: old.bool(),
            lambda: torch.full_like(old, float("nan")) if old.is_floating_point() else old + 1,
            lambda: torch.randn(7, 3),
            lambda: old.repeat(2, *[1] * (old.ndim - 1)) if old.ndim else old,
        )
    )().contiguous()
    if dice.random() < 0.2:
        tensors[dice.choice(("experts.0.x", "experts.9.y", "other", name + ".z"))] = torch.ones(2)
    metadata = header.get("__metadata__") or {}
    if "modelspec.hash_sha256" in metadata:
        metadata["modelspec.hash_sha256"] = hash_tensors(tensors)
    return save(tensors, metadata)


OF_A_FILE = (mutate_bytes, mutate_length, mutate_index, mutate_metadata, mutate_tensors)


# --- cases


def check_experts(number: int, folder: Path, guider: Guider) -> None:
    """ValueError, or the experts guide."""
    dice = random.Random(number)
    file = folder / "experts.safetensors"
    file.write_bytes(dice.choice(OF_A_FILE)(EXPERTS.read_bytes(), dice))
    before = {name: tensor.clone() for name, tensor in guider.backbone.state_dict().items()}
    try:
        experts = load_experts(file).for_guider(guider)
        guide(guider, experts)
    finally:
        guider.switch.restore()
        after = guider.backbone.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), "guider has changed"


def guide(guider: Guider, experts) -> None:
    target = ClassTarget([{0: 1.0}], len(SHAPES))
    run = GuidanceRun(Guidance(guider, target, Strength(0.1, "relative"), experts=experts))
    for sigma in (0.1, 1.0, 5.0, 50.0):
        shift = run.shift(torch.randn(1, 3, 32, 32), torch.full((1,), sigma))
        assert shift.isfinite().all(), "a shift that is not finite"


class ErrorWhenAsked(Exception):
    """A guider was loaded and cannot answer."""


def check_guider(number: int, folder: Path, _: Guider) -> None:
    """ValueError, or the guider answers."""
    dice = random.Random(number)
    source = dice.choice((GUIDER, DEPTH_GUIDER, SEGMENTATION_GUIDER))
    copied = folder / source.name
    shutil.copytree(source, copied)
    file = dice.choice(sorted(path for path in copied.iterdir() if path.is_file()))
    if file.suffix == ".json" and dice.random() < 0.8:
        changed = json.dumps(mutate_json(json.loads(file.read_text("utf-8")), dice)).encode()
    else:
        ways = OF_A_FILE if file.suffix == ".safetensors" else (mutate_bytes,)
        changed = dice.choice(ways)(file.read_bytes(), dice)
    file.write_bytes(changed)
    guider = load_guider(copied)
    try:
        with torch.no_grad():
            guider(torch.randn(1, 3, 32, 32))
    except Exception as error:
        raise ErrorWhenAsked(error) from error


KINDS: dict[str, Callable[[int, Path, Guider], None]] = {
    "expert files": check_experts,
    "guider folders": check_guider,
}


@dataclass(frozen=True)
class Outcome:
    """`what`: one of FINE, or what else came of a case."""

    number: int
    what: str
    detail: str
    seconds: float


def run_case(kind: str, number: int, guider: Guider) -> Outcome:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            KINDS[kind](number, Path(folder), guider)
            what, detail = WORKS, ""
        except ValueError as error:
            lines = str(error).splitlines()
            what, detail = (REFUSED if len(lines) == 1 else "many lines"), str(error)
        except ErrorWhenAsked as error:
            what, detail = LATE, str(error)
        except BaseException as error:  # all there is is counted
            what, detail = type(error).__name__, str(error)
    return Outcome(number, what, detail[:300], time.perf_counter() - start)


def work(kind: str, numbers: range) -> None:
    """In a process of its own: a line of JSON for each case."""
    torch.set_num_threads(1)
    guider = load_guider(GUIDER)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY,) * 2)
    for number in numbers:
        print("outcome " + json.dumps(vars(run_case(kind, number, guider))), flush=True)


def run_chunk(kind: str, numbers: range) -> list[Outcome]:
    """A case whose process died or took too long comes back as "crash" or "hang"; others go on."""
    command = [sys.executable, "-m", "host.mutations", "--work", kind]
    command += [str(numbers.start), str(numbers.stop)]
    limit = START_UP + SLOWEST * len(numbers)
    try:
        result = subprocess.run(
            command, cwd=PACK_ROOT, capture_output=True, text=True, timeout=limit
        )
        output, ended = result.stdout, "crash"
    except subprocess.TimeoutExpired as expired:
        output, ended = (expired.stdout or b"").decode(), "hang"
    lines = [line[8:] for line in output.splitlines() if line.startswith("outcome ")]
    found = [Outcome(**json.loads(line)) for line in lines]
    if len(found) == len(numbers):
        return found
    bad = numbers.start + len(found)
    return [*found, Outcome(bad, ended, "", limit), *run_rest(kind, range(bad + 1, numbers.stop))]


def run_rest(kind: str, numbers: range) -> list[Outcome]:
    return run_chunk(kind, numbers) if len(numbers) else []


def run_cases(kind: str, num: int) -> list[Outcome]:
    found: list[Outcome] = []
    with tqdm(total=num, desc=kind, unit="case") as bar:
        for start in range(0, num, CHUNK):
            found += run_chunk(kind, range(start, min(start + CHUNK, num)))
            bar.update(len(found) - bar.n)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="of each kind")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        kind, first, stop = args.work
        return work(kind, range(int(first), int(stop)))
    for kind in KINDS:
        found = run_cases(kind, args.files)
        counts = Counter(outcome.what for outcome in found)
        slowest = max(outcome.seconds for outcome in found)
        sys.stdout.write(f"{kind}: {dict(counts)}, slowest {slowest:.1f} s\n")
        for outcome in found:
            if outcome.what not in FINE:
                sys.stdout.write(f"    {outcome.number}: {outcome.what}: {outcome.detail}\n")


if __name__ == "__main__":
    main()
