"""A training that is cancelled, killed or refused, at any moment, in the real host."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from demo.paths import GUIDER, PIXEL_MODEL
from tests.comfy.test_training import file_of, inputs, train  # noqa: F401  (inputs: a fixture)
from tests.comfy.tiny_models import load, tiny_guider
from tests.hooks import num_hooks
from tests.slow import slow

ROOT = Path(__file__).parents[2]


def folder_of(comfyui, name) -> Path:
    return comfyui.base / "output/ppap_training" / name


def contents(folder: Path) -> dict:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files}


def cancel_at(monkeypatch, number):
    """ComfyUI's cancel button, pressed when it is asked about for the `number`th time."""
    from comfy import model_management

    asked = []

    def ask():
        asked.append(None)
        if len(asked) == number:
            raise model_management.InterruptProcessingException

    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", ask)
    return asked


@pytest.mark.parametrize("guider_input", [slow("x_t"), "x0_hat"])
def test_a_training_cancelled_in_every_phase_ends_with_the_same_file(
    comfyui,
    inputs,  # noqa: F811
    monkeypatch,
    guider_input,
):
    from comfy.model_management import InterruptProcessingException

    whole, name = f"uncut_{guider_input}", f"cut_{guider_input}"
    with monkeypatch.context() as patch:
        asked = cancel_at(patch, 0)
        train(comfyui, inputs, whole, guider_input=guider_input)
    stopped_in = []
    for share in (0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9):  # of what an uncut training asks
        with monkeypatch.context() as patch:
            cancel_at(patch, int(share * len(asked)))
            try:
                train(comfyui, inputs, name, guider_input=guider_input)
                break
            except InterruptProcessingException:
                left = {path.name for path in folder_of(comfyui, name).rglob("*")}
                stopped_in.append(left & {"manifest.jsonl", "progress.json", "state.safetensors"})
    else:
        train(comfyui, inputs, name, guider_input=guider_input)
    assert len(stopped_in) >= 3 and stopped_in[0] != stopped_in[-1]
    assert file_of(comfyui, whole).read_bytes() == file_of(comfyui, name).read_bytes()


def test_a_training_stopped_in_its_preview_may_finish_it(
    comfyui,
    inputs,  # noqa: F811
    monkeypatch,
):
    from comfy.model_management import InterruptProcessingException

    results = comfyui.module("ppap_core.comfy_bridge.training_results")

    def stop(*_):
        raise InterruptProcessingException

    with monkeypatch.context() as patch:
        patch.setattr(results.Results, "_write_preview", stop)
        with pytest.raises(InterruptProcessingException):
            train(comfyui, inputs, "no_preview")
    before = file_of(comfyui, "no_preview").read_bytes()
    train(comfyui, inputs, "no_preview")
    assert file_of(comfyui, "no_preview").with_suffix(".preview.png").is_file()
    assert file_of(comfyui, "no_preview").read_bytes() == before
    with pytest.raises(ValueError, match="exists: choose another name"):
        train(comfyui, inputs, "no_preview")


def test_what_a_run_refuses_leaves_no_trace(comfyui, inputs, monkeypatch):  # noqa: F811
    from comfy.model_management import InterruptProcessingException, interrupt_current_processing

    def stop(*_, **__):
        raise InterruptProcessingException

    trainer = comfyui.module("ppap_core.comfy_bridge.trainer").Trainer
    learner = comfyui.module("ppap_core.distillation.learner").Learner
    with monkeypatch.context() as patch, pytest.raises(InterruptProcessingException):
        patch.setattr(trainer, "train", stop)
        train(comfyui, inputs, "refused")
    before = contents(folder_of(comfyui, "refused"))
    for changes, message in (
        ({"seed": 5}, "with seed 0, now it is 5"),
        ({"sampling_steps": 7}, "with steps 3, now it is 7"),
        ({"width": 40}, "with width 32, now it is 40"),
        ({"view": "vae"}, "the view vae needs a VAE"),
    ):
        with pytest.raises(ValueError, match=message):
            train(comfyui, inputs, "refused", **changes)
        assert contents(folder_of(comfyui, "refused")) == before, changes
    step = learner._step

    def press_cancel_after(self):
        step(self)
        interrupt_current_processing(True)

    with monkeypatch.context() as patch, pytest.raises(InterruptProcessingException):
        patch.setattr(learner, "_step", press_cancel_after)
        train(comfyui, inputs, "refused")
    before = contents(folder_of(comfyui, "refused"))
    assert Path("state.safetensors") in before
    for changes, message in (
        ({"num_images": 30}, "num_images was 24, now 30"),
        ({"steps": 5, "overwrite": True}, "steps was 4, now 5"),  # it is not finished
    ):
        with pytest.raises(ValueError, match=message):
            train(comfyui, inputs, "refused", **changes)
        assert contents(folder_of(comfyui, "refused")) == before, changes
    train(comfyui, inputs, "refused")
    assert file_of(comfyui, "refused").is_file()


def test_the_seed_stays_after_a_run(comfyui):
    """The front end gives every widget called seed a control, unless the node says no."""
    seed = comfyui.node("PPAP_TrainExperts").INPUT_TYPES()["required"]["seed"]
    assert seed[1]["control_after_generate"] is False


@pytest.mark.parametrize("num_images", [1, slow(2), 3, slow(9)])
@pytest.mark.parametrize("guider_input", ["x_t", "x0_hat"])
def test_a_few_pictures_train_experts_and_claim_nothing(
    comfyui,
    inputs,  # noqa: F811
    num_images,
    guider_input,
):
    name = f"few_{num_images}_{guider_input}"
    widgets = {"num_images": num_images, "guider_input": guider_input, "steps": 2}
    guider, _, report = train(comfyui, inputs, name, **widgets)
    tensors = [value for expert in guider.experts.experts for value in expert.tensors.values()]
    assert all(value.isfinite().all() for value in tensors)
    written = (folder_of(comfyui, name) / "report.md").read_text("utf-8")
    for text in (report, written):
        assert "nan" not in text and "has learned" not in text and "No picture was held" in text


