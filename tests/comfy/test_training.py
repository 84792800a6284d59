"""The trainer through the real host: node and command line, from pictures to guided pictures."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from demo.paths import GUIDER, PIXEL_MODEL
from tests.core.tiny_guiders import SLOW_TIMM, timm_folder, transformers_folder

REAL = (
    "resnet50",
    "deit3_small_patch16_224",
    "DPTForDepthEstimation",
    "SegformerForSemanticSegmentation",
)

SMALL = {
    **{"num_images": 24, "width": 32, "height": 32, "sampling_steps": 3, "num_experts": 2},
    **{"steps": 4, "batch_size": 8, "guider_input": "x_t", "seed": 0},
}


@pytest.fixture
def inputs(comfyui):
    with torch.inference_mode():  # as ComfyUI runs its nodes
        model, conditioning = comfyui.node("PPAP_LoadPixelModel").execute(PIXEL_MODEL.name).result
        guider, _ = comfyui.node("PPAP_LoadGuider").execute(GUIDER.name).result
    return {"model": model, "conditioning": conditioning, "guider": guider}


def train(comfyui, inputs, name, **changes):
    with torch.inference_mode():
        node = comfyui.node("PPAP_TrainExperts")
        return node.execute(**inputs, name=name, **{**SMALL, **changes}).result


def file_of(comfyui, name) -> Path:
    return comfyui.base / "models/ppap_experts" / f"{name}.safetensors"


@pytest.mark.parametrize(
    ("guider_input", "num_images", "num_experts"),
    [("x_t", 24, 2), ("x0_hat", 24, 1), ("x0_hat", 8, 2)],  # one range: its estimates are kept
)
def test_the_node_trains_saves_and_its_file_loads(
    comfyui, inputs, guider_input, num_images, num_experts
):
    name = f"trained_{guider_input}_{num_images}"
    widgets = {"guider_input": guider_input, "num_images": num_images, "num_experts": num_experts}
    guider, preview, report = train(comfyui, inputs, name, **widgets)
    written = comfyui.base / "output/ppap_training" / name / "report.md"
    first = next(line for line in written.read_text("utf-8").splitlines()[1:] if line)
    if num_images < 10:  # no tenth to hold out
        expected = "No picture was held out (fewer than 10): nothing is measured."
        assert expected in report and first == expected and len(guider.experts) == 2
    else:
        read_as = {"x_t": "with new noise", "x0_hat": "with their estimates, kept while"}
        assert first.startswith(f"2 held-out pictures, {read_as[guider_input]}")
    assert "| view | identity |" in written.read_text("utf-8")
    assert len(guider.experts) in (1, 2)
    assert preview.shape[-1] == 3 and preview.std() > 0.05
    assert file_of(comfyui, name).with_suffix(".preview.png").is_file()
    with torch.inference_mode():
        loaded, info = (
            comfyui.node("PPAP_LoadExperts").execute(inputs["guider"], f"{name}.safetensors").result
        )
    assert f"they read {guider_input} through the view identity" in info
    for one, other in zip(guider.experts.experts, loaded.experts.experts, strict=True):
        assert all(value.equal(other.tensors[key]) for key, value in one.tensors.items())


def test_cancelled_training_resumes_to_the_same_file(comfyui, inputs, monkeypatch):
    from comfy import model_management

    train(comfyui, inputs, "whole")
    asked = []

    def cancel():
        asked.append(None)
        if len(asked) == 6:
            raise model_management.InterruptProcessingException()

    with (
        monkeypatch.context() as patch,
        contextlib.suppress(model_management.InterruptProcessingException),
    ):
        patch.setattr(model_management, "throw_exception_if_processing_interrupted", cancel)
        train(comfyui, inputs, "cancelled")
    assert not file_of(comfyui, "cancelled").exists()
    train(comfyui, inputs, "cancelled")
    whole, again = (file_of(comfyui, name).read_bytes() for name in ("whole", "cancelled"))
    assert whole == again


def test_existing_expert_name_is_refused_before_sampling(comfyui, inputs):
    file_of(comfyui, "taken").parent.mkdir(parents=True, exist_ok=True)
    file_of(comfyui, "taken").write_bytes(b"precious")
    with pytest.raises(ValueError, match="taken.safetensors exists"):
        train(comfyui, inputs, "taken")
    assert file_of(comfyui, "taken").read_bytes() == b"precious"


@pytest.mark.parametrize("view", ["nope", "vae"])
def test_a_view_that_cannot_be_had_is_refused_before_sampling(comfyui, inputs, view):
    with pytest.raises(ValueError, match="view is one of|the view vae needs a VAE"):
        train(comfyui, inputs, "no_view", view=view)
    assert not (comfyui.base / "output/ppap_training/no_view").exists()


@pytest.mark.parametrize("task", ["class", "depth", "segmentation", "pose"])
def test_a_preview_asks_for_each_task(comfyui, task):
    info = SimpleNamespace(task=task, answer="softmax", labels=tuple("abc"))
    answers = {"class": torch.randn(9, 3), "depth": torch.rand(9, 8, 8)}
    answers = answers.get(task, torch.randn(9, 3, 8, 8))
    preview_targets = comfyui.module("ppap_core.comfy_bridge.preview").preview_targets
    if task not in comfyui.module("ppap_core.guiders.guider").TASKS:
        with pytest.raises(ValueError, match="cannot ask for an answer of the task pose yet"):
            preview_targets(info, answers, 2)
        return
    target, names, maps = preview_targets(info, answers, 2)
    assert target.task == task and len(names) == 2
    assert (maps is None) == (task == "class")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", REAL)
def test_a_real_architecture_trains_and_guides(comfyui, inputs, tmp_path, architecture):
    guiders, targets = comfyui.module("ppap_core.guiders"), comfyui.module("ppap_core.targets")
    build = timm_folder if architecture in SLOW_TIMM else transformers_folder
    guider = guiders.load_guider(build(tmp_path / "guider", architecture))
    inputs["guider"] = comfyui.module("ppap_core.comfy_bridge.loaded_guider").LoadedGuider.of(
        guider
    )
    small = {"num_images": 20, "steps": 2, "batch_size": 2}
    with_experts, preview, _ = train(comfyui, inputs, architecture, **small)
    assert preview.std() > 0.05
    answer = guider(torch.rand(1, 3, 32, 32) * 2 - 1)
    target = {
        "class": lambda: targets.ClassTarget({0: 1.0}, answer.shape[1]),
        "depth": lambda: targets.DepthTarget(torch.rand(8, 8)),
        "segmentation": lambda: targets.SegmentationTarget(
            torch.zeros(8, 8, dtype=torch.long), answer.shape[1]
        ),
    }[guider.info.task]()
    with torch.inference_mode():
        guided = (
            comfyui.node("PPAP_ApplyGuidance")
            .execute(model=inputs["model"], guider=with_experts, target=target, strength=10.0)
            .result[0]
        )
        sample = comfyui.module("ppap_core.comfy_bridge.sampling").sample_pixels
        plain, moved = (
            sample(model, [0], 3, "ddim", "ddim_uniform", 32, 32)
            for model in (inputs["model"], guided)
        )
    assert moved.isfinite().all() and not moved.equal(plain)


@pytest.mark.parametrize("name", ["", "../out", "a/b", ".."])
def test_expert_name_cannot_leave_its_folder(comfyui, inputs, name):
    with pytest.raises(ValueError, match="plain file name|exists|name.safetensors"):
        train(comfyui, inputs, name)


def test_previews_are_sampled_as_the_pictures_were(comfyui, tmp_path):
    """`distill` on a folder that `generate` filled earlier does not get its flags."""
    generate = comfyui.module("ppap_core.distillation.generate")
    images = comfyui.module("ppap_core.distillation.images")
    default = generate.GenerateSettings()
    assert generate.settings_of(tmp_path, default) == default
    used = {"width": 64, "height": 48, "sampler_name": "euler", "cfg": 3.0, "prompts": "gone.txt"}
    images.write_source(tmp_path, {"settings": used})
    expected = generate.GenerateSettings(**used | {"prompts": ""})
    assert generate.settings_of(tmp_path, default) == expected
