"""The command-line flags that the measurements share."""

import argparse
from pathlib import Path

from demo.paths import EVIDENCE


def build_parser(description: str | None, pictures: int, each: str) -> argparse.ArgumentParser:
    """--pictures, how many for `each`, and --output."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pictures", type=int, default=pictures, help=f"for each {each}")
    add_output(parser)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=EVIDENCE, help="folder for what is written")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device; `headless.boot` takes `is_cpu` of it."""
    devices, say = ("cpu", "cuda"), "default: a GPU if there is one"
    parser.add_argument("--device", choices=devices, help=say)


def is_cpu(device: str | None) -> bool | None:
    """None leaves the choice open."""
    return None if device is None else device == "cpu"
