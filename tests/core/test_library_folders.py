"""Folders as the libraries write and read them, and the trial pass that every guider goes through.

The right answer is always the library's own: timm's local-dir loader, transformers' from_pretrained
and its processors.
"""

import json

import numpy
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from torch import nn

from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, check_by_trial, load_guider
from ppap_core.guiders.model_folder import weight_files
from ppap_core.guiders.timm_config import timm_preprocessing
from ppap_core.pixels import image_to_pil
from tests.core.tiny_guiders import (
    HALF,
    SEGFORMER,
    TRANSFORMERS,
    picture,
    size,
    transformers_folder,
    vit,
)

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
VIT = {"embed_dim": 24, "num_heads": 3, "depth": 2}


def timm_folder(folder, name, model_args, dtype=torch.float32, **pretrained):
    """A folder with random weights of timm's `name`."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4, **model_args)
    folder.mkdir()
    weights = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    cfg = {"input_size": [3, 32, 32], "crop_pct": 1.0, "interpolation": "bicubic", **IMAGENET}
    config = {"architecture": name, "num_classes": 4, "model_args": model_args}
    config["pretrained_cfg"] = cfg | pretrained
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def timms_answer(folder, image):
    """timm's own model of the folder on its own evaluation transform of grey or colour pictures."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = json.loads((folder / "config.json").read_text())
    channels = config["model_args"].get("in_chans", 3)
    side = config["model_args"].get("img_size") or config["pretrained_cfg"]["input_size"][1]
    args = {"input_size": (channels, side, side)}
    if channels == 1:  # as timm's loader does for another number of channels: the average
        args |= {name: [sum(values) / 3] for name, values in IMAGENET.items()}
    data = resolve_data_config(args, pretrained_cfg=config["pretrained_cfg"])
    shown = image_to_pil(image[0]).convert("L" if channels == 1 else "RGB")
    with torch.no_grad():
        return model(create_transform(**data, is_training=False)(shown)[None])


@pytest.mark.parametrize(
    ("name", "model_args", "pretrained"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, **VIT}, {"input_size": [3, 32, 32]}),
        (
            "vit_tiny_patch16_224",
            {"img_size": [64, 64], **VIT},
            {"input_size": [3, 32, 32], "fixed_input_size": True},
        ),
        ("vit_tiny_patch16_224", VIT | {"img_size": 48}, {"input_size": [3, 48, 48]}),
        ("deit_tiny_patch16_224", {"img_size": 64, "depth": 1}, {"input_size": [3, 224, 224]}),
        (
            "swinv2_tiny_window8_256",
            {"img_size": 64, "embed_dim": 24},
            {"input_size": [3, 256, 256]},
        ),
        ("swin_tiny_patch4_window7_224", {"img_size": 56, "embed_dim": 24}, {}),
        ("mixer_s32_224", {"img_size": 64}, {}),
    ],
)
def test_timms_model_args_say_the_size_that_the_network_reads(
    tmp_path, name, model_args, pretrained
):
    folder = timm_folder(tmp_path / "net", name, model_args, **pretrained)
    guider = load_guider(folder)
    wanted = numpy.broadcast_to(model_args["img_size"], 2).tolist()
    assert list(guider.preprocessing.size) == wanted
    image = (picture(*wanted) * 255).round() / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(
            guider(image), timms_answer_at(folder, image, wanted), rtol=1e-4, atol=1e-4
        )


def timms_answer_at(folder, image, sides):
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(
        config["architecture"], num_classes=config["num_classes"], **config["model_args"]
    ).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    data = resolve_data_config({"input_size": (3, *sides)}, pretrained_cfg=config["pretrained_cfg"])
    return model(create_transform(**data, is_training=False)(image_to_pil(image[0]))[None])


def test_a_network_of_any_size_keeps_the_size_of_its_evaluation(tmp_path):
    args = {"img_size": 64, "dynamic_img_size": True, **VIT}
    folder = timm_folder(tmp_path / "net", "vit_tiny_patch16_224", args)
    assert load_guider(folder).preprocessing.size == (32, 32)


