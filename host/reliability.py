"""Test the pack with damaged files, under load, in hard times, and with interrupted runs.

`python -m host.reliability` loads thousands of damaged files and trainings (host.mutations), runs
graphs made at random (host.random_graphs), trains in hard times (host.hard_times), and cancels,
repeats and kills runs of a real server (host.server_load). Each test writes its row to
docs/reliability.md as soon as it has ended; `--only NAME ...` runs some of them again and leaves
the other rows as they are.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from host import random_graphs
from host.hard_times import TIMES
from host.mutations import KINDS, run_cases, summary
from host.serve import ComfyServer
from host.server_load import cancel, kill, repeat, two_clients
from ppap_core.comfy_bridge.headless import PACK_ROOT

TITLE = """# Reliability

The pack was tested with damaged files, under load, in hard times, and with interrupted runs, on two
CPU cores. Written by `.venv/bin/python -m host.reliability`.

| test | result |
| --- | --- |
"""


class Test(NamedTuple):
    """`title`: with {num}, how often it is tried, `usual` if nobody says otherwise."""

    title: str
    usual: int
    run: Callable[[int], str]


def on_a_server(run: Callable[[ComfyServer, int], str]) -> Callable[[int], str]:
    """`run` on a server of its own, as a function of how often."""

    def start_and_run(num: int) -> str:
        with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server:
            return run(server, num)

    return start_and_run


def in_hard_times(name: str) -> Callable[[int], str]:
    """A part of host.hard_times, in a process of its own: it changes clock, limits and folder."""

    def run(num: int) -> str:
        command = [sys.executable, "-m", "host.hard_times", name, "--most", str(num)]
        ended = subprocess.run(command, cwd=PACK_ROOT, capture_output=True, text=True)
        lines = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()
        return lines[-1] if lines else f"ended with status {ended.returncode}"

    return run


def kill_servers(num: int) -> str:
    with tempfile.TemporaryDirectory() as base:
        return kill(Path(base), num)


def random_graphs_on(server: ComfyServer, num: int) -> str:
    return random_graphs.summary(random_graphs.run_graphs(server, num))


def damaged(kind: str) -> Test:
    return Test(f"load {{num}} damaged {kind}", 1000, lambda num: summary(run_cases(kind, num)))


TESTS = {
    **{kind.replace(" ", "-"): damaged(kind) for kind in KINDS},
    "graphs": Test("run {num} graphs made at random", 200, on_a_server(random_graphs_on)),
    "disk": Test(f"{TIMES['disk'][1]}, for {{num}} n", 40, in_hard_times("disk")),
    "two": Test(f"{TIMES['two'][1]}, {{num}} times", 3, in_hard_times("two")),
    "clock": Test(f"{TIMES['clock'][1]}, {{num}} times", 5, in_hard_times("clock")),
    "read-only": Test(f"{TIMES['read-only'][1]}, {{num}} of them", 3, in_hard_times("read-only")),
    "cancel": Test("cancel {num} runs, each at a random moment", 50, on_a_server(cancel)),
    "repeat": Test("run {num} prompts with changing guiders and experts", 100, on_a_server(repeat)),
    "clients": Test(
        "two clients queue {num} prompts each at the same time", 5, on_a_server(two_clients)
    ),
    "kill": Test("kill the server {num} times in the middle of a run", 3, kill_servers),
}


def any_number(title: str) -> str:
    """`title` without its numbers: the same test, however often it was tried."""
    return re.sub(r"\d+", "", title)


def read_rows(path: Path) -> dict[str, str]:
    """The rows of an earlier run, by test."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    cells = [line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| ")]
    return {title: result for title, result in cells if title not in ("test", "---")}


def write_row(path: Path, name: str, num: int, result: str) -> None:
    """Put a row into the page; those of the other tests stay, in the order of TESTS."""
    rows = {any_number(title): (title, text) for title, text in read_rows(path).items()}
    title = TESTS[name].title.format(num=num)
    rows[any_number(title)] = (title, result)
    order = [any_number(test.title.format(num=0)) for test in TESTS.values()]
    lines = [f"| {rows[key][0]} | {rows[key][1]} |" for key in order if key in rows]
    path.write_text(TITLE + "\n".join(lines) + "\n", "utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TESTS, metavar="NAME", help=", ".join(TESTS))
    parser.add_argument("--num", type=int, help="how often each is tried (default: by test)")
    parser.add_argument("--out", type=Path, default=PACK_ROOT / "docs" / "reliability.md")
    args = parser.parse_args(argv)
    for name in args.only or TESTS:
        num = args.num or TESTS[name].usual
        result = TESTS[name].run(num)
        write_row(args.out, name, num, result)
        sys.stdout.write(f"{TESTS[name].title.format(num=num)}: {result}\n")


if __name__ == "__main__":
    main()
