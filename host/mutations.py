"""Load thousands of damaged and hostile files: each is refused in one line, or works.

`python -m host.mutations [--files 1000]` damages the demo's expert files and guider folders (see
`host.damage`) and trainings (`host.training_damage`), loads each and, if it is accepted, uses it.
Cases run in processes of their own, so
that a crash or a hang is counted and the others still run. A case depends only on its number.
"""

import argparse
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
from tqdm import tqdm

from demo.paths import DEPTH_GUIDER, EXPERTS, GUIDER, SEGMENTATION_GUIDER
from demo.shapes import SHAPES
from host.damage import OF_SAFETENSORS, mutate_bytes, mutate_json
from host.training_damage import check_training
from ppap_core.comfy_bridge.headless import PACK_ROOT
from ppap_core.expert_file import load_experts
from ppap_core.guidance import Guidance
from ppap_core.guidance_run import GuidanceRun
from ppap_core.guiders import Guider, load_guider
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

CHUNK = 50  # cases that a process runs
SLOWEST, START_UP = 5.0, 120.0  # seconds allowed for a case, and for the start of a process
SLOWER = {"trainings": 60.0}  # such cases may take longer
MOST_MEMORY = 12 << 30  # bytes of address space that a case may take beyond the process's own
# Outcomes that are right. LATE: some libraries notice contradicting settings only when the network
# runs; ComfyUI shows that error.
FINE = REFUSED, WORKS, LATE = "refused in one line", "work", "load but fail when used"
MARK = "outcome "  # before each line of a process


def check_experts(number: int, folder: Path, guider: Guider) -> None:
    """Damage an expert file and load it: ValueError, or the experts guide."""
    generator = random.Random(number)
    file = folder / "experts.safetensors"
    file.write_bytes(generator.choice(OF_SAFETENSORS)(EXPERTS.read_bytes(), generator))
    before = {name: tensor.clone() for name, tensor in guider.backbone.state_dict().items()}
    try:
        experts = load_experts(file).for_guider(guider)
        target = ClassTarget([{0: 1.0}], len(SHAPES))
        run = GuidanceRun(Guidance(guider, target, Strength(0.1, "relative"), experts=experts))
        for sigma in (0.1, 1.0, 5.0, 50.0):
            shift = run.shift(torch.randn(1, 3, 32, 32), torch.full((1,), sigma))
            assert shift.isfinite().all(), "a shift that is not finite"
    finally:
        guider.switch.restore()
        after = guider.backbone.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before), "guider has changed"


class ErrorWhenAsked(Exception):
    """A guider was loaded and fails when it is run."""


def check_guider(number: int, folder: Path, _: Guider) -> None:
    """Damage a guider folder and load it: ValueError, or the guider answers."""
    generator = random.Random(number)
    source = generator.choice((GUIDER, DEPTH_GUIDER, SEGMENTATION_GUIDER))
    copied = folder / source.name
    shutil.copytree(source, copied)
    file = generator.choice(sorted(path for path in copied.iterdir() if path.is_file()))
    if file.suffix == ".json" and generator.random() < 0.8:
        changed = json.dumps(mutate_json(json.loads(file.read_text("utf-8")), generator)).encode()
    else:
        ways = OF_SAFETENSORS if file.suffix == ".safetensors" else (mutate_bytes,)
        changed = generator.choice(ways)(file.read_bytes(), generator)
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
    "trainings": check_training,
}


@dataclass(frozen=True)
class Outcome:
    """`what`: one of FINE, or else what happened."""

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
        except BaseException as error:  # whatever it is, it is counted
            what, detail = type(error).__name__, str(error)
    return Outcome(number, what, detail[:300], time.perf_counter() - start)


def work(kind: str, numbers: range) -> None:
    """Run cases in this process; prints a line of JSON for each."""
    torch.set_num_threads(1)
    guider = load_guider(GUIDER)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY,) * 2)
    for number in numbers:
        outcome = vars(run_case(kind, number, guider))
        sys.stdout.write(f"{MARK}{json.dumps(outcome)}\n")
        sys.stdout.flush()


def run_chunk(kind: str, numbers: range) -> list[Outcome]:
    """Run cases in one new process; if it dies or hangs, the cases after that one get another."""
    first, stop = str(numbers.start), str(numbers.stop)
    command = [sys.executable, "-m", "host.mutations", "--work", kind, first, stop]
    limit = START_UP + SLOWER.get(kind, SLOWEST) * len(numbers)
    try:
        result = subprocess.run(
            command, cwd=PACK_ROOT, capture_output=True, text=True, timeout=limit
        )
        output, ended = result.stdout, "crash"
    except subprocess.TimeoutExpired as expired:
        output, ended = (expired.stdout or b"").decode(), "hang"
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    found = [Outcome(**json.loads(line.removeprefix(MARK))) for line in lines]
    if len(found) == len(numbers):
        return found
    found.append(Outcome(numbers.start + len(found), ended, "", limit))
    rest = numbers[len(found) :]
    return found + (run_chunk(kind, rest) if rest else [])


def run_cases(kind: str, num: int) -> list[Outcome]:
    found: list[Outcome] = []
    with tqdm(total=num, desc=kind, unit="case") as bar:
        for start in range(0, num, CHUNK):
            found += run_chunk(kind, range(start, min(start + CHUNK, num)))
            bar.update(len(found) - bar.n)
    return found


def summary(found: list[Outcome]) -> str:
    """How many cases had each outcome, and how long the slowest took."""
    counts = Counter(outcome.what for outcome in found)
    text = ", ".join(f"{counts.pop(what, 0)} {what}" for what in FINE)
    others = ", ".join(f"{count} {what}" for what, count in counts.items()) or "0 of anything else"
    return f"{text}, {others}; the slowest took {max(o.seconds for o in found):.1f} s"


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
        sys.stdout.write(f"{kind}: {summary(found)}\n")
        for outcome in found:
            if outcome.what not in FINE:
                sys.stdout.write(f"    {outcome.number}: {outcome.what}: {outcome.detail}\n")


if __name__ == "__main__":
    main()
