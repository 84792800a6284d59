"""The trainer on checkpoints of real families: draw, distil, load, guide."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from host import tiny_checkpoints, tiny_decoders
from tests.comfy import tiny_models
from tests.slow import slow

TAES = {"SD15": ("taesd", 4), "SDXL": ("taesdxl", 4), "SD3": ("taesd3", 16), "Flux": ("taef1", 16)}
NAMES = [slow(name) if name in ("SDXL", "SD3") else name for name in TAES]


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


@pytest.fixture
def checkpoint_file(comfyui):
    """Name of a family -> the file of its tiny checkpoint, with a tiny VAE beside it."""

    def save(name):
        tiny_models.load(comfyui, name)  # writes the file
        tae, channels = TAES[name]
        tiny_decoders.save_taesd(comfyui.base / "models/vae_approx", tae, channels)
        folder = tiny_checkpoints.FAMILIES[name].stored
        return comfyui.base / "models" / folder / f"tiny_{name}.safetensors"

    return save


def build_trainer(comfyui, guider, checkpoint, folder, guider_input="x_t", view="auto", **changes):
    bridge, engine = "ppap_core.comfy_bridge", "ppap_core.distillation"
    generate = comfyui.module(f"{engine}.generate").GenerateSettings(
        **{"num_images": 20, "width": 64, "height": 64, "steps": 2, "batch_size": 10, **changes}
    )
    distill = comfyui.module(f"{engine}.settings").DistillSettings(
        input=guider_input, view=view, num_experts=2, steps=2, batch_size=4
    )
    conditioning = comfyui.module(f"{bridge}.pictures").conditioning_of(checkpoint)
    files = comfyui.module(f"{engine}.files").TrainingFiles(
        out=str(folder / "out.safetensors"), images=str(folder / "images"), run=str(folder / "run")
    )
    return comfyui.module(f"{bridge}.trainer").Trainer(
        checkpoint=checkpoint,
        guider=guider.guider,
        patcher=guider.patcher,
        conditioning=conditioning,
        generate=generate,
        distill=distill,
        files=files,
    )


def load(comfyui, *args, **kwargs):
    return comfyui.module("ppap_core.comfy_bridge.checkpoint").load_checkpoint(*args, **kwargs)


@pytest.mark.parametrize("guider_input", [slow("x_t"), "x0_hat"])
@pytest.mark.parametrize("name", NAMES)
def test_from_checkpoint_to_guided_picture(
    comfyui, guider, checkpoint_file, tmp_path, name, guider_input
):
    checkpoint = load(comfyui, checkpoint_file(name), TAES[name][0])
    trainer = build_trainer(comfyui, guider, checkpoint, tmp_path, guider_input)
    trainer.generate_pictures(lambda num: None)
    data = trainer.training_set(lambda num: None)
    assert len(data) == 20 and data.states.shape[1] == TAES[name][1]
    expert_set, rows = trainer.train(data, lambda progress: None)
    assert all(row.expert_loss < 100 for row in rows)
    assert expert_set.header.latent_format == checkpoint.latent_format_name
    assert (expert_set.header.view, expert_set.header.input) == ("taesd", guider_input)

    loaded = comfyui.module("ppap_core.expert_file").load_experts(trainer.files.out)
    target = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    with torch.inference_mode():
        guided = (
            comfyui.node("PPAP_ApplyGuidance")
            .execute(
                model=checkpoint.model,
                guider=guider.with_experts(loaded),
                target=target,
                strength=3.0,
            )
            .args[0]
        )
        build = comfyui.module("ppap_core.comfy_bridge.pictures").build_sampler
        pictures = [
            build(checkpoint, trainer.generate, trainer.conditioning, model)([7], [""]).image
            for model in (checkpoint.model, guided)
        ]
    assert pictures[1].isfinite().all()
    assert not torch.equal(*pictures)


def test_model_unloaded_by_comfyui_is_loaded_again_for_training(
    comfyui, guider, checkpoint_file, tmp_path
):
    import comfy.model_management as management

    checkpoint = load(comfyui, checkpoint_file("SD15"), "taesd")
    trainer = build_trainer(comfyui, guider, checkpoint, tmp_path, "x0_hat", "vae", num_images=2)
    name, read = trainer.reader()
    management.unload_all_models()
    drawn = torch.zeros(2, 4, 8, 8), torch.ones(2), torch.ones(2, 4, 8, 8)
    picture = read(*(tensor.to(management.get_torch_device()) for tensor in drawn))
    assert (name, picture.shape) == ("vae", (2, 3, 64, 64))
    kinds = {type(patcher.model).__name__ for patcher in management.loaded_models()}
    assert kinds == {"BaseModel", "Guider", "TAESD"}


@pytest.mark.parametrize("view", ["linear_rgb", slow("taesd"), "vae"])
def test_the_node_teaches_latents_through_a_view(comfyui, guider, checkpoint_file, view):
    model_file = checkpoint_file("SD15")
    with torch.inference_mode():
        model, _, _ = comfyui.nodes.CheckpointLoaderSimple().load_checkpoint(model_file.name)
        (vae,) = comfyui.nodes.VAELoader().load_vae("taesd")
        node = comfyui.node("PPAP_TrainExperts")
        guided, _, report = node.execute(
            **{"model": model, "conditioning": tiny_checkpoints.conditioning("SD15")},
            **{"guider": guider, "name": f"seen_by_{view}", "vae": vae, "view": view},
            **{"num_images": 16, "width": 64, "height": 64, "sampling_steps": 2},
            **{"num_experts": 2, "steps": 2, "batch_size": 4, "guider_input": "x0_hat", "seed": 0},
        ).result
    header = (
        comfyui.module("ppap_core.expert_file")
        .load_experts(comfyui.base / f"models/ppap_experts/seen_by_{view}.safetensors")
        .header
    )
    assert (header.view, header.input) == (view, "x0_hat")


def test_stored_latents_decode_to_the_stored_pictures(comfyui, guider, checkpoint_file, tmp_path):
    """The stored latent, decoded again, is the stored picture, but for half precision."""
    checkpoint = load(comfyui, checkpoint_file("SD15"), "taesd")
    trainer = build_trainer(comfyui, guider, checkpoint, tmp_path, num_images=3)
    trainer.generate_pictures(lambda num: None)
    images = comfyui.module("ppap_core.distillation.images")
    pixels = comfyui.module("ppap_core.pixels")
    folder = trainer.files.image_folder()
    for line, image in images.read_images(folder, images.find_images(folder)):
        latent = images.read_latent(folder, line)[None].float()
        error = checkpoint.decode(latent)[0] - pixels.bytes_to_image(image)
        assert error.abs().max() < 0.05


def test_picture_can_be_sampled_again_from_its_manifest_line(
    comfyui, guider, checkpoint_file, tmp_path
):
    checkpoint = load(comfyui, checkpoint_file("SD15"), "taesd")
    trainer = build_trainer(comfyui, guider, checkpoint, tmp_path, num_images=7, batch_size=3)
    trainer.generate_pictures(lambda num: None)
    images = comfyui.module("ppap_core.distillation.images")
    line = images.read_manifest(trainer.files.image_folder())[4]
    first, num = line["batch"]
    again = build_trainer(
        comfyui, guider, checkpoint, tmp_path / "again", seed=first, num_images=num, batch_size=num
    )
    again.generate_pictures(lambda n: None)
    one, other = (
        folder / line["file"]
        for folder in (trainer.files.image_folder(), again.files.image_folder())
    )
    assert one.read_bytes() == other.read_bytes()


def test_prompts_of_one_batch_become_rows_of_one_conditioning(comfyui):
    join = comfyui.module("ppap_core.comfy_bridge.conditioning").stack_conditioning
    one, two = ([[torch.randn(1, 7, 4), {"pooled_output": torch.randn(1, 3)}]] for _ in range(2))
    [[context, extra]] = join([one, two, one])
    assert context.equal(torch.cat([one[0][0], two[0][0], one[0][0]]))
    assert extra["pooled_output"].shape == (3, 3)
    longer = [[torch.randn(1, 9, 4), {"pooled_output": torch.randn(1, 3)}]]
    assert join([one, longer]) is None
    assert join([one, one]) is one


@pytest.mark.parametrize("width", [12, 0, 65])
def test_picture_size_that_does_not_fit_the_latent_is_refused(comfyui, checkpoint_file, width):
    checkpoint = load(comfyui, checkpoint_file("SD15"))
    with pytest.raises(ValueError, match=f"multiples of 8 for tiny_SD15.safetensors, got {width}"):
        checkpoint.latent_shape(width, 64)


def test_a_checkpoint_without_a_vae_asks_for_one(comfyui, checkpoint_file):
    checkpoint = load(comfyui, checkpoint_file("SD15"))
    with pytest.raises(ValueError, match="brings no VAE, .* decoded: give one"):
        checkpoint.decode(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no checkpoint"),
        (b"", "not a model file"),
        (b"junk" * 99, "not a model file"),
    ],
)
def test_file_that_comfyui_cannot_identify_is_refused(comfyui, tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(comfyui, path)


def test_an_unknown_vae_is_refused_with_the_known_ones(comfyui, checkpoint_file):
    with pytest.raises(ValueError, match="no VAE 'nothing': give a file, or one of .*pixel_space"):
        load(comfyui, checkpoint_file("SD15"), vae="nothing")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"sampler_name": "eulr"}, "class", "no sampler 'eulr': did you mean euler"),
        ({"scheduler": "nope"}, "class", "no scheduler 'nope': choose one of .*karras"),
        ({}, "gaze", "cannot be trained for a guider that predicts gaze"),
    ],
)
def test_what_comfyui_or_the_trainer_does_not_know_is_refused_when_the_trainer_is_made(
    comfyui, tmp_path, changes, kind, message
):
    guider = SimpleNamespace(info=SimpleNamespace(kind=kind))
    loaded, checkpoint = SimpleNamespace(guider=guider, patcher=None), SimpleNamespace()
    checkpoint.reads_prompts = False
    with pytest.raises(ValueError, match=message):
        build_trainer(comfyui, loaded, checkpoint, tmp_path, **changes)


def test_a_view_that_the_checkpoint_lacks_is_refused(comfyui, guider, checkpoint_file, tmp_path):
    checkpoint = load(comfyui, checkpoint_file("SD15"))
    with pytest.raises(ValueError, match="identity is for pixel models"):
        build_trainer(comfyui, guider, checkpoint, tmp_path, view="identity").check_view()


def test_pictures_encode_the_prompts_they_use_and_no_others(
    comfyui, guider, checkpoint_file, tmp_path
):
    """Of a file of 4000; the pictures are those of encodings that were all made beforehand."""
    (tmp_path / "prompts.txt").write_text("".join(f"prompt {i}\n" for i in range(4000)))
    checkpoint, encoded = load(comfyui, checkpoint_file("SD15"), "taesd"), []
    context = tiny_checkpoints.conditioning("SD15")[0][0]

    def encode(prompt):
        encoded.append(prompt)
        return [[context * (1 + len(prompt) + int("0" + prompt[7:])) / 1000, {}]]

    made = comfyui.module("ppap_core.comfy_bridge.conditioning").Conditionings(encode)
    everything = {prompt: encode(prompt) for prompt in ["", *(f"prompt {i}" for i in range(4000))]}
    encoded.clear()
    for name, conditioning in (("used", made), ("all", everything)):
        prompts = str(tmp_path / "prompts.txt")
        trainer = build_trainer(
            comfyui, guider, checkpoint, tmp_path / name, num_images=16, prompts=prompts
        )
        replace(trainer, conditioning=conditioning).generate_pictures(lambda num: None)
    assert len(encoded) == len(set(encoded)) <= 17
    images = comfyui.module("ppap_core.distillation.images")
    for line in images.read_manifest(tmp_path / "all/images"):
        one, other = (
            images.read_latent(tmp_path / name / "images", line) for name in ("used", "all")
        )
        assert one.equal(other) and line["prompt"] in encoded


def test_full_disk_is_reported_before_sampling(
    comfyui, guider, checkpoint_file, tmp_path, monkeypatch
):
    import shutil

    checkpoint = load(comfyui, checkpoint_file("SD15"), "taesd")
    trainer = build_trainer(comfyui, guider, checkpoint, tmp_path)
    pictures = comfyui.module("ppap_core.comfy_bridge.pictures")
    room = int(3.5 * pictures.picture_bytes(checkpoint, trainer.generate))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=room))
    with pytest.raises(
        ValueError, match="has 0.0 GB free, room for about 3 pictures .* the 20 to come"
    ):
        trainer.generate_pictures(lambda num: None)
    assert not trainer.files.image_folder().exists()
