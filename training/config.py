"""A training's configuration: flags over a TOML file over defaults, checked before models load."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ppap_core.distillation.declaration import check_settings, setting
from ppap_core.distillation.files import TrainingFiles
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.errors import SettingError, did_you_mean, one_line
from ppap_core.text_files import read_text


@dataclass(frozen=True)
class Sources:
    """The models that a training starts from."""

    checkpoint: str = setting("", "any checkpoint or diffusion model that ComfyUI loads")
    vae: str = setting("", "VAE file, or a name of ComfyUI's Load VAE, if the checkpoint has none")
    text_encoders: str = setting("", "text encoder files, with commas, if the checkpoint has none")
    clip_type: str = setting("stable_diffusion", "family of the text encoders: sd3, flux, ...")
    guider: str = setting("", "a folder, a name in models/ppap_guiders, or a known one on the hub")
    allow_download: bool = setting(False, "fetch a known guider from the Hugging Face hub")
    score_head: str = setting("", "safetensors head that makes a score of the guider's embedding")

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


def place_of(name: str) -> str | None:
    """The flag of `name`, None if the command line has no such setting."""
    known = (entry.name for section in SECTIONS for entry in settings_of(section))
    return flag(name) if name in known else None


def add_flags(
    parser: argparse.ArgumentParser, sections: Mapping[str, tuple[str, ...] | None]
) -> None:
    """One flag per setting of `sections`, each with the settings that count, None for all.

    Where two sections share a name, the later one's flag gets a prefix.
    """
    parser.add_argument(
        "--config", type=Path, help="TOML file with these sections: flags go over it"
    )
    taken: set[str] = set()
    for section, counting in sections.items():
        group = parser.add_argument_group(section)
        for entry in settings_of(section):
            if counting is not None and entry.name not in counting:
                continue
            name = f"{section}_{entry.name}" if entry.name in taken else entry.name
            taken.add(name)
            text = entry.metadata["help"].replace("%", "%%")
            shows = entry.default != "" and entry.default is not False
            text += f" (default: {entry.default})" if shows else ""
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
    values = _read_toml(args.config) if args.config else {}
    for section, entries in values.items():
        _check_names(section, entries)
    for name, value in vars(args).items():
        section, dot, key = name.partition(".")
        if dot:
            values.setdefault(section, {})[key] = value
    adapter = _section("adapter", values.pop("adapter", {}))
    values["distill"] = {**values.get("distill", {}), "adapter": adapter}
    return Config(**{name: _section(name, entries) for name, entries in values.items()})


def settings_of(section: str) -> list[Field]:
    """The settings of a section, without those that have a section of their own."""
    return [entry for entry in fields(SECTIONS[section]) if entry.metadata]


def _check_names(section: str, entries: dict) -> None:
    """ValueError, saying what is near, for a section or a setting of it that does not exist."""
    if section not in SECTIONS:
        raise ValueError(f"there is no section [{section}]: {did_you_mean(section, SECTIONS)}")
    if section == "distill" and "adapter" in entries:
        raise ValueError(
            "settings of the adapter belong in the section [adapter], not in [distill]"
        )
    known = [entry.name for entry in settings_of(section)]
    for name in entries:
        if name not in known:
            raise ValueError(f"there is no setting [{section}] {name}: {did_you_mean(name, known)}")


def _section(section: str, entries: dict) -> Any:
    """The settings of one section; errors begin with its name."""
    try:
        return SECTIONS[section](**entries)
    except SettingError:  # the command line adds its flag
        raise
    except ValueError as error:
        raise ValueError(f"[{section}] {error}") from None


def _read_toml(path: Path) -> dict[str, dict]:
    try:
        import tomllib
    except ImportError:
        raise ValueError("--config needs Python 3.11 or newer") from None
    try:
        values = tomllib.loads(read_text(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or one_line(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, value in values.items():
        if not isinstance(value, dict):
            raise ValueError(f"{path}: put {name} below a [section], such as [distill]")
    return values


def _toml(value) -> str:
    return json.dumps(value, ensure_ascii=False)
