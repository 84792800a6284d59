"""A network that nobody here trained, from its package to guided pictures in the real ComfyUI."""

import pytest
import skimage.data
import torch
from PIL import Image

from demo.paths import PIXEL_MODEL
from host.real_guiders import NAME, write_efficientnet_lite0

SIDE = 96  # pixels that it reads here: a fifth of the work
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
CLASS = "espresso"


@pytest.fixture(scope="module")
def model(comfyui):
    with torch.inference_mode():
        return comfyui.node("PPAP_LoadPixelModel").execute(PIXEL_MODEL.name).result[0]


@pytest.fixture(scope="module")
def guider(comfyui):
    write_efficientnet_lite0(comfyui.base / "models" / "ppap_guiders", SIDE)
    with torch.inference_mode():
        guider, info = comfyui.node("PPAP_LoadGuider").execute(NAME).result
    assert "1000 classes" in info
    return guider


@pytest.fixture(scope="module")
def trained(comfyui, guider, tmp_path_factory):
    """(guider with experts that learned noisy photographs, how they compare on those held out)."""
    folder = tmp_path_factory.mktemp("photographs")
    write_crops(folder / "images")
    trainer = build_trainer(comfyui, guider, folder)
    data = trainer.training_set(lambda num: None)
    expert_set, rows = trainer.train(data, lambda progress: None)
    return guider.with_experts(expert_set), rows


def write_crops(folder, num=100, side=64):
    """Squares out of photographs, in turns: each photograph's are learned, and held out."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for index in range(num):
        name = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]
        picture = Image.fromarray(getattr(skimage.data, name)())
        length = round(min(picture.size) * (0.5 + 0.5 * random(generator)))
        left, top = (int((side - length) * random(generator)) for side in picture.size)
        crop = picture.crop((left, top, left + length, top + length)).resize((side, side))
        crop.save(folder / f"{index:03}.png")


def random(generator) -> float:
    return torch.rand((), generator=generator).item()


def build_trainer(comfyui, guider, folder):
    bridge, engine = "ppap_core.comfy_bridge", "ppap_core.distillation"
    generate = comfyui.module(f"{engine}.generate").GenerateSettings
    checkpoint = comfyui.module(f"{bridge}.checkpoint").load_checkpoint(str(PIXEL_MODEL))
    return comfyui.module(f"{bridge}.trainer").Trainer(
        checkpoint=checkpoint,
        guider=guider.guider,
        patcher=guider.patcher,
        conditioning=comfyui.module(f"{bridge}.pictures").conditioning_of(checkpoint),
        generate=generate(width=32, height=32, steps=2),  # of the preview
        distill=comfyui.module(f"{engine}.settings").DistillSettings(
            input="x_t", num_experts=2, steps=12, warm_up_steps=3, batch_size=16
        ),
        files=comfyui.module(f"{engine}.files").TrainingFiles(
            out=str(folder / "experts.safetensors"), images=str(folder / "images")
        ),
        draws=False,
    )


def test_experts_learn_photographs_without_labels(trained):
    _, rows = trained
    assert [row.num_pictures for row in rows] == [10, 10]  # held out
    clear = rows[0]  # the range that has most signal; 12 steps teach little of the other
    assert clear.expert_loss < 0.6 * clear.plain_loss


def test_it_guides_by_imagenets_names(comfyui, model, trained):
    """The guider without experts, on the finished pictures, sees the class that was asked for."""
    guider, _ = trained
    with torch.inference_mode():
        target = comfyui.node("PPAP_TargetClass").execute(guider, CLASS, 1.0).result[0]
        guided, plain = (sample(comfyui, model, guider, target, s) for s in (1.0, 0.0))
    alone = guider.without_experts().guider
    alone.switch.restore()
    place = next(alone.parameters()).device
    with torch.no_grad():
        seen = [
            target.log_likelihood(alone(pictures.to(place))).mean() for pictures in (guided, plain)
        ]
    assert guided.isfinite().all() and seen[0] > seen[1] + 3


def sample(comfyui, model, guider, target, strength):
    empty = comfyui.module("ppap_core.comfy_bridge.pixel_model").empty_conditioning()
    out, _ = (
        comfyui.node("PPAP_GuidedKSampler")
        .execute(
            model=model,
            seed=0,
            steps=10,
            cfg=1.0,
            sampler_name="ddim",
            scheduler="ddim_uniform",
            positive=empty,
            negative=empty,
            latent_image={"samples": torch.zeros(4, 3, 32, 32)},
            denoise=1.0,
            guider=guider,
            target=target,
            strength=strength,
            start_percent=0.0,
            end_percent=1.0,
        )
        .result
    )
    return out["samples"]
