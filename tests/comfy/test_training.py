"""The trainer through the real host: node and command line, from pictures to guided pictures."""

import contextlib
from itertools import pairwise
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

ELSEWHERE = ("nul", "COM1.old", "a:b", "a?", "dot.", "space ", "two\nlines")
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


@pytest.fixture
def whole(comfyui, inputs) -> bytes:
    """The file of a training that nobody looks at and nothing stops."""
    if not file_of(comfyui, "whole").exists():
        train(comfyui, inputs, "whole")
    return file_of(comfyui, "whole").read_bytes()


def test_cancelled_training_resumes_to_the_same_file(comfyui, inputs, whole, monkeypatch):
    from comfy import model_management

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
    assert file_of(comfyui, "cancelled").read_bytes() == whole


@pytest.fixture
def seen(comfyui, monkeypatch):
    """(texts, pictures) that a person sees on the node, who gets a picture after every step."""
    from comfy import utils

    bridge = "ppap_core.comfy_bridge"
    shown, samples = (comfyui.module(f"{bridge}.{m}") for m in ("training_on_node", "samples"))
    texts, pictures = [], []
    monkeypatch.setattr(shown, "show_on_node", lambda lines: texts.append("\n".join(lines)))
    monkeypatch.setattr(shown, "PAUSE", 0.0)
    monkeypatch.setattr(samples, "SHARE", float("inf"))
    monkeypatch.setattr(samples, "EVERY", 0.0)

    def hook(value, total, preview, node_id=None):
        assert 0 <= value <= total
        pictures.extend([preview] if preview else [])

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", hook)
    return texts, pictures


def test_a_training_is_watched_cancelled_in_a_picture_and_ends_with_the_same_file(
    comfyui, inputs, whole, seen, monkeypatch
):
    from comfy.model_management import InterruptProcessingException, interrupt_current_processing

    texts, pictures = seen
    samples = comfyui.module("ppap_core.comfy_bridge.samples").Samples
    sample, so_far = samples.sample, file_of(comfyui, "watched (so far)")

    def press_cancel(self, *args):
        interrupt_current_processing(so_far.exists())  # in the second expert
        sample(self, *args)

    with monkeypatch.context() as patch, pytest.raises(InterruptProcessingException):
        patch.setattr(samples, "sample", press_cancel)
        train(comfyui, inputs, "watched")
    assert len(pictures) == SMALL["steps"]
    loaded, info = comfyui.node("PPAP_LoadExperts").execute(inputs["guider"], so_far.name).result
    assert len(loaded.experts) == 1 and "unfinished, 1 of 2 experts" in info
    train(comfyui, inputs, "watched")
    assert file_of(comfyui, "watched").read_bytes() == whole
    assert not so_far.exists()
    # After each of the other steps; none after the last one, where the preview follows.
    assert len(pictures) == 2 * SMALL["steps"] - 2
    assert len({(kind, sheet.size) for kind, sheet, _ in pictures}) == 1
    for words in (
        *("sampling pictures 0 of 24", "sampling pictures 24 of 24", "sampling the preview"),
        *("reading the guider's answers 24 of 24", "expert 2 of 2, noise [1, 20): step 4 of 4"),
    ):
        assert any(words in text and "left of the training" in text for text in texts), words


@pytest.mark.parametrize("seconds", [0.1, 30.0])  # of a picture
def test_pictures_on_the_way_cost_a_twentieth_of_the_time(comfyui, monkeypatch, seconds):
    """Three hours of steps that take a second; each sample takes as long as its pictures do."""
    samples = comfyui.module("ppap_core.comfy_bridge.samples")
    distill = comfyui.module("ppap_core.distillation.distill")
    phases = comfyui.module("ppap_core.distillation.phases")
    settings = comfyui.module("ppap_core.distillation.settings").DistillSettings(steps=2000)
    now = [0.0]
    monkeypatch.setattr(samples, "time", SimpleNamespace(monotonic=lambda: now[0]))
    made, trainer = [], SimpleNamespace(guider=None, patcher=None, distill=settings)
    trainer.checkpoint = SimpleNamespace(networks=list)
    trainer.sampler_of = trainer.load_for_learning = lambda *_: None

    def sample_learned(checkpoint, guider, reading, answers, num, *_):
        made.append(2 * num * seconds)
        now[0] += made[-1]

    monkeypatch.setattr(samples, "sample_learned", sample_learned)
    watched, times = samples.Samples(lambda sheet: None, seconds), []
    for phase in phases.plan_phases(settings):
        for step in range(1, phase.steps + 1):
            now[0] += 1
            progress = distill.Progress(phase, step, 0.0, 1.0, 0.0, lambda: ())
            if watched.are_due(progress, settings.num_experts):
                times.append((phase.expert, step, now[0]))
                watched.sample(trainer, "identity", None, progress)
            assert sum(made) <= 0.05 * now[0]
    assert max(made) <= 60 and len(times) >= 5
    if seconds < 1:  # cheap ones are made in time
        assert {(k, step) for k, step, _ in times} >= {(k, 2000) for k in range(4)}
        assert all(later - time < 200 for (*_, time), (*_, later) in pairwise(times))


