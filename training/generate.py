"""Draw training images from the user's own checkpoint, with ComfyUI's own samplers."""

from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from .images import append_manifest, read_manifest, save_png


@dataclass(frozen=True)
class GenerateSettings:
    """`seed`: of the first image; the next ones count up."""

    checkpoint: str
    num_images: int = 5000
    width: int = 32
    height: int = 32
    steps: int = 25
    sampler_name: str = "ddim"
    scheduler: str = "ddim_uniform"
    batch_size: int = 50
    seed: int = 0


def generate(settings: GenerateSettings, folder: Path) -> None:
    """Fill `folder` up to `num_images`; what is already there is kept."""
    from ppap_core.comfy_bridge.headless import boot

    boot()
    from ppap_core.comfy_bridge.pixel_model import load_pixel_model
    from ppap_core.comfy_bridge.sampling import sample_pixels

    done = len(read_manifest(folder))
    if done >= settings.num_images:
        return
    model = load_pixel_model(settings.checkpoint)
    recipe = asdict(settings)
    for name in ("num_images", "batch_size", "seed"):
        del recipe[name]
    recipe["checkpoint"] = Path(settings.checkpoint).name
    bar = tqdm(total=settings.num_images, initial=done, desc="generate", unit="image")
    while done < settings.num_images:
        num = min(settings.batch_size, settings.num_images - done)
        seeds = [settings.seed + done + offset for offset in range(num)]
        images = sample_pixels(
            model,
            seeds,
            settings.steps,
            settings.sampler_name,
            settings.scheduler,
            settings.width,
            settings.height,
        )
        lines = []
        for seed, image in zip(seeds, images, strict=True):
            name = f"images/{seed:07d}.png"
            save_png(image, folder / name)
            lines.append({"file": name, "seed": seed, **recipe})
        append_manifest(folder, lines)
        done += num
        bar.update(num)
    bar.close()