GREY_TIMM = {
    "resnet": ("resnet10t", {"channels": [8, 8, 8, 8], "stem_width": 8}),
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, **VIT}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
}


@pytest.mark.parametrize("name", GREY_TIMM)
def test_a_grey_timm_model_reads_what_pil_calls_grey(tmp_path, name):
    architecture, args = GREY_TIMM[name]
    folder = timm_folder(tmp_path / "net", architecture, args | {"in_chans": 1})
    guider, image = load_guider(folder), (picture(32, 32) * 255).round() / 127.5 - 1
    with torch.no_grad():
        got = guider(image)
    torch.testing.assert_close(got, timms_answer(folder, image), rtol=0.02, atol=0.02)


def test_grey_input_size_without_in_chans(tmp_path):
    """The channels of "input_size" build the network too, as in timm's own hub loader."""
    args = GREY_TIMM["resnet"][1]
    folder = timm_folder(tmp_path / "net", "resnet10t", args | {"in_chans": 1})
    config = json.loads((folder / "config.json").read_text())
    config["model_args"], config["pretrained_cfg"]["input_size"] = args, [1, 32, 32]
    config["pretrained_cfg"] |= {"mean": [0.4], "std": [0.2]}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_guider(folder).preprocessing.mean == (0.4,)


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_a_timm_model_of_other_channels_is_refused(tmp_path, channels):
    args = GREY_TIMM["resnet"][1] | {"in_chans": channels}
    folder = timm_folder(tmp_path / "net", "resnet10t", args)
    with pytest.raises(ValueError, match=f"'net': it reads pictures of {channels} channels"):
        load_guider(folder)


@pytest.mark.parametrize("sides", [(64, 64), (61, 97), (100, 47), (20, 27), (16, 50)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9])
@pytest.mark.parametrize("input_size", [(3, 32, 32), (3, 32, 48)])
def test_border_is_timms_border(sides, crop_pct, input_size):
    cfg = {"input_size": input_size, "crop_pct": crop_pct, "crop_mode": "border", **IMAGENET}
    y, x = numpy.mgrid[: sides[0], : sides[1]] / max(sides)
    waves = numpy.stack([numpy.sin(5 * x + 3 * y), numpy.cos(7 * y - 2 * x), x * y], -1)
    shown = Image.fromarray((waves * 100 + 127.5).round().astype(numpy.uint8))
    transform = create_transform(**resolve_data_config(pretrained_cfg=cfg), is_training=False)
    image = torch.from_numpy(numpy.array(shown)).permute(2, 0, 1)[None] / 127.5 - 1
    got, std = timm_preprocessing(cfg)(image)[0], torch.tensor(cfg["std"])[:, None, None]
    torch.testing.assert_close(got * std, transform(shown) * std, rtol=0, atol=1e-2)


def grey_networks():
    grey = {"num_channels": 1, "num_labels": 4}
    upernet = TRANSFORMERS["UperNetForSemanticSegmentation"][0]()
    upernet.backbone_config.num_channels = 1
    vit_class, segformer = "ViTForImageClassification", "SegformerForSemanticSegmentation"
    square = size(32)
    return {
        "one mean": (vit_class, transformers.ViTConfig(**vit(**grey)), "ViT", square, [0.4], [0.2]),
        "three means": (
            vit_class,
            transformers.ViTConfig(**vit(**grey)),
            "ViT",
            square,
            HALF,
            HALF,
        ),
        "means that differ": (
            *(vit_class, transformers.ViTConfig(**vit(**grey)), "ViT", square),
            *IMAGENET.values(),
        ),
        "segmentation": (
            *(segformer, transformers.SegformerConfig(**SEGFORMER, **grey), "Segformer"),
            *(size(64), HALF, HALF),
        ),
        "backbone": ("UperNetForSemanticSegmentation", upernet, "Segformer", size(64), HALF, HALF),
        "depth": (
            *("GLPNForDepthEstimation", transformers.GLPNConfig(**SEGFORMER, num_channels=1)),
            *("GLPN", {}, HALF, HALF),
        ),
    }


