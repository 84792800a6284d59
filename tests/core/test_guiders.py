"""Guiders from folders: timm's own answers, timm's own preprocessing, and clear refusals."""

import json
import math
from pathlib import Path

import numpy
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from ppap_core.guiders import (
    Guider,
    GuiderInfo,
    Preprocessing,
    fingerprint,
    list_guiders,
    load_guider,
)
from ppap_core.guiders.timm_guider import timm_preprocessing

DEMO = Path(__file__).parents[2] / "demo/models/ppap_guiders/demo-shapes-resnet"
MODEL_ARGS = {"channels": [8, 8, 12, 16], "stem_width": 8, "num_classes": 4}
CONFIG = {
    "architecture": "resnet10t",
    "num_classes": 4,
    "label_names": ["ant", "bee", "cat", "dog"],
    "model_args": MODEL_ARGS,
    "pretrained_cfg": {
        **{"input_size": [3, 32, 32], "interpolation": "bilinear", "crop_pct": 1.0},
        **{"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]},
    },
}


def smooth_picture(height, width):
    """Slow waves in three colours: where a picture is smooth, PIL's rounding is all it loses."""
    y, x = numpy.mgrid[:height, :width] / max(height, width)
    waves = [numpy.sin(5 * x + 3 * y), numpy.cos(7 * y - 2 * x), numpy.sin(4 * x * y + 1)]
    pixels = numpy.stack(waves, axis=-1) * 100 + 127.5
    return Image.fromarray(pixels.round().astype(numpy.uint8))


def image_of(picture):
    """(1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1


def write_folder(folder, config=CONFIG, weights=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    weights = weights or timm.create_model("resnet10t", **MODEL_ARGS).state_dict()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


def timm_and_ours(cfg, picture):
    """The picture after timm's evaluation transform and after ours, as pixels in [0, 1]."""
    transform = create_transform(**resolve_data_config(pretrained_cfg=cfg), is_training=False)
    std = torch.tensor(cfg["std"])[:, None, None]
    return transform(picture) * std, timm_preprocessing(cfg)(image_of(picture))[0] * std


@pytest.mark.parametrize("sides", [(64, 64), (61, 97), (100, 47), (256, 80), (33, 32), (20, 27)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"input_size": (3, 32, 32), "crop_pct": 1.0},
        {"input_size": (3, 32, 32), "crop_pct": 0.875},
        {"input_size": (3, 31, 31), "crop_pct": 0.95},
        {"input_size": (3, 32, 48), "crop_pct": 0.9},
        {"input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "squash"},
    ],
)
def test_preprocessing_is_timms_evaluation_transform(sides, interpolation, geometry):
    cfg = CONFIG["pretrained_cfg"] | geometry | {"interpolation": interpolation}
    expected, got = timm_and_ours(cfg, smooth_picture(*sides))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-2)


def test_preprocessing_is_exact_where_nothing_is_resized():
    noise = numpy.random.default_rng(0).integers(0, 256, (32, 41, 3), dtype=numpy.uint8)
    expected, got = timm_and_ours(CONFIG["pretrained_cfg"], Image.fromarray(noise))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_every_pixel_inside_the_crop_has_a_gradient():
    preprocessing = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3, "bicubic", 0.5)
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    preprocessing(image).sum().backward()
    assert image.grad[..., 20:44, 20:44].ne(0).all()
    assert image.grad[..., :12, :].eq(0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interpolation": "lanczos"}, "interpolation"),
        ({"crop_fraction": 0.0}, "crop_fraction"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
        ({"crop_mode": "mirror"}, "crop_mode"),
    ],
)
def test_impossible_preprocessing_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, **settings)


def timm_logits(folder, picture):
    """What timm itself answers with this folder's model."""
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(config["architecture"], **config["model_args"]).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    data = resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
    with torch.no_grad():
        return model(create_transform(**data, is_training=False)(picture)[None])


