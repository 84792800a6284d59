"""python -m training <all|generate|distill|evaluate|inspect|convert>"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ppap_core.atomic import replace_file
from ppap_core.comfy_bridge.headless import boot, has_accelerator
from ppap_core.distillation.evaluate import HeldOut, agreement_table
from ppap_core.distillation.images import find_images
from ppap_core.distillation.learned import what_was_learned
from ppap_core.distillation.progress import READING, SAMPLING
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.distillation.workers import connect_workers, rank, world_size
from ppap_core.errors import SettingError
from ppap_core.expert_file import load_experts
from ppap_core.expert_header import describe
from ppap_core.guiders.convert import convert_pickle
from ppap_core.out_of_memory import is_out_of_memory

from .config import Config, add_flags, flag, place_of, read_config
from .progress import Bar, Watcher

if TYPE_CHECKING:
    from ppap_core.comfy_bridge.trainer import Trainer

log = logging.getLogger(__package__)


class Command(NamedTuple):
    """`sections` of the configuration that its flags set, with the settings that count (None: all).

    `needs`: settings that have to be given.
    """

    help: str
    sections: dict[str, tuple[str, ...] | None]
    needs: list[str]


ALL_SECTIONS = dict.fromkeys(["sources", "files", "distill", "adapter", "generate"])
COMMANDS = {
    "all": Command(
        "generate pictures with a checkpoint, then distil a guider's experts on them",
        ALL_SECTIONS,
        ["checkpoint", "guider", "out"],
    ),
    "generate": Command(
        "generate pictures with a checkpoint",
        {
            "sources": ("checkpoint", "vae", "text_encoders", "clip_type"),
            "files": ("images", "force"),
            "generate": None,
        },
        ["checkpoint", "images"],
    ),
    "distill": Command(
        "distil a guider's experts on a folder of pictures",
        ALL_SECTIONS,
        ["checkpoint", "guider", "out"],
    ),
    "evaluate": Command(
        "agreement of an expert file with its guider, per noise range",
        {
            "sources": None,
            "files": ("images", "run", "labels", "force"),
            "distill": ("estimates",),
            "generate": ("cfg",),
        },
        ["checkpoint", "guider", "images"],
    ),
}


class ShortErrors(argparse.ArgumentParser):
    """Says what is wrong with a flag without listing all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}\n(flags: {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    parser = ShortErrors(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, description=command.help)
        if name == "evaluate":
            one.add_argument("--experts", type=Path, required=True, help="expert file")
        if name in ("all", "distill"):
            one.add_argument("--dry-run", action="store_true", help="show the plan only")
        add_flags(one, command.sections)
    inspect = commands.add_parser("inspect", help="check an expert file and print its header")
    inspect.add_argument("file", type=Path)
    convert = commands.add_parser("convert", help="make safetensors of a pickle that you trust")
    convert.add_argument("file", type=Path, help="weights as .pth, .pt, .bin or .ckpt")
    convert.add_argument(
        "--out", type=Path, required=True, help="a guider's folder, or a .safetensors file"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    if args.command == "inspect":
        sys.stdout.write(describe(load_experts(args.file).header) + "\n")
        return
    if args.command == "convert":
        log.info("wrote %s", " and ".join(map(str, convert_pickle(args.file, args.out))))
        return
    config = read_config(args)
    check_given(args.command, config)
    if args.command == "all" and config.distill.input == "x_t":  # nothing would read estimates
        config = replace(config, generate=replace(config.generate, num_estimates=0))
    distils = args.command in ("all", "distill")
    if distils:
        config.files.check_out()  # before anything is loaded
    connect_workers(cpu=not has_accelerator())
    if distils and rank() == 0:
        log.info("%s", config.to_toml())
    draws = args.command in ("all", "generate")
    trainer = replace(load_trainer(config), draws=draws, distils=distils)
    if distils and args.dry_run:
        from ppap_core.comfy_bridge.plan import plan

        sys.stdout.write(plan(trainer) + "\n")
        return
    with trainer.working():
        if draws:
            generate(trainer)
        if distils:
            distill(trainer, config)
        if args.command == "evaluate":
            sys.stdout.write(evaluate(trainer, args.experts) + "\n")


def check_given(command: str, config: Config) -> None:
    """ValueError, naming the flags, if something that the command needs is missing."""
    given = {**vars(config.sources), **vars(config.files)}
    if missing := [flag(name) for name in COMMANDS[command].needs if not given[name]]:
        raise ValueError(f"{command} needs {' and '.join(missing)}")


def load_trainer(config: Config) -> "Trainer":
    boot()
    from ppap_core.comfy_bridge.trainer import Trainer

    from .models import load_models

    config.generate.read_prompts()  # before models are loaded: whether it can be read
    models = load_models(config.sources)
    return Trainer(**models, generate=config.generate, distill=config.distill, files=config.files)


def generate(trainer: "Trainer") -> None:
    total = trainer.generate.num_images
    with Bar(SAMPLING, total, total - trainer.num_missing(), "image") as bar:
        trainer.generate_pictures(bar.advance)


def ask_teacher(trainer: "Trainer") -> TrainingSet:
    total = len(find_images(trainer.files.image_folder()))
    with Bar(READING, total, 0, "image") as bar:
        return trainer.training_set(bar.advance)


def distill(trainer: "Trainer", config: Config) -> None:
    """Distil, and log what was reached and written."""
    data, folder = ask_teacher(trainer), trainer.files.run_folder()

    def save_config() -> None:
        if rank() == 0:
            with replace_file(folder / "config.toml") as partial:
                partial.write_text(config.to_toml(), encoding="utf-8")

    with Watcher(folder, trainer.distill) as watcher:
        samples = watcher.samples_of(trainer)
        trained = trainer.train(data, watcher, begin=save_config, samples=samples)
    if trained:
        log.info("%s", "\n".join(what_was_learned(trainer.guider.info.kind, trained[1])))
        log.info("wrote %s; the report is %s", trainer.files.out, folder / "report.md")


def evaluate(trainer: "Trainer", file: Path) -> str:
    """Agreement of an expert file with its guider, on all pictures of a folder."""
    expert_set = load_experts(file)
    header = expert_set.header
    as_trained = replace(trainer.distill, input=header.input, view=header.view)
    trainer, experts = replace(trainer, distill=as_trained), expert_set.for_guider(trainer.guider)
    data = ask_teacher(trainer)
    heldout = HeldOut(trainer.guider, data, read=trainer.reader()[1])
    return agreement_table(heldout.rows(experts))


def out_of_memory() -> int:
    if world_size() > 1:
        log.error("out of memory: lower --batch-size or raise --accumulation")
    else:
        log.error(
            "out of memory, with one picture at a time as well: choose smaller pictures (--width, "
            "--height), a smaller guider, --view linear_rgb or --input x_t"
        )
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # hides ComfyUI's infos
    log.setLevel(logging.INFO)
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except SettingError as error:
        log.error("%s", error.told(place_of))
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return out_of_memory()
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        log.error("stopped: run the same command to resume")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
