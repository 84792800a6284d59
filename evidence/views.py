"""Class guidance of the latent demo model: what the guider sees, and what that is worth.

`python -m evidence.views` compares: no guidance, the guider alone and with experts, on the noisy
latent (x_t) and on the model's estimate (x0_hat), through each view and Jacobian. A judge, which
guides nothing, measures how many pictures show the class that was asked for, and how close they are
to real ones. A method's scale is chosen on other seeds than those it is measured on. Writes
docs/evidence/views.csv, views.md and views.png.
"""

import sys
from functools import partial

from tqdm import tqdm

from demo.latent_experts import use_narrow_decoder
from demo.shapes import SHAPES
from evidence.flags import build_parser
from evidence.latent_models import LatentMethod, LatentModels
from evidence.quality import for_judges, interval, measure_quality
from evidence.tables import write_table
from evidence.timing import in_turns
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import Reading

SCALES = (0.05, 0.1, 0.2, 0.4)
METHODS = (
    LatentMethod("no guidance"),
    LatentMethod("guider alone", Reading("x_t", "linear_rgb")),
    LatentMethod("guider alone", Reading("x_t", "vae")),
    LatentMethod("guider alone", Reading("x0_hat", "linear_rgb")),
    LatentMethod("guider alone", Reading("x0_hat", "vae")),
    LatentMethod("guider alone", Reading("x0_hat", "vae"), "jvp"),
    LatentMethod("guider alone", Reading("x0_hat", "vae"), "backprop"),
    LatentMethod("PPAP experts", Reading("x_t", "linear_rgb"), has_experts=True),
    LatentMethod("PPAP experts", Reading("x_t", "vae"), has_experts=True),
    LatentMethod("PPAP experts", Reading("x0_hat", "vae"), has_experts=True),
    LatentMethod("PPAP experts", Reading("x0_hat", "vae"), "jvp", has_experts=True),
)


def available_methods(models: LatentModels) -> list[LatentMethod]:
    """All but those whose experts do not exist (`make demo-models` makes them)."""
    return [m for m in METHODS if not m.has_experts or m.reading in models.taught]


def step_costs(models: LatentModels, repeats: int = 5) -> dict[LatentMethod, float]:
    """Seconds of a step divided by those of an unguided one, a picture at a time, as shipped."""
    actions = {
        method: partial(models.latents, models.guided(method, 0.1, [0]), [0], steps=5)
        for method in available_methods(models)
    }
    medians = in_turns(actions, repeats)
    return {method: median / medians[METHODS[0]] for method, median in medians.items()}


def best_scale(models: LatentModels, method: LatentMethod, seed: int, num: int) -> float:
    """The scale whose `num` pictures show the asked-for class most often."""

    def accuracy(scale: float) -> float:
        return models.accuracy(models.pictures(method, scale, first_seed=seed, num=num))

    return max(SCALES, key=accuracy) if method.reading else 0.0


def measure_method(
    models: LatentModels, method: LatentMethod, scale: float, seed: int, num: int
) -> tuple[dict, GridRow]:
    """A row of the table, and a row of the picture."""
    pictures = models.pictures(method, scale, first_seed=seed, num=num)
    accuracy = models.accuracy(pictures)
    low, high = interval([accuracy], num)
    quality = measure_quality(models.judge, for_judges(pictures), models.real)
    reading = method.reading
    guider_input, view = (reading.input, reading.view) if reading else ("", "")
    jacobian = method.jacobian if guider_input == "x0_hat" else ""
    row = {
        "guidance": method.name,
        "input": guider_input,
        "view": view,
        "jacobian": jacobian,
        "scale": scale,
        "accuracy": accuracy,
        "from": low,
        "to": high,
        "FID": quality.fid,
        "KID": quality.kid,
    }
    label = " ".join(filter(None, (method.name, guider_input, view, jacobian)))
    return row, GridRow(label, f"{accuracy:.0%} as asked", pictures[: len(SHAPES)])


def main() -> None:
    parser = build_parser(__doc__, pictures=100, each="method")
    parser.add_argument("--tuning", type=int, default=30, help="pictures per method and scale")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    boot()
    models = LatentModels()
    costs = step_costs(models)
    use_narrow_decoder(models.checkpoint.vae)  # the shipped one takes seven times as long
    rows, grid = [], []
    for method in tqdm(available_methods(models), unit="method"):
        scale = best_scale(models, method, args.seed, args.tuning)
        row, shown = measure_method(models, method, scale, args.seed + 1_000_000, args.pictures)
        rows.append(row | {"step, x unguided": costs[method]})
        grid.append(shown)
    text = write_table(rows, args.output / "views")
    draw_grid(SHAPES, grid).save(args.output / "views.png")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