def test_a_loaded_guider_answers_as_timm_does(tmp_path):
    noise = numpy.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=numpy.uint8)
    picture = Image.fromarray(noise)
    guider = load_guider(write_folder(tmp_path / "net"))
    torch.testing.assert_close(guider(image_of(picture)), timm_logits(tmp_path / "net", picture))
    assert guider.info.labels == ("ant", "bee", "cat", "dog")
    assert guider.info.source == "timm/net"


def test_the_demo_guider_answers_as_timm_does():
    picture = smooth_picture(32, 32)
    guider = load_guider(DEMO)
    torch.testing.assert_close(guider(image_of(picture)), timm_logits(DEMO, picture))
    assert len(guider.info.labels) == 10 and "torus" in guider.info.labels


def test_a_guider_loaded_inside_inference_mode_can_give_gradients(tmp_path):
    with torch.inference_mode():
        guider = load_guider(write_folder(tmp_path / "net"))
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    guider(image)[0, 0].backward()
    assert image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in guider.parameters())


def test_old_timm_config_with_top_level_preprocessing_is_read(tmp_path):
    cfg = CONFIG["pretrained_cfg"]
    config = {k: v for k, v in CONFIG.items() if k != "pretrained_cfg"} | cfg
    guider = load_guider(write_folder(tmp_path, config))
    assert guider.preprocessing == timm_preprocessing(cfg)


def test_timms_own_thousand_classes_without_names_are_imagenets(tmp_path):
    args = MODEL_ARGS | {"num_classes": 1000}
    config = CONFIG | {"num_classes": 1000, "model_args": args, "label_names": None}
    config["pretrained_cfg"] = CONFIG["pretrained_cfg"] | {"tag": "a1_in1k"}
    weights = timm.create_model("resnet10t", **args).state_dict()
    labels = load_guider(write_folder(tmp_path, config, weights)).info.labels
    assert labels[0].startswith("tench") and labels[999].startswith("toilet tissue")
    assert len(labels) == 1000


def refusal(folder):
    with pytest.raises(ValueError) as caught:
        load_guider(folder)
    assert "\n" not in str(caught.value) and folder.name in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    assert "no guider folder" in refusal(tmp_path / "none")


def test_a_folder_without_config_is_refused(tmp_path):
    folder = write_folder(tmp_path / "net")
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


def test_a_folder_with_pickles_only_is_refused(tmp_path):
    folder = write_folder(tmp_path / "net")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    line = refusal(folder)
    assert "found only pytorch_model.bin; pickles can run code" in line
    assert f'python -m training convert "{folder}' in line


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_weights_are_refused(tmp_path, kept):
    path = write_folder(tmp_path / "net") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "truncated or no safetensors file" in refusal(path.parent)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{not json", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "holds no settings"),
        ({}, "names no model"),
        ({"architecture": 3}, "names no model"),
        ({"auto_map": {"AutoModel": "net.Net"}}, "wants to run code of its own"),
        ({"model_type": "vit9000"}, "has no model_type 'vit9000'"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "which is no guider"),
        ({"model_type": "oneformer"}, "told in words what to segment"),
        (
            {"model_type": "grounding-dino", "architectures": ["GroundingDinoForObjectDetection"]},
            "choose a model for depth, normal or pose estimation, object detection, semantic "
            "segmentation or ",
        ),
        ({"model_type": "vit"}, "is a model without a task (vit)"),
        ({"architecture": "resnet9000"}, "has no model 'resnet9000'"),
        (CONFIG | {"model_args": MODEL_ARGS | {"num_classes": 7}}, "does not fit config.json: "),
        (CONFIG | {"model_args": MODEL_ARGS | {"num_classes": 0}}, "has no classes"),
        (CONFIG | {"model_args": {"num_classes": 4, "wheels": 4}}, "wheels"),
        (CONFIG | {"model_args": MODEL_ARGS | {"checkpoint_path": "x.bin"}}, "checkpoint_path"),
        (CONFIG | {"model_args": ["wheels"]}, "model_args in config.json is an object"),
        (CONFIG | {"pretrained_cfg": "a1_in1k"}, "pretrained_cfg in config.json is an object"),
        (CONFIG | {"model_args": MODEL_ARGS | {"num_classes": "4"}}, "a whole number, got '4'"),
        (CONFIG | {"model_args": MODEL_ARGS | {"num_classes": -1}}, "a whole number, got -1"),
        (CONFIG | {"pretrained_cfg": {"input_size": 32}}, "input_size is three numbers"),
        (CONFIG | {"pretrained_cfg": {"input_size": [3, 0, 0]}}, "input_size is three numbers"),
        (CONFIG | {"pretrained_cfg": {"mean": 0.5}}, "a list of numbers for pixels from 0 to 1"),
        (CONFIG | {"pretrained_cfg": {"mean": [124, 117, 104]}}, "for pixels from 0 to 1, got"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, config, message):
    assert message in refusal(write_folder(tmp_path / "net", config))


def test_fingerprint_is_of_values_not_of_files(tmp_path):
    weights = {"a": torch.randn(3, 2), "b": torch.ones(2)}
    save_file(weights, tmp_path / "1.safetensors", {"format": "pt"})
    save_file(dict(reversed(weights.items())), tmp_path / "2.safetensors", {"made": "elsewhere"})
    first, second = (load_file(tmp_path / f"{n}.safetensors") for n in (1, 2))
    assert fingerprint(first) == fingerprint(second) == fingerprint(weights)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {**w, "a": w["a"] + 1e-6},
        lambda w: {**w, "a": w["a"].half()},
        lambda w: {**w, "a": w["a"].reshape(2, 3)},
        lambda w: {"c": w["a"], "b": w["b"]},
        lambda w: {"a": w["a"]},
    ],
)
def test_fingerprint_sees_every_change(change):
    weights = {"a": torch.randn(3, 2), "b": torch.ones(2)}
    assert fingerprint(change(weights)) != fingerprint(weights)