def test_a_dry_run_tells_what_a_training_takes_and_leaves_no_trace(comfyui, inputs):
    guider, preview, text = train(comfyui, inputs, "dry", dry_run=True)
    assert guider is inputs["guider"] and preview.shape == (1, 1, 1, 3) and not preview.any()
    for words in ("24 to sample, 3 steps each", "24 pictures for the guider to read", "in all"):
        assert words in text
    assert {line.split()[0] for line in text.splitlines()} >= {"learning", "disk", "memory"}
    assert not file_of(comfyui, "dry").exists()
    assert not (comfyui.base / "output/ppap_training/dry").exists()


def test_existing_expert_name_is_refused_before_sampling_unless_overwritten(comfyui, inputs):
    file_of(comfyui, "taken").parent.mkdir(parents=True, exist_ok=True)
    file_of(comfyui, "taken").write_bytes(b"precious")
    for dry_run in (False, True):
        with pytest.raises(ValueError, match="taken.safetensors exists.*it .widget overwrite"):
            train(comfyui, inputs, "taken", dry_run=dry_run)
    assert file_of(comfyui, "taken").read_bytes() == b"precious"
    few = {"num_images": 16, "num_experts": 1, "overwrite": True}
    for steps in (1, 2):  # what was finished may be learned anew, on the same pictures
        train(comfyui, inputs, "taken", steps=steps, **few)
        loaded = comfyui.module("ppap_core.expert_file").load_experts(file_of(comfyui, "taken"))
        assert loaded.header.training["steps"] == steps


@pytest.mark.parametrize("view", ["nope", "vae"])
def test_a_view_that_cannot_be_had_is_refused_before_sampling(comfyui, inputs, view):
    with pytest.raises(ValueError, match="view is one of|the view vae needs a VAE"):
        train(comfyui, inputs, "no_view", view=view)
    assert not (comfyui.base / "output/ppap_training/no_view").exists()


@pytest.mark.parametrize("task", ["class", "depth", "segmentation", "pose", "gaze"])
def test_a_preview_asks_for_each_task(comfyui, task):
    info = SimpleNamespace(task=task, answer="softmax", labels=tuple("abc"))
    answers = {"class": torch.randn(9, 3), "depth": torch.rand(9, 8, 8)}
    answers = answers.get(task, torch.randn(9, 3, 8, 8))
    preview_targets = comfyui.module("ppap_core.comfy_bridge.preview").preview_targets
    if task not in comfyui.module("ppap_core.tasks").task_names():
        with pytest.raises(ValueError, match="cannot ask for an answer of the task gaze yet"):
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


@pytest.mark.parametrize("name", ["", "../out", "a/b", "..", "mine (so far)", *ELSEWHERE])
def test_expert_name_cannot_leave_its_folder_or_be_an_unfinished_one(comfyui, inputs, name):
    with pytest.raises(ValueError, match="plain file name|exists|name.safetensors|unfinished"):
        train(comfyui, inputs, name)


@pytest.mark.parametrize("name", ["x" * 200, "é" * 95])
def test_a_name_too_long_for_the_files_beside_it_is_refused(comfyui, inputs, name):
    """It was, by the disk, when the first expert was done."""
    with pytest.raises(ValueError, match="longer than 180 bytes.*a shorter name .widget name"):
        train(comfyui, inputs, name)
    assert not (comfyui.base / "output/ppap_training" / name).exists()


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
