"""python -m training <generate|distill|evaluate|inspect>"""

import argparse
import logging
import sys
from dataclasses import fields
from pathlib import Path

from .adapters import AdapterSettings
from .distill import DistillSettings, distill, teacher_answers
from .evaluate import agreement_per_range, agreement_table
from .generate import GenerateSettings, generate
from .images import load_images

LATENT_FORMAT = "ChromaRadiance"  # ComfyUI's name for plain pixels


def add_settings(parser: argparse.ArgumentParser, settings: type, skip: tuple[str, ...] = ()):
    """One flag per field of a settings dataclass, with its default."""
    for entry in fields(settings):
        if entry.name not in skip and entry.type in (int, float, str):
            flag = "--" + entry.name.replace("_", "-")
            parser.add_argument(flag, type=entry.type, default=entry.default, help="%(default)s")


def pick(args: argparse.Namespace, settings: type, **fixed):
    names = {entry.name for entry in fields(settings)} & set(vars(args)) - set(fixed)
    return settings(**{name: getattr(args, name) for name in names}, **fixed)


def run_generate(args) -> None:
    generate(pick(args, GenerateSettings), args.images)


def run_distill(args) -> None:
    from ppap_core.expert_file import save_experts
    from ppap_core.guiders import load_guider

    if args.out.exists() and not args.overwrite:
        raise ValueError(f"{args.out} exists: choose another name or add --overwrite")
    settings = pick(args, DistillSettings, adapter=pick(args, AdapterSettings))
    guider, images = load_guider(args.guider), load_images(args.images)
    expert_set = distill(
        guider, images, settings, latent_format=LATENT_FORMAT, checkpoint=args.checkpoint.name
    )
    save_experts(expert_set, args.out)


def run_evaluate(args) -> None:
    from ppap_core.expert_file import load_experts
    from ppap_core.guiders import load_guider

    guider, images = load_guider(args.guider), load_images(args.images)
    experts = load_experts(args.experts).for_guider(guider)
    expected = teacher_answers(guider, images).argmax(dim=1)
    rows = agreement_per_range(guider, experts, images, expected)
    sys.stdout.write(
        f"agreement with the guider's own answer on {len(images)} clean images\n"
        f"{agreement_table(rows)}\n"
    )


def run_inspect(args) -> None:
    from ppap_core.expert_file import describe, load_experts

    sys.stdout.write(describe(load_experts(args.file).header) + "\n")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("generate", help="draw images from a pixel-space checkpoint")
    command.add_argument("--checkpoint", required=True)
    command.add_argument("--images", type=Path, required=True, help="folder to fill")
    add_settings(command, GenerateSettings, skip=("checkpoint",))
    command.set_defaults(run=run_generate)
    command = commands.add_parser("distill", help="train the experts of a guider on such a folder")
    command.add_argument("--checkpoint", type=Path, required=True)
    command.add_argument("--guider", type=Path, required=True, help="the guider's folder")
    command.add_argument("--images", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="expert file to write")
    command.add_argument("--overwrite", action="store_true")
    add_settings(command, DistillSettings)
    add_settings(command, AdapterSettings)
    command.set_defaults(run=run_distill)
    command = commands.add_parser("evaluate", help="agreement with the teacher per noise range")
    command.add_argument("--guider", type=Path, required=True)
    command.add_argument("--experts", type=Path, required=True)
    command.add_argument("--images", type=Path, required=True)
    command.set_defaults(run=run_evaluate)
    command = commands.add_parser("inspect", help="check an expert file and print its header")
    command.add_argument("file", type=Path)
    command.set_defaults(run=run_inspect)
    return parser


def main() -> int:
    args = build_parser().parse_args()
    try:
        args.run(args)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