def test_guiders_are_listed_by_folder(tmp_path):
    write_folder(tmp_path / "org" / "net")
    write_folder(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    assert list_guiders(tmp_path) == ["org/net", "other"]


@pytest.mark.parametrize("name", ["weights.pt", "last.ckpt", "net.pth", "a.bin", "MODEL.PT"])
def test_a_folder_of_pickles_is_listed_and_says_what_to_do(tmp_path, name):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / name).write_bytes(b"x")
    assert list_guiders(tmp_path) == ["net"]
    with pytest.raises(ValueError, match=f"no config.json.*of {name}, .*convert"):
        load_guider(tmp_path / "net")


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is one of class, depth, segmentation"):
        GuiderInfo("timm/x", "x", "poetry", (), "")


@pytest.mark.parametrize(
    "damaged",
    [
        {"mean": (0.5, 0.5, [])},
        {"std": (1, math.nan, 1)},
        {"size": (32, "32")},
        {"size": (None, 8)},
    ],
    ids=str,
)
def test_preprocessing_is_made_of_numbers(damaged):
    usual = {"size": (32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(ValueError, match="are finite numbers"):
        Preprocessing(**usual | damaged)


def test_the_gradient_of_one_pictures_tokens_passes_a_batch_norm():
    """PyTorch 2.11 gives another one on the CPU, where the tokens were transposed."""
    torch.manual_seed(0)
    widen, norm = torch.nn.Conv2d(3, 64, 1, bias=False), torch.nn.BatchNorm2d(64)
    norm.running_var.uniform_(0.5, 2)
    info = GuiderInfo("timm/net", "net", "class", tuple("abc"), "")
    as_it_is = Preprocessing((5, 7), (0.5,) * 3, (0.5,) * 3)
    guider = Guider(torch.nn.Sequential(widen, norm), as_it_is, info)
    image = torch.randn(1, 3, 5, 7, requires_grad=True)
    wanted = torch.randn(1, 35, 64).mT.reshape(1, 64, 5, 7)  # as of tokens in a transformer
    (found,) = torch.autograd.grad((guider(image) * wanted).sum(), image)
    scaled = wanted * (norm.running_var + norm.eps).rsqrt()[:, None, None]
    expected = torch.einsum("bohw,oc->bchw", scaled, widen.weight[:, :, 0, 0])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