def test_a_folder_that_cannot_be_written_to_is_refused_before_sampling(
    comfyui,
    inputs,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    (tmp_path / "file").touch()
    files = comfyui.module("ppap_core.distillation.files").TrainingFiles
    read_only = Path("/proc/ppap") if Path("/proc/self").exists() else tmp_path / "file" / "x"
    module = sys.modules[comfyui.node("PPAP_TrainExperts").__module__]
    given = files(out=str(read_only / "a.safetensors"), run=str(tmp_path / "run"))
    monkeypatch.setattr(module, "training_files", lambda *_: given)
    with pytest.raises(ValueError, match="nothing can be written to"):
        train(comfyui, inputs, "read_only")
    assert not (tmp_path / "run").exists()


def test_only_the_prompts_that_are_used_are_encoded_and_few_are_kept(comfyui):
    conditioning = comfyui.module("ppap_core.comfy_bridge.conditioning")
    encoded = []

    def encode(prompt):
        encoded.append(prompt)
        generator = torch.Generator().manual_seed(len(prompt))
        return [[torch.randn(1, 4, 8, generator=generator), {}]]

    made = conditioning.Conditionings(encode)
    made[""]
    for index in range(4000):
        made[f"prompt {index}"]
        assert len(made) <= conditioning.MOST_KEPT
    assert encoded.count("") == 1
    made[""]
    made["prompt 3999"]
    assert len(encoded) == 4001 and made["prompt 0"] and len(encoded) == 4002


@pytest.mark.slow
def test_cancelling_leaves_the_backward_pass_of_a_real_decoder_at_once(comfyui):
    """ComfyUI's own VAE decoder, narrow, at 512 x 512: its backward pass takes seconds."""
    import comfy.model_management as management
    from comfy.ldm.models.autoencoder import AutoencoderKL

    bridge = "ppap_core.comfy_bridge"
    memory, hook = comfyui.module(f"{bridge}.memory"), comfyui.module(f"{bridge}.hook")
    size = {"ch": 32, "ch_mult": [1, 1, 2, 2], "num_res_blocks": 3, "attn_resolutions": []}
    size |= {"z_channels": 4, "in_channels": 3, "out_ch": 3, "resolution": 256, "dropout": 0.0}
    torch.manual_seed(0)
    with torch.inference_mode(False):
        vae = AutoencoderKL(ddconfig={**size, "double_z": True}, embed_dim=4)
        for parameter in vae.requires_grad_(False).parameters():
            parameter.normal_(0, 0.02)
        guider, model = tiny_guider(comfyui), load(comfyui, "SD15")
        view = comfyui.module("ppap_core.views").DecoderView(vae.decode)
        guidance = comfyui.module("ppap_core.guidance").Guidance(
            guider.guider,
            comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5),
            comfyui.module("ppap_core.strength").Strength(1.0),
            input="x0_hat",
            view=view,
            jacobian="none",
        )
        guided = hook.install_guidance(model, guidance, guider.patcher, memory.build_patcher(vae))
    networks = (vae, guider.guider, model.model)
    own = num_hooks(*networks)
    pressed, ended, presses = [], [], []

    def in_the_backward_pass(module, grads, _):
        pressed.append(time.process_time())
        if presses:
            management.interrupt_current_processing(True)

    def first_conv(module, grads, _):
        ended.append(time.process_time())

    from host.tiny_checkpoints import conditioning

    sample = comfyui.module(f"{bridge}.sampling").sample_seeds
    handles = [
        vae.decoder.conv_out.register_full_backward_hook(in_the_backward_pass),
        vae.decoder.conv_in.register_full_backward_hook(first_conv),
    ]
    prompt = conditioning("SD15")
    call = (guided, [0], (4, 64, 64), 1, 1.0, "euler", "normal", prompt, prompt)
    before = management.processing_interrupted()
    assert not before
    with torch.inference_mode():
        sample(*call)
        whole = ended[0] - pressed[0]
        presses.append(True)
        with pytest.raises(management.InterruptProcessingException):
            sample(*call)
        left = time.process_time() - pressed[1]
    for handle in handles:
        handle.remove()
    assert whole > 0.5 and left < min(1.0, whole / 3), (whole, left)
    assert num_hooks(*networks) == own


@pytest.mark.slow
def test_a_training_killed_in_every_phase_ends_with_the_same_file(tmp_path):
    """kill -9 while it samples, asks, trains and makes its preview."""

    def start(out: Path):
        small = "--num-images 60 --generate-steps 6 --generate-batch-size 4 --num-experts 2"
        given = ["--checkpoint", PIXEL_MODEL, "--guider", GUIDER, "--out", out, *small.split()]
        command = [sys.executable, "-m", "training", "all", *given, "--steps", "20"]
        flags = ["--batch-size", "8"]
        return subprocess.Popen(list(map(str, command + flags)), cwd=ROOT, stderr=subprocess.PIPE)

    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert start(whole).wait(600) == 0
    run = tmp_path / "cut.run"
    signs = [
        run / "generated/manifest.jsonl",
        run / "teacher/states.npy",
        run / "state.safetensors",
        cut,
    ]
    for sign in signs:
        process = start(cut)
        while not sign.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, sign
    last = start(cut)
    assert last.wait(600) == 0, last.stderr.read()
    assert whole.read_bytes() == cut.read_bytes()
    assert cut.with_suffix(".preview.png").is_file()
