"""The paper's figures: the guider's gradient at each noise level, and its confidence on the way."""

from pathlib import Path

import torch

from demo.scenes import Scenes
from demo.shapes import SHAPES
from evidence.benchmark.methods import NAIVE, PPAP_5, SINGLE, Method
from evidence.benchmark.pieces import FIRST_SEED, asked_scenes
from evidence.benchmark.plan import Plan
from evidence.benchmark.world import BATCH, World
from ppap_core.grid import GridRow, draw_grid
from ppap_core.guidance import Guidance
from ppap_core.noise import add_noise, sigma_ve_to_timestep, timestep_to_sigma_ve
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget

SHOWN = (NAIVE, SINGLE, PPAP_5)  # off-the-shelf, single and experts
TIMESTEPS = (920, 720, 520, 320, 120)
SCENE, ASKED = 1, "torus"
PICTURES = BATCH


def draw_figures(plan: Plan, folder: Path) -> None:
    """`guidance_maps.png` and `confidence.png`, of the first guider."""
    world, guider = World(plan.budget), plan.budget.guiders[0]
    draw_maps(world, guider).save(folder / "guidance_maps.png")
    plot_confidence(plan, world, guider, folder / "confidence.png")


def draw_maps(world: World, guider: str):
    """The gradient of log p(torus | x_t) in x_t, each picture in its own range."""
    network = world.guider(guider).guider
    x_0 = world.heldout.pictures(slice(SCENE, SCENE + 1))
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    levels = [timestep_to_sigma_ve(torch.tensor([float(t)])).float() for t in TIMESTEPS]
    states = [add_noise(x_0, level, eps) for level in levels]
    rows = [GridRow("x_t", "", torch.cat(states))]
    for method in SHOWN:
        experts = world.taught(guider, method.teaching, world.budget.first_seed)
        target = ClassTarget({SHAPES.index(ASKED): 1.0}, len(SHAPES))
        guidance = Guidance(network, target, Strength(1.0, "raw"), experts=experts)
        gradients = [
            guidance.score(state, float(level)).gradient
            for state, level in zip(states, levels, strict=True)
        ]
        shown = [g / g.abs().quantile(0.995).clamp(min=1e-20) for g in gradients]
        rows.append(GridRow(method.name, f"toward {ASKED}", torch.cat(shown)))
    network.switch.restore()
    return draw_grid([f"t = {t}" for t in TIMESTEPS], rows)


def plot_confidence(plan: Plan, world: World, guider: str, path: Path) -> None:
    """The guider's probability of the asked-for class, over timesteps, while it guides."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.2))
    scenes = asked_scenes(world.heldout, PICTURES, "report")
    for method in SHOWN:
        timesteps, confidence = _confidence(plan, world, guider, method, scenes)
        axis.plot(timesteps, confidence, "o-", markersize=3, label=method.name)
    axis.axhline(1 / len(SHAPES), color="grey", linewidth=0.8, linestyle="--", label="chance")
    axis.set(xlabel="timestep", ylabel="confidence in the asked class", ylim=(0, 1.02))
    axis.invert_xaxis()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _confidence(
    plan: Plan, world: World, guider: str, method: Method, scenes: Scenes
) -> tuple[list[float], list[float]]:
    """Timesteps, and at each the geometric mean of p(asked class) over the pictures."""
    from ppap_core.comfy_bridge.hook import outcomes_of

    scale = plan.best_scale("class", guider, method)
    model, _ = world.guided("class", guider, method, scale, plan.budget.first_seed, scenes)
    world.sample(lambda rows: (model, {}), "DDIM-25", PICTURES, FIRST_SEED["report"])
    (outcome,) = outcomes_of(model)
    levels = torch.tensor([record.sigma_ve for record in outcome.records])
    confidence = [float(record.log_likelihood.exp()) for record in outcome.records]
    return sigma_ve_to_timestep(levels).tolist(), confidence
