"""python -m training <all|generate|distill|evaluate|inspect>"""

import argparse
import logging
import sys
from pathlib import Path

import torch

from ppap_core.comfy_bridge.headless import boot, has_accelerator
from ppap_core.distillation.workers import join, rank

from .config import add_flags, read_config

log = logging.getLogger(__package__)

STAGES = {
    "all": "draw pictures with a checkpoint, then distil a guider's experts on them",
    "generate": "draw pictures with a checkpoint",
    "distill": "distil a guider's experts on a folder of pictures",
    "evaluate": "agreement of an expert file with its guider, per noise range",
}
SECTIONS = {
    "all": ["paths", "distill", "adapter", "generate"],
    "generate": ["paths", "generate"],
    "distill": ["paths", "distill", "adapter", "generate"],
    "evaluate": ["paths", "distill", "adapter", "generate"],
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in STAGES.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "evaluate":
            command.add_argument("--experts", type=Path, required=True)
        if name in ("all", "distill"):
            command.add_argument("--dry-run", action="store_true", help="show the plan only")
        add_flags(command, SECTIONS[name])
    command = commands.add_parser("inspect", help="check an expert file and print its header")
    command.add_argument("file", type=Path)
    return parser


def run(args: argparse.Namespace) -> None:
    if args.command == "inspect":
        from ppap_core.expert_file import describe, load_experts

        sys.stdout.write(describe(load_experts(args.file).header) + "\n")
        return
    config = read_config(args)
    check_given(args.command, config)
    join(cpu=not has_accelerator())
    boot()
    from ppap_core.comfy_bridge.trainer import check_output

    from .stages import build_trainer, draw_pictures, evaluate, teach

    distils = args.command in ("all", "distill")
    if distils:
        check_output(Path(config.paths.out), config.paths.overwrite)
        if rank() == 0:
            log.info("%s", config.to_toml())
    trainer = build_trainer(config)
    if distils and args.dry_run:
        from .plan import plan

        sys.stdout.write(plan(trainer, args.command == "all") + "\n")
        return
    if args.command in ("all", "generate"):
        draw_pictures(trainer)
    if distils:
        teach(trainer, config)
    if args.command == "evaluate":
        sys.stdout.write(evaluate(trainer, args.experts) + "\n")


def check_given(command: str, config) -> None:
    needed = ["checkpoint", *(["guider"] if command != "generate" else [])]
    needed += ["images"] if command in ("generate", "evaluate") else ["out"]
    missing = [name for name in needed if not getattr(config.paths, name)]
    if missing:
        raise ValueError(f"{command} needs {' and '.join('--' + name for name in missing)}")


def out_of_memory() -> int:
    logging.error("out of memory: lower --batch-size or raise --accumulation")
    return 1


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # ComfyUI's own stay away
    logging.getLogger(__package__).setLevel(logging.INFO)
    args = build_parser().parse_args()
    try:
        run(args)
    except torch.OutOfMemoryError:
        return out_of_memory()
    except (ValueError, OSError, RuntimeError) as error:
        if "allocate memory" in str(error):  # the CPU has no exception of its own for it
            return out_of_memory()
        logging.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logging.error("stopped; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
