"""What guidance costs beside models of the size that people have.

`python -m evidence.full_size` measures one guided step for each of CASES, with random weights in
real layouts (full_size_models.py), and writes docs/evidence/full_size.csv and full_size.md. `ratio`
is a guided step over an unguided one, both of the same evaluation: all of it, and without the time
that guidance took. `extra_gb` is the most memory that the tensors of guidance take beyond what the
model's own pass took before, without weights. Rows that are in the CSV already are not measured
again: stop it at any time, and run the same command to resume. With --model, --size, --batch or
--guider every way to read is measured there; with --cfg, --input, --view or --jacobian only those.
"""

import argparse
import gc
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from evidence.flags import add_device, add_output, is_cpu
from evidence.full_size_guiders import GUIDERS, load_guider, target_for
from evidence.full_size_models import LAYOUTS, empty_prompt, latent_shape, load_model, load_vae
from evidence.full_size_page import STEPS, rows_of, table, write_page
from evidence.full_size_step import Spent, device_name, is_on_gpu, step
from evidence.tables import write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.out_of_memory import is_out_of_memory
from ppap_core.reading import INPUTS, Reading
from ppap_core.strength import Strength


class Case(NamedTuple):
    """What a row of the table measures. `size`: pixels per side, or WIDTHxHEIGHT."""

    model: str = "SD1.5"
    size: str = "512"
    batch: int = 1
    cfg: float = 1.0
    input: str = "x0_hat"
    view: str = "taesd"
    jacobian: str = "none"
    guider: str = "resnet50"

    def cells(self) -> dict[str, str]:
        return self._asdict() | {"batch": str(self.batch), "cfg": f"{self.cfg:g}"}


SD15, SDXL, SD3, FLUX, WAN = LAYOUTS
READINGS = (
    Case(),
    Case(view="vae"),
    Case(jacobian="jvp"),
    Case(input="x_t", view="linear_rgb", jacobian=""),
    Case(view="vae", cfg=7.0),
    Case(jacobian="jvp", cfg=7.0),
    Case(input="x_t", jacobian=""),
    Case(jacobian="backprop"),
)
CASES = (  # the most telling first
    *READINGS,
    Case(SDXL, "1024"),
    Case(SD3, "1024"),
    Case(FLUX, "1024"),
    Case(size="768x512"),
    Case(batch=4),
    Case(size="1024"),
    *(Case(guider=name) for name in GUIDERS if name != Case().guider),
    Case(SDXL, "1024", input="x_t", view="linear_rgb", jacobian=""),
    Case(WAN, "832x480"),
    Case(SDXL, "1024", view="vae"),
)


def chosen(flags: dict[str, str | int | float | None]) -> list[Case]:
    """The cases that `flags` name, or all."""
    named = {name: value for name, value in flags.items() if value is not None}
    if not named:
        return list(CASES)
    cases = (reading._replace(**named) for reading in READINGS)
    # The state itself is read without the model: there is no Jacobian.
    return list(dict.fromkeys(c._replace(jacobian="") if c.input == "x_t" else c for c in cases))


def sides(size: str) -> tuple[int, int]:
    """Width and height. ValueError for what is no size."""
    width, _, height = size.partition("x")
    return int(width), int(height or width)


def size(text: str) -> str:
    """`text`, if it is one, as argparse wants it."""
    sides(text)
    return text


@lru_cache(maxsize=1)
def load_parts(name: str) -> tuple:
    """MODEL and VAE of that name."""
    model = load_model(name)
    return model, load_vae(model.get_model_object("latent_format"))


def forget_parts() -> None:
    """So that two models never share the memory."""
    import comfy.model_management

    load_parts.cache_clear()
    comfy.model_management.unload_all_models()
    gc.collect()


@lru_cache(maxsize=1)
def load_asking(name: str) -> tuple:
    """PPAP_GUIDER of that name, and PPAP_TARGET."""
    guider = load_guider(name)
    return guider, target_for(guider.guider)


def prepare(case: Case) -> tuple[object, list, tuple[int, ...]]:
    """The guided MODEL, its CONDITIONING, and the shape of a latent."""
    from ppap_core.comfy_bridge.guide import guide

    model, vae = load_parts(case.model)
    guider, target = load_asking(case.guider)
    options = {"reading": Reading(case.input, case.view), "vae": vae}
    if case.jacobian:
        options["jacobian"] = case.jacobian
    guided = guide(model, guider, target, Strength(1.0), **options)
    shape = latent_shape(model.get_model_object("latent_format"), *sides(case.size))
    return guided, empty_prompt(LAYOUTS[case.model]), shape


def measure(case: Case) -> Spent:
    """One step; on a GPU after one that is not counted."""
    prepared = prepare(case)
    for _ in range(1 + is_on_gpu()):
        spent = step(*prepared, case.batch, case.cfg)
    return spent


def measure_all(cases: list[Case], folder: Path) -> None:
    """Those that have no row yet, one after the other; of each a line."""
    rows, model = rows_of(folder / STEPS), None
    for case in cases:
        cells = case.cells() | {"device": device_name()}
        if any(cells.items() <= row.items() for row in rows):
            continue
        if case.model != model:
            forget_parts()
            model = case.model
        try:
            spent = measure(case)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            say(f"skipped, too little memory: {case}: {error}")
            continue
        ratio = spent.seconds / (spent.seconds - spent.guiding)
        rows.append(cells | {"ratio": ratio, "extra_gb": spent.num_bytes / 1e9})
        write_csv(rows, folder / STEPS)
        write_page(folder)
        say(table(rows[-1:]).splitlines()[-1])


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=LAYOUTS)
    parser.add_argument("--size", type=size, help="pixels per side, or WIDTHxHEIGHT")
    parser.add_argument("--batch", type=int, help="pictures")
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--input", choices=INPUTS)
    parser.add_argument("--view", choices=("linear_rgb", "taesd", "vae"))
    parser.add_argument("--jacobian", choices=("none", "jvp", "backprop"))
    parser.add_argument("--guider", choices=GUIDERS)
    add_device(parser)
    add_output(parser)
    args = parser.parse_args()
    boot(cpu=is_cpu(args.device))
    flags = {name: getattr(args, name) for name in Case._fields}
    measure_all(chosen(flags), args.output)


if __name__ == "__main__":
    main()
