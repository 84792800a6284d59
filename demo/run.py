"""The demo: an unconditional diffusion model is asked for ten shapes, in the real ComfyUI.

Three methods start from the same noise: no guidance, the off-the-shelf classifier that reads the
noisy state, and the same classifier with its PPAP experts. A judge, a network that guides nothing,
counts how often the picture shows the shape that was asked for. Writes grid.png (a row for each
method), summary.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from demo.judges import Judge, load_judge
from demo.paths import JUDGE, OUTPUT
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.shapes import SHAPES
from ppap_core.comfy_bridge.headless import boot
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import OPEN, Reading
from ppap_core.targets import ClassTarget


@dataclass(frozen=True)
class Result:
    """`accuracy`: share of the `n` pictures in which the judge sees the asked-for shape."""

    method: str
    accuracy: float
    n: int
    seconds_per_picture: float


def guided_models(model, guider, strength: float) -> dict[str, Callable]:
    """Method -> a function from class index to MODEL."""

    def guide_to(label: int, guider, reading: Reading = OPEN):
        target = ClassTarget({label: 1.0}, len(SHAPES))
        return guide_model(model, guider, target, strength, reading=reading)

    alone, noisy = guider.without_experts(), Reading("x_t")

    return {
        "no guidance": lambda label: model,
        "off-the-shelf guider": lambda label: guide_to(label, alone, noisy),
        "PPAP experts": lambda label: guide_to(label, guider),
    }


def sample_classes(model_for_class: Callable, num_per_class: int, seed: int, bar: tqdm) -> Tensor:
    """(10, num_per_class, 3, 32, 32) in [-1, 1]; the noise depends on `seed` alone."""
    pictures = []
    for label in range(len(SHAPES)):
        seeds = [seed + label * 100_000 + i for i in range(num_per_class)]
        pictures.append(sample(model_for_class(label), seeds))
        bar.update(num_per_class)
    return torch.stack(pictures)


def judged_accuracy(judge: Judge, pictures: Tensor) -> float:
    """`pictures`: as from `sample_classes`."""
    with torch.no_grad():
        answers = judge(pictures.flatten(0, 1)).argmax(dim=1)
    asked = torch.arange(len(SHAPES)).repeat_interleave(pictures.shape[1])
    return (answers == asked).float().mean().item()


def results_table(results: list[Result]) -> str:
    text = f"{'method':<22} {'as asked':>9} {'pictures':>9} {'s/picture':>10}"
    for r in results:
        text += f"\n{r.method:<22} {r.accuracy:>9.1%} {r.n:>9} {r.seconds_per_picture:>10.2f}"
    return text


def run(num_per_class: int, strength: float, seed: int, output: Path) -> list[Result]:
    """Sample and judge every method; the files go to the folder `output`."""
    methods = guided_models(load_model(), load_guiding("class"), strength)
    judge = load_judge(JUDGE)
    n = num_per_class * len(SHAPES)
    results, grid = [], []
    with tqdm(total=n * len(methods), unit="picture") as bar:
        for method, model_for_class in methods.items():
            bar.set_description(method)
            start = time.perf_counter()
            pictures = sample_classes(model_for_class, num_per_class, seed, bar)
            seconds = (time.perf_counter() - start) / n
            accuracy = judged_accuracy(judge, pictures)
            results.append(Result(method, accuracy, n, seconds))
            grid.append(GridRow(method, f"{accuracy:.0%} as asked", pictures[:, 0]))
    output.mkdir(parents=True, exist_ok=True)
    draw_grid(SHAPES, grid).save(output / "grid.png")
    summary = {result.method: asdict(result) for result in results}
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-class", type=int, default=10, help="pictures per class and method")
    parser.add_argument("--strength", type=float, default=1.0, help="1 is recommended")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the noise")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for grid and summary")
    args = parser.parse_args()
    boot()
    results = run(args.per_class, args.strength, args.seed, args.output)
    sys.stdout.write(f"\n{results_table(results)}\n\npicture: {args.output / 'grid.png'}\n")


if __name__ == "__main__":
    main()
