"""What a training is told: flags over a TOML file over defaults, checked before any model loads."""

import argparse
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

from ppap_core.distillation.adapters import BESIDE_LORA, AdapterSettings
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.settings import CHOICES, DistillSettings


@dataclass(frozen=True)
class Paths:
    """What goes in and where it goes.

    `images`, `run`: folders, beside the expert file unless named. `labels`: a CSV "file,class" for
    the supervised baseline. `text_encoders`: files, with commas.
    """

    checkpoint: str = ""
    vae: str = ""
    text_encoders: str = ""
    clip_type: str = "stable_diffusion"
    guider: str = ""
    out: str = ""
    images: str = ""
    run: str = ""
    labels: str = ""
    allow_download: bool = False
    overwrite: bool = False
    force: bool = False

    def run_folder(self) -> Path:
        """Where a training keeps its state: beside the expert file, or with the pictures."""
        beside = Path(self.out).with_suffix(".run") if self.out else Path(self.images)
        return Path(self.run) if self.run else beside

    def image_folder(self) -> Path:
        return Path(self.images) if self.images else self.run_folder() / "generated"


@dataclass(frozen=True)
class Config:
    paths: Paths = field(default_factory=Paths)
    generate: GenerateSettings = field(default_factory=GenerateSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)

    def to_toml(self) -> str:
        """The whole configuration; `--config` reads it back."""
        sections = asdict(self)
        sections["adapter"] = sections["distill"].pop("adapter")
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {_toml(v)}\n" for key, v in section.items())
            for name, section in sections.items()
        )


SECTIONS = {
    "paths": Paths,
    "generate": GenerateSettings,
    "distill": DistillSettings,
    "adapter": AdapterSettings,
}
HELP = {
    "checkpoint": "any checkpoint or diffusion model that ComfyUI loads",
    "vae": "VAE file, or a name of ComfyUI's Load VAE, where the checkpoint holds none",
    "text_encoders": "text encoder files, with commas, where the checkpoint holds none",
    "clip_type": "what the text encoders belong to: sd3, flux, ...",
    "guider": "the guider's folder, its name in models/ppap_guiders, or a known one's on the hub",
    "allow_download": "fetch a known guider that is not there from the Hugging Face hub",
    "out": "expert file to write",
    "images": "folder of pictures (default: inside the run's folder)",
    "run": "folder for the run's state and report (default: beside the expert file)",
    "labels": "CSV file,class: learn from labels instead (the supervised baseline)",
    "overwrite": "replace an expert file that exists",
    "force": "use a folder of pictures that another checkpoint drew",
    "input": "experts read the noisy state, or the model's estimate of the picture",
    "view": "how a latent becomes a picture: auto, identity, linear_rgb, taesd, vae",
    "num_experts": "noise ranges, each with an expert",
    "partition": "equal shares of log-SNR, or of DDPM's timesteps (the paper)",
    "initialisation": "each expert starts from its neighbour, from one shared adapter, or alone",
    "budget": "whether --steps counts for each expert or for all together",
    "warm_up_steps": "steps over which the learning rate rises",
    "batch_size": "pictures per optimiser step; lower it if memory runs out",
    "accumulation": "pieces that a batch is cut into, to save memory",
    "temperature": "divides the teacher's logits; below 1 sharpens (the official code: 0.25)",
    "depth_loss": "compare depth up to scale and shift, or as it is",
    "ema_decay": "average the weights over steps, 0.99 over about 100; 0 keeps the last",
    "precision": "of the student's passes",
    "num_heldout": "pictures kept for evaluation, at most a tenth",
    "rank": "of LoRA",
    "max_touched": "share of the guider's weights that LoRA may change, from the input on",
    "max_share": "an expert's parameters as a share of the guider's; lowers the rank",
    "pattern": "regular expression: only layers whose name contains it get LoRA",
    "beside_lora": "what else is an expert's own: norms and biases, biases only, or nothing",
    "full": "fine-tune every weight instead of adapters (a baseline)",
    "num_images": "pictures to draw",
    "generate.steps": "sampling steps of each picture",
    "generate.batch_size": "pictures drawn at once",
    "generate.seed": "of the first picture; the next ones count up",
    "width": "of the pictures; 0 is what the checkpoint's family is used to",
    "height": "of the pictures; 0 is what the checkpoint's family is used to",
    "cfg": "classifier-free guidance while drawing; 1 is off",
    "prompts": "file with a prompt in each line, of which every picture gets one at random",
}


def add_flags(parser: argparse.ArgumentParser, sections: list[str]) -> None:
    """One flag per setting. Where two sections share a name, the later one's gets a prefix."""
    parser.add_argument(
        "--config", type=Path, help="TOML file with these sections: flags go over it"
    )
    taken: set[str] = set()
    for section in sections:
        group = parser.add_argument_group(section)
        for entry in fields(SECTIONS[section]):
            if is_dataclass(entry.type) or entry.type not in (int, float, str, bool):
                continue
            name = f"{section}_{entry.name}" if entry.name in taken else entry.name
            taken.add(name)
            flag, target = "--" + name.replace("_", "-"), f"{section}.{entry.name}"
            text = HELP.get(f"{section}.{entry.name}", HELP.get(entry.name, ""))
            text += f" (default: {entry.default})" if entry.default not in ("", False) else ""
            settings = {"dest": target, "default": argparse.SUPPRESS, "help": text}
            if entry.type is bool:
                group.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
            else:
                choices = (CHOICES | {"beside_lora": BESIDE_LORA}).get(entry.name)
                group.add_argument(
                    flag,
                    type=entry.type,
                    choices=choices,
                    metavar=None if choices else "X",
                    **settings,
                )


def read_config(args: argparse.Namespace) -> Config:
    """ValueError, naming the setting, if something is unknown or cannot be."""
    values = _read_toml(args.config) if getattr(args, "config", None) else {}
    for name, value in vars(args).items():
        section, dot, key = name.partition(".")
        if dot:
            values.setdefault(section, {})[key] = value
    unknown = [
        f"[{section}] {key}"
        for section, entries in values.items()
        for key in entries
        if section not in SECTIONS or key not in {e.name for e in fields(SECTIONS[section])}
    ]
    if unknown:
        raise ValueError(f"unknown in the configuration: {', '.join(unknown)}")
    try:
        adapter = AdapterSettings(**values.get("adapter", {}))
        return Config(
            Paths(**values.get("paths", {})),
            GenerateSettings(**values.get("generate", {})),
            DistillSettings(**values.get("distill", {}), adapter=adapter),
        )
    except TypeError as error:
        raise ValueError(f"a setting is of the wrong type: {error}") from None


def _read_toml(path: Path) -> dict[str, dict]:
    try:
        import tomllib
    except ImportError:
        raise ValueError("--config needs Python 3.11 or newer") from None
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if loose := [name for name, value in values.items() if not isinstance(value, dict)]:
        raise ValueError(f"{path}: {', '.join(loose)} stand outside of a [section]")
    return values


def _toml(value) -> str:
    return json.dumps(value, ensure_ascii=False)