@pytest.mark.parametrize("name", grey_networks())
def test_a_grey_transformers_model_answers_as_its_processor_says(tmp_path, name):
    model, config, processor, settings, mean, std = grey_networks()[name]
    torch.manual_seed(0)
    getattr(transformers, model)(config).save_pretrained(tmp_path)
    processor = getattr(transformers, f"{processor}ImageProcessor")
    processor(image_mean=mean, image_std=std, **settings).save_pretrained(tmp_path)
    guider, image = load_guider(tmp_path), picture(64, 96)
    grey = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    average = {"image_mean": [sum(mean) / len(mean)], "image_std": [sum(std) / len(std)]}
    own = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    pixels = own(images=list(grey * 255), return_tensors="pt", **average)["pixel_values"]
    torch.testing.assert_close(guider.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    assert guider(image * 2 - 1).isfinite().all()


def test_a_transformers_model_of_four_channels_is_refused(tmp_path):
    config = transformers.ViTConfig(**vit(num_labels=3, num_channels=4))
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "net")
    transformers.ViTImageProcessor(**size(32)).save_pretrained(tmp_path / "net")
    with pytest.raises(ValueError, match="'net': it reads pictures of 4 channels"):
        load_guider(tmp_path / "net")


def resave(folder, **options):
    """The same model, saved by transformers itself in another way."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, **options)
    return folder


SAVED = {
    "shards and an index": {"max_shard_size": "30KB"},
    "fp16": {"variant": "fp16"},
    "shards of a variant": {"variant": "fp16", "max_shard_size": "30KB"},
    "another variant": {"variant": "bf16"},
}


@pytest.mark.parametrize("way", SAVED)
def test_weights_are_found_however_transformers_saved_them(tmp_path, way):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    before, image = load_guider(folder), picture(32, 32) * 2 - 1
    resave(folder, **SAVED[way])
    assert not (folder / "model.safetensors").exists() and weight_files(folder)
    assert ("shards" in way) == (len(weight_files(folder)) > 1)
    after = load_guider(folder)
    assert after.info.fingerprint == before.info.fingerprint
    torch.testing.assert_close(after(image), before(image))


@pytest.mark.parametrize("variant", ["fp16", "shards"])
def test_timm_folders_may_be_saved_in_those_ways_too(tmp_path, variant):
    name, args = GREY_TIMM["resnet"]
    dtype = torch.float16 if variant == "fp16" else torch.float32
    folder = timm_folder(tmp_path / "net", name, args, dtype=dtype)
    before, image = load_guider(folder), picture(32, 32) * 2 - 1
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if variant == "fp16":
        save_file(weights, folder / "model.fp16.safetensors")
    else:
        parts = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        names = {key: parts[i % 2] for i, key in enumerate(sorted(weights))}
        for part in parts:
            save_file({k: v for k, v in weights.items() if names[k] == part}, folder / part)
        index = {"metadata": {}, "weight_map": names}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.testing.assert_close(load_guider(folder)(image), before(image))


def test_weights_of_transformers_timm_wrapper_are_timms(tmp_path):
    torch.manual_seed(0)
    config = transformers.TimmWrapperConfig(
        architecture="test_resnet", num_labels=3, problem_type="multi_label_classification"
    )
    model = transformers.TimmWrapperForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    guider, image = load_guider(tmp_path), picture(64, 64) * 2 - 1
    assert guider.info.answer == "sigmoid"
    with torch.no_grad():
        expected = model(pixel_values=guider.preprocessing(image)).logits
    torch.testing.assert_close(guider(image), expected)


@pytest.mark.parametrize("wrapper", ["module.", "model.", "_orig_mod.module."])
def test_weights_that_a_wrapper_saved_are_those_of_the_network(tmp_path, wrapper):
    """DataParallel, Lightning and torch.compile put names before all others."""
    name, args = GREY_TIMM["resnet"]
    folder = timm_folder(tmp_path / "net", name, args)
    before, image = load_guider(folder), picture(32, 32) * 2 - 1
    weights = load_file(folder / "model.safetensors")
    save_file({wrapper + k: v for k, v in weights.items()}, folder / "model.safetensors")
    after = load_guider(folder)
    assert after.info.fingerprint == before.info.fingerprint
    torch.testing.assert_close(after(image), before(image))


def as_bytes(folder):
    """Its matrices in eight bits, as a quantised model has them."""
    weights = load_file(folder / "model.safetensors")
    small = {k: v.to(torch.int8) if v.ndim > 1 else v for k, v in weights.items()}
    save_file(small, folder / "model.safetensors", {"format": "pt"})


def write_weights(data):
    return lambda folder: (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (as_bytes, "are quantised .* is torch.int8.: download those in 16 or 32 bits"),
        (write_weights(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
        (write_weights(b"\n<!DOCTYPE html>"), "is a web page, not the file itself"),
        (lambda folder: save_file({}, folder / "model.safetensors"), "holds no weights"),
    ],
)
@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_what_are_no_weights_is_said(tmp_path, library, spoil, message):
    if library == "timm":
        folder = timm_folder(tmp_path / "net", *GREY_TIMM["resnet"])
    else:
        folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_guider(folder)
    assert "\n" not in str(caught.value)


def remove(name):
    return lambda folder: (folder / name).unlink()


def rename_in_index(new):
    def change(folder):
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        index["weight_map"] = dict.fromkeys(index["weight_map"], new)
        path.write_text(json.dumps(index))

    return change


def damage_index(folder):
    (folder / "model.safetensors.index.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: weight_files(folder)[1].unlink(), "names model-00002-of-.*not in"),
        (remove("model.safetensors.index.json"), "found model-00001-of.*, but not model.safetens"),
        (rename_in_index("../other/model.safetensors"), "which is no safetensors file of"),
        (rename_in_index("pytorch_model.bin"), "'pytorch_model.bin', which is no safetensors file"),
        (damage_index, "is no index of weights"),
        (lambda folder: weight_files(folder)[0].write_bytes(b"12"), "truncated or no safetensors"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(tmp_path, spoil, message):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    spoil(resave(folder, max_shard_size="30KB"))
    with pytest.raises(ValueError, match=message) as caught:
        load_guider(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "SegformerForSemanticSegmentation"])
def test_processor_config_alone_is_enough(tmp_path, name):
    folder = transformers_folder(tmp_path / "net", name)
    before = load_guider(folder).preprocessing
    path = folder / "preprocessor_config.json"
    nested = {"image_processor": json.loads(path.read_text()), "processor_class": "Processor"}
    path.unlink()
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert load_guider(folder).preprocessing == before


def test_a_processor_config_with_code_of_its_own_is_refused(tmp_path):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text()) | {"auto_map": {"AutoImageProcessor": "x.Y"}}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    with pytest.raises(ValueError, match="wants to run code of its own"):
        load_guider(folder)


def detr(**settings):
    backbone = transformers.ResNetConfig(
        **{"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        **{"layer_type": "basic", "out_features": [f"stage{i}" for i in (1, 2, 3, 4)]},
    )
    return transformers.DetrConfig(
        **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 10},
        **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "backbone_config": backbone},
        **{"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None},
        **({"num_labels": 4} | settings),
    )


def test_detrs_map_is_that_of_its_own_processor(tmp_path):
    torch.manual_seed(0)
    model = transformers.DetrForSegmentation(detr()).eval()
    nn.init.normal_(model.detr.class_labels_classifier.weight)
    model.save_pretrained(tmp_path)
    sides = {"shortest_edge": 64, "longest_edge": 1333}
    transformers.DetrImageProcessor(image_mean=HALF, image_std=HALF, size=sides).save_pretrained(
        tmp_path
    )
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    guider, image = load_guider(tmp_path), picture(64, 96)
    assert guider.info.task == "segmentation" and len(guider.info.labels) == 4
    with torch.no_grad():
        own = model(**processor(images=list(image * 255), return_tensors="pt"))
        (expected,) = processor.post_process_semantic_segmentation(own)
        answer = guider(image * 2 - 1)
    got = answer.argmax(1)[0]
    assert (got == expected).float().mean() > 0.999
    assert answer.shape[1] == 4


def test_a_processor_of_another_size_is_found_out_at_load(tmp_path):
    config = transformers.ViTConfig(**vit(num_labels=3))
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "net")
    transformers.ViTImageProcessor(**size(48)).save_pretrained(tmp_path / "net")
    with pytest.raises(
        ValueError, match=r"'net' cannot read a picture: .*48\*48.*32\*32"
    ) as caught:
        load_guider(tmp_path / "net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [64, 96, 128])
def test_swin_v2_of_transformers_reads_its_processors_size(tmp_path, side):
    torch.manual_seed(0)
    config = transformers.Swinv2Config(
        **{"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]},
        **{"window_size": 4, "num_labels": 5},
    )
    model = transformers.Swinv2ForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(image_mean=HALF, image_std=HALF, **size(side))
    processor.save_pretrained(tmp_path)
    image = picture(side, side)
    pixels = processor(images=list(image * 255), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        torch.testing.assert_close(load_guider(tmp_path)(image * 2 - 1), model(pixels).logits)


def test_a_broken_size_in_timms_config_is_found_out_at_load(tmp_path):
    args = {"img_size": 64, "dynamic_img_size": True, **VIT}
    folder = timm_folder(tmp_path / "net", "vit_tiny_patch16_224", args, input_size=[3, 40, 40])
    with pytest.raises(ValueError, match="'net' cannot read a picture: "):
        load_guider(folder)


def nan_weights(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["vit.layernorm.weight"].fill_(float("nan"))
    save_file(weights, path, {"format": "pt"})


def test_weights_that_answer_with_nan_are_refused(tmp_path):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    nan_weights(folder)
    with pytest.raises(ValueError, match="'net' answers with numbers that are not finite"):
        load_guider(folder)


class Net(nn.Module):
    """Answers whatever `make` makes of a picture's pixels (B, 3, 8, 8)."""

    def __init__(self, make):
        super().__init__()
        self.make, self.weight = make, nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        return self.make(pixels * self.weight)


