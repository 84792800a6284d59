"""`python -m evidence.cifar --photographs FOLDER --networks FOLDER`"""

import argparse
import logging
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from demo.paths import CACHE
from evidence.cifar.pictures import NAMES, doubled
from evidence.cifar.world import METHODS, Budget, World
from evidence.flags import add_output
from evidence.photographs.sources import CIFAR, DECODER, EFFICIENTNET_PACKAGE, ENCODER, MOBILENET
from evidence.quality import kid_interval, quality_of, with_interval
from evidence.tables import markdown, read_rows, write_csv
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.pixels import bytes_to_image

BUDGETS = {
    "quick": Budget(learned=500, base_steps=20, lesson_steps=5, drawn=100, pictures=100),
    "night": Budget(learned=50_000, base_steps=3200, lesson_steps=1000, drawn=5000, pictures=1000),
}
REAL = "real pictures"
SOURCES = (CIFAR, EFFICIENTNET_PACKAGE, MOBILENET, ENCODER, DECODER)


@dataclass(frozen=True)
class Row:
    """`asked`: the share of `n` pictures in which the judge sees the class that was asked for;
    `own`: the same by the guider. The others as in `evidence.quality`; from `kid_low` to
    `kid_high` is KID's 95 % interval.
    """

    budget: str
    guidance: str
    asked: float
    own: float
    fid: float
    kid: float
    precision: float
    recall: float
    kid_low: float
    kid_high: float
    n: int


def measure(world: World, budget: str, guidance: str, pictures: torch.Tensor) -> Row:
    judge, asked = world.judge, torch.arange(len(pictures)) % len(NAMES)
    with torch.no_grad():
        features = judge.features(pictures)
        seen = judge.head(features).argmax(dim=1)
    shares = [(named == asked).float().mean().item() for named in (seen, world.named(pictures))]
    figures = *shares, *quality_of(features, world.real), *kid_interval(features, world.real)
    return Row(budget, guidance, *(round(figure, 4) for figure in figures), len(pictures))


def table_of(rows: list[Row]) -> str:
    return markdown(
        [
            {
                "guidance": row.guidance,
                "as asked": with_interval([row.asked], row.n),
                "by the guider": f"{row.own:.0%}",
                "FID": f"{row.fid:.1f}",
                "KID": f"{row.kid:.0f} ({row.kid_low:.0f} to {row.kid_high:.0f})",
                "precision": f"{row.precision:.2f}",
                "recall": f"{row.recall:.2f}",
                "pictures": str(row.n),
            }
            for row in rows
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, help="holds cifar10")
    parser.add_argument("--networks", type=Path, required=True, help="holds MobileNetV2 and TAEF2")
    parser.add_argument("--cache", type=Path, default=CACHE / "cifar", help="what is kept")
    parser.add_argument("--budget", choices=BUDGETS, default="night")
    add_output(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    boot()
    budget, path = BUDGETS[args.budget], args.output / "cifar.csv"
    world = World(args.photographs, args.networks, args.cache, budget)
    found = {(row.budget, row.guidance): row for row in read_rows(Row, path)}

    def add(guidance: str, pictures: torch.Tensor) -> None:
        found[args.budget, guidance] = measure(world, args.budget, guidance, pictures)
        write_csv([asdict(row) for row in found.values()], path)

    if (args.budget, REAL) not in found:
        add(REAL, bytes_to_image(doubled(world.test.pictures[-budget.pictures :])))
    for method in tqdm([m for m in METHODS if (args.budget, str(m)) not in found], unit="row"):
        add(str(method), world.pictures(method))
    rows = [row for row in found.values() if row.budget == args.budget]
    sys.stdout.write(write_page(world, rows, args.output) + "\n")


def write_page(world: World, rows: list[Row], output: Path) -> str:
    """cifar.md and cifar.png, with the methods that are in `rows`; returns the table."""
    made = {row.guidance for row in rows}
    shown = [
        GridRow(str(method), "", world.pictures(method)[: 2 * len(NAMES)])
        for method in METHODS
        if str(method) in made
    ]
    draw_grid(NAMES * 2, shown).save(output / "cifar.png")
    sources = markdown([source.row() for source in SOURCES])
    table = table_of(rows)
    (output / "cifar.md").write_text(f"{HEAD}\n\n{table}\n\n{sources}\n", encoding="utf-8")
    return table


HEAD = """# A small model of photographs

A Flux of ten million parameters, trained without labels for an hour of two cores on the 50,000
pictures of CIFAR-10 in the latents of FLUX.2's tiny autoencoder, is asked for CIFAR's classes by
MobileNetV2, which learned ImageNet's and never saw these pictures; the guider's experts are taught
on 5000 of the model's own pictures, without labels, for 1000 steps of 32. Everything else is at its
default, strength 1 where a row names no other, in ten steps; *push on* does not let shifts fade as
the class is seen (`when_met`). The judge is EfficientNet-Lite0, which takes no part (like
MobileNetV2 it is a small network of convolutions that learned ImageNet): it names the class by a
layer fitted to CIFAR's labels, and FID and KID (times 1000) are distances to 2000 of CIFAR's test
pictures in its features. FID of 1000 pictures in 1280 features is too high for all rows alike. KID
is the mean of 50 draws of 100 pictures, its interval that of all pairs; intervals are over
pictures, with one training seed. Made by
`python -m evidence.cifar --photographs FOLDER --networks FOLDER`.

![The ten classes, by every method](cifar.png)"""


if __name__ == "__main__":
    main()
