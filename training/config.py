"""A training's configuration: flags over a TOML file over defaults, checked before models load."""

import argparse
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ppap_core.distillation.declaration import check_settings, setting
from ppap_core.distillation.files import TrainingFiles
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.settings import AdapterSettings, DistillSettings


@dataclass(frozen=True)
class Sources:
    """The models that a training starts from."""

    checkpoint: str = setting("", "any checkpoint or diffusion model that ComfyUI loads")
    vae: str = setting("", "VAE file, or a name of ComfyUI's Load VAE, if the checkpoint has none")
    text_encoders: str = setting("", "text encoder files, with commas, if the checkpoint has none")
    clip_type: str = setting("stable_diffusion", "family of the text encoders: sd3, flux, ...")
    guider: str = setting("", "a folder, a name in models/ppap_guiders, or a known one on the hub")
    allow_download: bool = setting(False, "fetch a known guider from the Hugging Face hub")

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class Config:
    sources: Sources = field(default_factory=Sources)
    files: TrainingFiles = field(default_factory=TrainingFiles)
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
    "sources": Sources,
    "files": TrainingFiles,
    "generate": GenerateSettings,
    "distill": DistillSettings,
    "adapter": AdapterSettings,
}


def flag(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, sections: list[str]) -> None:
    """One flag per setting. Where two sections share a name, the later one's gets a prefix."""
    parser.add_argument(
        "--config", type=Path, help="TOML file with these sections: flags go over it"
    )
    taken: set[str] = set()
    for section in sections:
        group = parser.add_argument_group(section)
        for entry in fields(SECTIONS[section]):
            if not entry.metadata:
                continue
            name = f"{section}_{entry.name}" if entry.name in taken else entry.name
            taken.add(name)
            text = entry.metadata["help"].replace("%", "%%")
            text += f" (default: {entry.default})" if entry.default not in ("", False) else ""
            options = {
                "dest": f"{section}.{entry.name}",
                "default": argparse.SUPPRESS,
                "help": text,
            }
            if entry.type is bool:
                group.add_argument(flag(name), action=argparse.BooleanOptionalAction, **options)
            else:
                choices = entry.metadata["choices"] or None
                metavar = None if choices else "X"
                group.add_argument(
                    flag(name), type=entry.type, choices=choices, metavar=metavar, **options
                )


def read_config(args: argparse.Namespace) -> Config:
    """ValueError, naming the setting, if one is unknown or out of its limits."""
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
    adapter = AdapterSettings(**values.pop("adapter", {}))
    values["distill"] = {**values.get("distill", {}), "adapter": adapter}
    return Config(**{name: SECTIONS[name](**entries) for name, entries in values.items()})


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
