"""Guiding pictures of a style that the guider never saw.

The paper guides a model's cartoon pictures with a classifier of photographs. Here a diffusion model
makes shaded scenes and flat, outlined ones (see `demo.shading`), and can be told which; the
classifier learned from shaded renders only. `python -m evidence.style_shift` trains that model, a
judge of shapes and styles, and experts on the model's own pictures (both styles, without labels).
It asks for every shape in each style and writes docs/evidence/style.*.
"""

import sys

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from demo.clean_models import Recipe, accuracy, train_classifier
from demo.judges import Judge
from demo.paths import CACHE, GUIDER, PIXEL_MODEL
from demo.sampling import guide_model, load_guiding, load_model, sample
from demo.scene_files import load_or_render, save_scenes
from demo.scenes import Scenes
from demo.shading import STYLES
from demo.shapes import SHAPES
from demo.train import CLASS_FLAGS, run_module
from evidence.flags import build_parser
from evidence.quality import interval
from evidence.tables import write_table
from ppap_core.atomic import save_safetensors
from ppap_core.comfy_bridge.headless import boot
from ppap_core.expert_file import load_experts
from ppap_core.grid import GridRow, draw_grid
from ppap_core.reading import OPEN, Reading
from ppap_core.targets import ClassTarget

FOLDER = CACHE / "style"
MODEL, JUDGE = FOLDER / "model.safetensors", FOLDER / "judge.safetensors"
OWN_EXPERTS = FOLDER / "experts.safetensors"  # delete these files to train them again
PER_STYLE = 12_000  # scenes that the model and the judge learn from
HELDOUT = 1_000
STRENGTH = {"strength": 0.2, "rule": "relative", "spectrum": "plain"}
FIRST_SEED, SHOWN = 2_000_000, 10
TOLD = {"nothing": -1, "shaded": 0, "flat": 1}


def join(parts: list[Scenes], labels: list[Tensor]) -> Scenes:
    """All scenes together, with these labels in place of their own."""
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    image, _, depth, segmentation = (torch.cat(column) for column in columns)
    return Scenes(image, torch.cat(labels), depth, segmentation)


def styled(seed: int, num: int) -> list[Scenes]:
    """Scenes of each style."""
    names = {style: FOLDER / f"{style}_{seed}.safetensors" for style in STYLES}
    return [load_or_render(path, num, seed, style=style) for style, path in names.items()]


def prepare(steps: int, pictures: int) -> None:
    """Train whatever is missing of the model, its experts and the judge."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    scenes = FOLDER / "scenes.safetensors"
    if not scenes.exists():
        told = [torch.full((PER_STYLE,), style) for style in range(len(STYLES))]
        save_scenes(join(styled(10, PER_STYLE), told), scenes)
    if not MODEL.exists():
        data = {"scenes": scenes, "classes": len(STYLES), "initial": PIXEL_MODEL, "steps": steps}
        files = {"checkpoint": FOLDER / "model.run", "out": MODEL}
        run_module("demo.diffusion", processes=2, **data, **files)
    if not JUDGE.exists():
        parts = styled(11, PER_STYLE)
        both = join(parts, [part.label + len(SHAPES) * i for i, part in enumerate(parts)])
        torch.manual_seed(1)
        judge = Judge(len(SHAPES) * len(STYLES))
        train_classifier(judge, both, Recipe(seed=1, max_noise=0.06), "judge of styles")
        save_safetensors(judge.state_dict(), JUDGE)
    if not OWN_EXPERTS.exists():
        flags = CLASS_FLAGS | {"guider": GUIDER, "out": OWN_EXPERTS, "num_images": pictures}
        run_module("training", "all", checkpoint=MODEL, **flags)


class StyledModels:
    """The models of both styles: samples pictures and judges them."""

    def __init__(self) -> None:
        self.model = load_model(MODEL)
        shaded = load_guiding("class")
        own = shaded.with_experts(load_experts(OWN_EXPERTS))
        self.guiders = {
            "guider alone": shaded.without_experts(),
            "experts of the shaded model": shaded,
            "experts of this model": own,
        }
        self.readings = {name: OPEN for name in self.guiders} | {"guider alone": Reading("x_t")}
        self.judge = Judge(len(SHAPES) * len(STYLES)).eval().requires_grad_(False)
        self.judge.load_state_dict(load_file(JUDGE))

    def sample(self, method: str, told: int, classes: Tensor) -> Tensor:
        """(N, 3, 32, 32) in [-1, 1]; each method starts from the same noise."""
        model = self.model
        if method in self.guiders:
            target = ClassTarget([{int(label): 1.0} for label in classes], len(SHAPES))
            reading = self.readings[method]
            model = guide_model(model, self.guiders[method], target, **STRENGTH, reading=reading)
        seeds = [FIRST_SEED + index for index in range(len(classes))]
        return sample(model, seeds, class_labels=torch.tensor([told]))

    @torch.no_grad()
    def judged(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(shape, style) of each picture."""
        answer = self.judge(pictures).argmax(1)
        return answer % len(SHAPES), answer // len(SHAPES)


def clean_accuracies(models: StyledModels) -> str:
    """One line: the accuracies of guider and judge on held-out scenes of each style."""
    parts = styled(12, HELDOUT)
    network = models.guiders["guider alone"].guider
    guider = [accuracy(network, part) for part in parts]
    judge = [(models.judged(p.pictures())[0] == p.label).float().mean() for p in parts]
    named = [
        f"{g:.0%} of {style} ones (the judge {j:.0%})"
        for style, g, j in zip(STYLES, guider, judge, strict=True)
    ]
    return f"On clean held-out scenes the guider recognises {', '.join(named)}."


def main() -> None:
    parser = build_parser(__doc__, pictures=200, each="row")
    parser.add_argument("--steps", type=int, default=1000, help="of training the model")
    parser.add_argument("--generated", type=int, default=3000, help="pictures to teach experts on")
    args = parser.parse_args()
    prepare(args.steps, args.generated)
    torch.set_num_threads(1)
    boot()
    models = StyledModels()
    classes = torch.arange(args.pictures) % len(SHAPES)
    methods = ("no guidance", *models.guiders)
    rows, grid = [], []
    for told, method in tqdm([(told, method) for told in TOLD for method in methods], unit="row"):
        pictures = models.sample(method, TOLD[told], classes)
        shape, style = models.judged(pictures)
        share = (shape == classes).float().mean().item()
        low, high = interval([share], len(classes))
        shown = f"{share:.0%} ({low:.0%} to {high:.0%})"
        flat = f"{(style == STYLES.index('flat')).float().mean():.0%}"
        rows.append({"told": told, "guidance": method, "shape as asked": shown, "flat": flat})
        if told == "flat":
            grid.append(GridRow(method, f"{share:.0%} as asked", pictures[:SHOWN]))
    text = write_table(rows, args.output / "style") + "\n\n" + clean_accuracies(models)
    draw_grid(SHAPES, grid).save(args.output / "style.png")
    (args.output / "style.md").write_text(text + "\n", "utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
