"""From a folder to what is learned: broken pictures are left out, answers kept for next time."""

import json
import logging

import pytest
import torch
from torch import nn

from ppap_core.distillation.generate import GenerateSettings, generate
from ppap_core.distillation.images import append_manifest, load_images, read_manifest, read_source
from ppap_core.distillation.pictures import Pictures
from ppap_core.distillation.training_set import build_training_set
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing
from ppap_core.pixels import bytes_to_image

SOURCE = {"checkpoint": "a", "fingerprint": "1", "latent_format": "SD15"}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    images, latents = torch.rand(6, 3, 8, 8) * 2 - 1, torch.randn(6, 4, 2, 2)
    settings = GenerateSettings(num_images=6, batch_size=3)
    sample = lambda seeds, _: Pictures(images[seeds], latents[seeds])  # noqa: E731
    generate(sample, settings, tmp_path / "images", SOURCE)
    return tmp_path / "images"


@pytest.fixture
def guider():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    info = GuiderInfo("timm/net", "net", "class", ("cone", "cube", "torus"), "f" * 64)
    return Guider(net, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), info)


def test_pixel_training_set_holds_pixels_and_the_guiders_answers(folder, guider):
    data = build_training_set(folder, guider)
    images = load_images(folder)
    assert data.states.equal(images)
    torch.testing.assert_close(data.answers, guider(bytes_to_image(images)))


def test_latents_are_in_the_models_scale(folder, guider):
    plain = build_training_set(folder, guider, process_in=lambda latent: latent).states
    scaled = build_training_set(folder, guider, process_in=lambda latent: latent * 0.5).states
    assert plain.shape == (6, 4, 2, 2)
    torch.testing.assert_close(scaled.float(), plain.float() / 2)


def test_broken_picture_and_missing_latent_are_skipped_and_named(folder, guider, caplog):
    (folder / "images/0000001.png").write_bytes(b"no picture")
    (folder / "latents/0000003.safetensors").write_bytes(b"no latents")
    with caplog.at_level(logging.WARNING):
        data = build_training_set(folder, guider, process_in=lambda latent: latent)
    assert len(data) == 2
    assert "0000001.png" in caplog.text and "0000003.safetensors" in caplog.text
    assert "4 of 6 pictures" in caplog.text
    images = load_images(folder)
    torch.testing.assert_close(data.answers, guider(bytes_to_image(images[[0, 1]])))


def flip(file, place):
    """Damage one bit."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


class Counting(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, x):
        self.calls += 1
        return self.net(x)


def test_the_teacher_is_asked_once(folder, guider, tmp_path):
    guider.backbone = Counting(guider.backbone)
    cache = tmp_path / "teacher"
    first = build_training_set(folder, guider, cache=cache).in_memory()
    again = build_training_set(folder, guider, cache=cache).in_memory()
    assert guider.backbone.calls == 1
    assert again.answers.equal(first.answers) and again.states.equal(first.states)
    assert again.fingerprint == first.fingerprint
    (folder / "images/0000005.png").unlink()
    fewer = build_training_set(folder, guider, cache=cache)
    assert guider.backbone.calls == 2 and len(fewer) == 5 and fewer.fingerprint != first.fingerprint


def test_damaged_teacher_cache_is_computed_again(folder, guider, tmp_path):
    cache = tmp_path / "teacher"
    first = build_training_set(folder, guider, cache=cache).in_memory()
    for name in ("states.npy", "answers.npy", "progress.json"):
        (cache / name).write_bytes((cache / name).read_bytes()[:-5])
        again = build_training_set(folder, guider, cache=cache).in_memory()
        assert again.answers.equal(first.answers) and again.states.equal(first.states)


@pytest.mark.parametrize("change", [{"read": 5}, {"read": "6"}, {"kept": [0, 1, 2, 3, 4, {}]}])
def test_a_damaged_record_of_the_teachers_answers_is_not_used(folder, guider, tmp_path, change):
    """Its rows would be taken for those of other pictures."""
    progress = tmp_path / "teacher/progress.json"
    first = build_training_set(folder, guider, cache=progress.parent).in_memory()
    progress.write_text(json.dumps(json.loads(progress.read_text()) | change))
    again = build_training_set(folder, guider, cache=progress.parent).in_memory()
    assert again.answers.equal(first.answers) and again.states.equal(first.states)


@pytest.mark.parametrize("name", ["states.npy", "answers.npy"])
def test_a_damaged_row_is_never_learned_from(folder, guider, tmp_path, name):
    data = build_training_set(folder, guider, cache=tmp_path)
    flip(tmp_path / name, -10)
    with pytest.raises(ValueError, match=f"{name} is damaged .*: delete it"):
        data.in_memory()


def test_a_damaged_value_in_a_latent_is_named_and_left_out(folder, guider, caplog):
    flip(folder / "latents/0000003.safetensors", -1)  # of the last picture
    data = build_training_set(folder, guider, process_in=lambda latent: latent)
    assert len(data) == 5 and "images/0000005.png" in caplog.text


def test_a_changed_line_of_the_manifest_is_skipped(folder, caplog):
    """A picture would get the latent or the estimates of another one."""
    manifest = folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"seed": 2', '"seed": 3'))
    assert len(read_manifest(folder)) == 5 and "skipped 1 broken line" in caplog.text


@pytest.mark.parametrize("change", [{"at_once": "2"}, {"at_once": 0}, {"settings": {}}])
def test_a_changed_source_is_refused(folder, change):
    source = folder / "source.json"
    source.write_text(json.dumps(json.loads(source.read_text()) | change))
    with pytest.raises(ValueError, match=r"source\.json is damaged: delete it"):
        read_source(folder)


def test_labels_replace_the_teachers_answers(folder, guider, tmp_path):
    labels = tmp_path / "labels.csv"
    names = ["cone", "2", "Cube", "0", "torus", "1"]
    labels.write_text("".join(f"images/{i:07d}.png,{name}\n" for i, name in enumerate(names)))
    data = build_training_set(folder, guider, labels=labels)
    assert data.answers.softmax(dim=1).argmax(dim=1).tolist() == [0, 2, 1, 0, 2, 1]
    assert data.answers.softmax(dim=1).amax(dim=1).min() > 0.999


def test_a_picture_without_a_label_is_named(folder, guider, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("images/0000000.png,cone\n")
    with pytest.raises(
        ValueError, match="no label for 5 pictures, the first is images/0000001.png"
    ):
        build_training_set(folder, guider, labels=labels)


def test_own_pictures_without_latents_are_refused_for_latent_models(folder, guider):
    (folder / "manifest.jsonl").unlink()
    with pytest.raises(ValueError, match="holds no latents .*generate"):
        build_training_set(folder, guider, process_in=lambda latent: latent)


@pytest.mark.parametrize(
    "line",
    [
        '{"file": 3.5, "seed": 1}',
        '{"file": null}',
        '{"file": ["a.png"]}',
        '{"seed": 1}',
        '{"file": "a.png", "seed": "1"}',
        '{"file": "a.png", "latent": 2}',
        "[]",
        "3",
    ],
)
def test_manifest_line_of_another_kind_is_skipped(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(f"{line}\n")
    append_manifest(tmp_path, [{"file": "b.png", "seed": 2}])
    assert [found["file"] for found in read_manifest(tmp_path)] == ["b.png"]


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"fingerprint": 1, "checkpoint": "a"}', '{"settings": 3}', "{"]
)
def test_damaged_source_is_named(tmp_path, text):
    (tmp_path / "source.json").write_text(text)
    with pytest.raises(ValueError, match=r"source\.json"):
        read_source(tmp_path)