@pytest.mark.parametrize(
    ("task", "make", "message"),
    [
        ("class", lambda x: x.mean((2, 3))[:, :2], r"answers \(1, 2\) about one picture.*\(1, 3\)"),
        ("class", lambda x: x, r"answers \(1, 3, 8, 8\) about one picture; class guiders answer"),
        ("class", lambda x: x.mean((2, 3)).softmax(1), "answers with probabilities"),
        ("class", lambda x: x.mean((2, 3)).detach(), "answers without a gradient"),
        ("class", lambda x: x.mean((2, 3)) / 0, "not finite"),
        ("class", lambda x: {"logits": x}, "'dict' object has no attribute"),
        ("segmentation", lambda x: x.flatten(2).movedim(1, 2), r"answers \(1, 64, 3\) about one"),
        ("segmentation", lambda x: torch.cat([x, x], 1), r"segmentation guiders answer \(1, 3, h"),
        ("segmentation", lambda x: x.softmax(1), "answers with probabilities"),
        ("depth", lambda x: x, r"depth guiders answer \(1, h, w\)"),
        ("depth", lambda x: x.mean(1).log() * float("nan"), "not finite"),
    ],
)
def test_the_trial_pass_says_what_does_not_fit(task, make, message):
    labels = () if task == "depth" else ("a", "b", "c")
    guider = Guider(
        Net(make),
        Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3),
        GuiderInfo("timm/net", "net", task, labels, ""),
    )
    with pytest.raises(ValueError, match=f"guider 'net' .*{message}"):
        check_by_trial(guider, "net")


def test_the_trial_pass_works_as_comfyui_loads(tmp_path):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    with torch.inference_mode():
        guider = load_guider(folder)
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    guider(image)[0, 0].backward()
    assert image.grad.isfinite().all()
    assert all(parameter.grad is None for parameter in guider.parameters())


def test_labels_with_gaps_stay_with_their_outputs(tmp_path):
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {"0": "a", "1": "b", "2": "c", "4": "d", "5": "e", "6": "f"}
    path.write_text(json.dumps(config))
    assert load_guider(folder).info.labels == ("a", "b", "c", "3", "d", "e")
