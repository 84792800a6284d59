"""Step caches beside guidance: what EasyCache and LazyCache cost, on the latent demo model.

`python -m evidence.step_caches` samples with each cache, put on the model before and after
guidance, for each Jacobian, at strength 1, and without. A judge says how many pictures show the
class that was asked for. A cache changes pictures that nothing guides as well: "kept" is the share
of unguided pictures whose class, as the judge sees it, stays the same. "skipped" is how many steps
the cache answered, in the mean of all batches. Writes docs/evidence/caches.csv and caches.md.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from demo.latent_experts import use_narrow_decoder
from demo.shapes import SHAPES
from evidence.flags import build_parser
from evidence.latent_models import LatentMethod, LatentModels
from evidence.quality import for_judges
from evidence.tables import write_table
from ppap_core.comfy_bridge.headless import boot
from ppap_core.reading import AUTO, Reading
from ppap_core.strength import RECOMMENDED

STEPS, BATCH = 12, 25
READING = Reading("x0_hat", "vae")
JACOBIANS = ("none", "jvp", "backprop")
CACHES = {"EasyCache": "EasyCacheNode", "LazyCache": "LazyCacheNode"}
DEFAULTS = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
ORDERS = ("cache first", "guidance first")


class Way(NamedTuple):
    """`jacobian`: None guides nothing. `cache`, `order`: "" for none."""

    jacobian: str | None = None
    cache: str = ""
    order: str = ""


WAYS = [
    *(Way(jacobian) for jacobian in (None, *JACOBIANS)),
    *(Way(None, cache, "cache first") for cache in CACHES),
    *(Way(jac, cache, order) for cache in CACHES for order in ORDERS for jac in JACOBIANS),
]


def with_cache(model, name: str):
    """The MODEL that the host's node of this name makes of `model`, by its default widgets."""
    from comfy_extras import nodes_easycache

    return getattr(nodes_easycache, CACHES[name]).execute(model, **DEFAULTS).args[0]


def model_of(models: LatentModels, way: Way, classes: list[int]):
    first = way.order == "cache first"
    model = with_cache(models.model, way.cache) if first else models.model
    if way.jacobian is not None:
        method = LatentMethod("", READING, way.jacobian, AUTO, has_experts=True, when_met=AUTO)
        model = models.guided(method, 1.0, classes, model=model, rule=RECOMMENDED)
    return with_cache(model, way.cache) if way.cache and not first else model


@contextmanager
def skipped_steps() -> Iterator[list[int]]:
    """How many steps the caches say, in the host's log, that they skipped: one of each sampling."""
    found: list[int] = []

    class Reads(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if said := re.search(r"Cache - skipped (\d+)/", record.getMessage()):
                found.append(int(said[1]))

    log, handler = logging.getLogger(), Reads()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield found
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@torch.no_grad()
def sample(models: LatentModels, way: Way, num: int) -> tuple[Tensor, float]:
    """(what the judge sees in each of `num` pictures, skipped steps); the classes take turns."""
    space, seen = models.model.get_model_object("latent_format"), []
    with skipped_steps() as skipped:
        for start in range(0, num, BATCH):
            rows = range(start, min(start + BATCH, num))
            model = model_of(models, way, [row % len(SHAPES) for row in rows])
            latents = models.latents(model, list(rows), STEPS)
            pictures = models.autoencoder.decode(space.process_in(latents)).clamp(-1, 1)
            seen.append(models.judge(for_judges(pictures)).argmax(1))
    return torch.cat(seen), sum(skipped) / len(skipped) if skipped else 0.0


def row_of(way: Way, seen: Tensor, plain: Tensor, skipped: float) -> dict:
    """A row of the table. `plain`: what the judge sees without guidance and without a cache."""
    asked = torch.arange(len(seen)) % len(SHAPES)
    guided = way.jacobian is not None
    return {
        "cache": way.cache or "-",
        "order": way.order if guided else "",
        "jacobian": way.jacobian or "not guided",
        "as asked": (seen == asked).float().mean().item() if guided else "",
        "kept": "" if guided else (seen == plain).float().mean().item(),
        f"skipped of {STEPS}": skipped,
    }


def main() -> None:
    args = build_parser(__doc__, pictures=100, each="way").parse_args()
    boot()
    models = LatentModels()
    use_narrow_decoder(models.checkpoint.vae)  # the shipped one takes seven times as long
    plain, _ = sample(models, WAYS[0], args.pictures)
    rows = [row_of(WAYS[0], plain, plain, 0.0)]
    for way in tqdm(WAYS[1:], unit="way"):
        seen, skipped = sample(models, way, args.pictures)
        rows.append(row_of(way, seen, plain, skipped))
    sys.stdout.write(write_table(rows, args.output / "caches") + "\n")


if __name__ == "__main__":
    main()
