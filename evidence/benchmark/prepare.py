"""Make what all processes of the benchmark read: scenes, sampled pictures and guiders."""

from demo.clean_models import SMALL_RESNET, VIT, Recipe, train_guider
from demo.scene_files import load_heldout_scenes
from demo.train import encode_latents, generate_images, generate_latent_images
from evidence.benchmark import files
from evidence.benchmark.budgets import Budget
from evidence.benchmark.files import drawn_folder
from evidence.benchmark.methods import DRAWINGS, REDRAWN
from evidence.benchmark.world import load_renders

UNSHIPPED_GUIDERS = {  # name: how it is built and trained
    "vit": (VIT, Recipe(seed=0, epochs=5, learning_rate=1e-3)),
    "small resnet": (SMALL_RESNET, Recipe(seed=0)),
}


def prepare(budget: Budget) -> None:
    """Make what all processes read: scenes, pictures of the diffusion model, guiders."""
    files.FOLDER.mkdir(parents=True, exist_ok=True)
    load_heldout_scenes()
    renders = load_renders(budget.renders)
    generate_images(budget.generated)
    if "ablations" in budget.tables:
        for name, flags in DRAWINGS.items():
            generate_images(round(REDRAWN * budget.generated), images=drawn_folder(name), **flags)
    if "latent" in budget.tables:
        encode_latents()
        generate_latent_images()
    for name, (architecture, recipe) in UNSHIPPED_GUIDERS.items():
        if name in budget.guiders and not (files.GUIDERS[name] / "config.json").exists():
            train_guider(renders, recipe, files.GUIDERS[name], architecture)
