"""Any guider: from a folder of the hub's layout through adapters, expert file and gradient.

Networks are small or tiny and their weights random. A handful runs every time, the rest is slow.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tvF

from ppap_core.activations import activation_bytes
from ppap_core.distillation.settings import AdapterSettings
from ppap_core.distillation.student import Student, count_trainable
from ppap_core.expert_file import ExpertSet, load_experts, save_experts
from ppap_core.expert_header import ExpertHeader
from ppap_core.experts import Expert, NoiseExperts
from ppap_core.guiders import load_guider
from ppap_core.noise import partition_by_timestep
from tests.core.tiny_guiders import (
    DPT_HEAD,
    QUICK_TIMM,
    QUICK_TRANSFORMERS,
    SLOW_TIMM,
    TORCHVISION,
    TRANSFORMERS,
    picture,
    timm_folder,
    torchvision_folder,
    transformers_folder,
    vit,
)
from tests.slow import slow

NORMALS = [name for name in TRANSFORMERS if "Normal" in name]  # test_normals_guiders.py
POSES = [name for name in TRANSFORMERS if "Pose" in name]  # test_pose_guiders.py
BOXES = [name for name in TRANSFORMERS if "Detection" in name]  # test_detectors.py


def marked(quick, others):
    return [*quick, *(slow(name) for name in others)]


def distilled(guider, student, image):
    """Two steps of AdamW towards another answer."""
    optimizer = torch.optim.AdamW(student.train().trainable(), lr=1e-3)
    pixels = guider.preprocessing(image)
    for _ in range(2):
        optimizer.zero_grad()
        (student(pixels).float() - 1).square().mean().backward()
        optimizer.step()
    return student.eval()


def two_experts(guider, image):
    student = Student(guider.backbone, AdapterSettings(rank=2))
    budget = max(0.058 * sum(p.numel() for p in guider.backbone.parameters()), 2**16)
    assert count_trainable(student) <= budget
    distilled(guider, student, image)
    scaling = student.spec.lora_alpha / student.spec.rank
    experts = [Expert(r, student.tensors(), scaling) for r in partition_by_timestep(2)]
    header = ExpertHeader.for_guider(
        guider,
        input="x_t",
        view="identity",
        latent_format="pixels",
        checkpoint="none",
        noise_ranges=tuple(expert.noise_range for expert in experts),
        lora=student.spec,
    )
    return student, ExpertSet(header, NoiseExperts(experts))


def check_from_adapter_to_gradient(guider, folder: Path):
    side = max(64, *guider.preprocessing.size) if guider.info.task == "class" else 64
    image = torch.cat([picture(side, side), picture(side, side).flip(-1)]) * 2 - 1
    before = {k: v.clone() for k, v in guider.backbone.state_dict().items()}
    assert activation_bytes(guider, image.shape) > 0
    student, expert_set = two_experts(guider, image)
    save_experts(expert_set, folder / "experts.safetensors")
    experts = load_experts(folder / "experts.safetensors").for_guider(guider)
    guider.switch.activate(experts.select(1.0))
    image.requires_grad_(True)
    answer = guider(image)
    learned = student(guider.preprocessing(image)).float()
    learned = guider.on_picture(learned, tuple(image.shape[-2:]))
    torch.testing.assert_close(answer, learned, rtol=1e-3, atol=1e-3)
    (gradient,) = torch.autograd.grad((answer * torch.randn_like(answer)).sum(), image)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    guider.switch.restore()
    after = guider.backbone.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())


@pytest.mark.parametrize("name", marked(QUICK_TIMM, SLOW_TIMM))
def test_a_timm_classifier_becomes_a_guider_with_experts(tmp_path, name):
    guider = load_guider(timm_folder(tmp_path / "net", name))
    assert guider.info.task == "class"
    check_from_adapter_to_gradient(guider, tmp_path)


@pytest.mark.parametrize(
    "name", marked(QUICK_TRANSFORMERS, [n for n in TRANSFORMERS if n not in QUICK_TRANSFORMERS])
)
def test_a_transformers_model_becomes_a_guider_with_experts(tmp_path, name):
    guider = load_guider(transformers_folder(tmp_path / "net", name))
    answer = guider(picture(64, 96) * 2 - 1)
    assert answer.ndim == {"class": 2, "depth": 3, "boxes": 3}.get(guider.info.task, 4)
    if guider.info.labels and guider.info.task != "boxes":
        assert answer.shape[1] == len(guider.info.labels)
    check_from_adapter_to_gradient(guider, tmp_path)


@pytest.mark.parametrize("name", marked((), TORCHVISION))
def test_a_torchvision_model_becomes_a_guider_with_experts(tmp_path, name):
    check_from_adapter_to_gradient(
        load_guider(torchvision_folder(tmp_path / "net", name)), tmp_path
    )


def own_answer(folder, name, image):
    """What transformers itself says: its model on its processor's pixels of the whole picture."""
    model = getattr(transformers, name).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    options = {} if "Classification" in name else {"do_center_crop": False, "do_pad": False}
    pixels = processor(images=list(image * 255), return_tensors="pt", **options)["pixel_values"]
    with torch.no_grad():
        answer = model(pixel_values=pixels)
    if "masks_queries_logits" in answer:
        return pixels, shares_of_classes(answer).log()
    return pixels, answer.predicted_depth if "Depth" in name else answer.logits


def shares_of_classes(answer):
    """Written out: each query gives each pixel of its mask its classes, "nothing" left away."""
    total = 0
    for query in range(answer.class_queries_logits.shape[1]):
        classes = answer.class_queries_logits[:, query].softmax(-1)[:, :-1]
        mask = answer.masks_queries_logits[:, query].sigmoid()
        total = total + classes[:, :, None, None] * mask[:, None]
    return total


def test_maskformer_answers_match_its_own_post_processing(tmp_path):
    name = "MaskFormerForInstanceSegmentation"
    folder, image = transformers_folder(tmp_path / "net", name), picture(64, 96)
    model = getattr(transformers, name).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        answer = model(**processor(images=list(image * 255), return_tensors="pt"))
        (expected,) = processor.post_process_semantic_segmentation(answer)
        got = load_guider(folder)(image * 2 - 1).argmax(1)[0]
    assert (got == expected).float().mean() > 0.999


@pytest.mark.parametrize("sides", [(512, 768), (768, 512), (1024, 1024), (333, 500)])
@pytest.mark.parametrize(
    "name",
    marked(
        ("MobileViTForSemanticSegmentation",),
        sorted(set(TRANSFORMERS) - {"MobileViTForSemanticSegmentation", *NORMALS, *POSES, *BOXES}),
    ),
)
def test_pixels_and_answers_match_transformers(tmp_path, name, sides):
    if name == "GLPNForDepthEstimation":
        sides = tuple(side // 4 for side in sides)  # it keeps the picture's size
    folder = transformers_folder(tmp_path / "net", name)
    guider, image = load_guider(folder), picture(*sides)
    pixels, expected = own_answer(folder, name, image)
    torch.testing.assert_close(guider.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    if TRANSFORMERS[name][3]:
        expected = 1 / expected
    with torch.no_grad():
        torch.testing.assert_close(guider(image * 2 - 1), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sides", [(512, 768), (768, 512), (1024, 1024), (333, 500)])
@pytest.mark.parametrize("crop_fraction", [0.875, 0.95])
def test_resize_and_crop_match_timm_on_pictures(sides, crop_fraction):
    """torchvision's resize and centre crop, which timm composes, on tensors instead of PIL."""
    from ppap_core.guiders import Preprocessing

    preprocessing = Preprocessing((224, 224), (0.0,) * 3, (1.0,) * 3, "bicubic", crop_fraction)
    image = picture(*sides)
    resized = tvF.resize(
        image, int(224 / crop_fraction), interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    expected = tvF.center_crop(resized, [224, 224])
    torch.testing.assert_close(preprocessing(image * 2 - 1), expected, rtol=0, atol=1e-4)


def changed_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "metric"),
    [({}, False), ({"depth_estimation_type": "metric", "max_depth": 20}, True)],
)
def test_metric_depth_is_inverted_so_that_larger_is_nearer(tmp_path, changes, metric):
    name = "DepthAnythingForDepthEstimation"
    folder = changed_config(transformers_folder(tmp_path / "net", name), **changes)
    image = picture(32, 32)
    _, own = own_answer(folder, name, image)
    with torch.no_grad():
        answer = load_guider(folder)(image * 2 - 1)
    expected = 1 / own if metric else own
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-3)


def dinov2_dpt_folder(folder):
    """As transformers' convert_dinov2_depth_to_hf.py saves facebook/dpt-dinov2-*."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        **vit(patch_size=14, image_size=70), out_indices=[1, 2, 3, 4], reshape_hidden_states=False
    )
    head = DPT_HEAD | {"fusion_hidden_size": 256}  # all that transformers' projection can take
    config = transformers.DPTConfig(
        backbone_config=backbone, add_projection=True, hidden_size=32, **head
    )
    transformers.DPTForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        **{"do_resize": False, "do_rescale": False, "do_pad": True, "size_divisor": 14},
        image_mean=(123.675, 116.28, 103.53),
        image_std=(58.395, 57.12, 57.375),
    ).save_pretrained(folder)
    return folder


def test_dinov2_depth_matches_transformers_and_is_inverted(tmp_path):
    folder = dinov2_dpt_folder(tmp_path / "net")
    guider, image = load_guider(folder), picture(56, 84)
    pixels, own = own_answer(folder, "DPTForDepthEstimation", image)
    torch.testing.assert_close(guider.preprocessing(image * 2 - 1), pixels, rtol=0, atol=1e-4)
    with torch.no_grad():
        expected = 1 / own.clamp(min=1e-3)
        torch.testing.assert_close(guider(image * 2 - 1), expected, rtol=1e-3, atol=1e-3)
    assert guider.preprocessing(picture(60, 97)).shape[-2:] == (56, 84)


def test_half_precision_weights_are_used_in_float32(tmp_path):
    folder = transformers_folder(tmp_path / "net", "UperNetForSemanticSegmentation")
    model = transformers.UperNetForSemanticSegmentation.from_pretrained(folder).half()
    model.save_pretrained(folder)
    backbone = load_guider(folder).backbone
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def spoiled_weights(folder):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda f: changed_config(f, hidden_size=24), "does not fit config.json: mismatched keys"),
        (spoiled_weights, "does not fit config.json: missing keys"),
        (lambda f: changed_config(f, auto_map={"AutoModel": "x.Y"}), "run code of its own"),
        (lambda f: changed_config(f, model_type="tipsv2_dpt"), "which is no guider"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            "found only pytorch_model.bin; pickles can run code",
        ),
    ],
)
def test_damaged_transformers_folder_is_refused_in_one_line(tmp_path, spoil, message):
    folder = transformers_folder(tmp_path / "net", "UperNetForSemanticSegmentation")
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_guider(folder)
    assert "\n" not in str(caught.value)


def test_image_processor_with_unsupported_steps_is_refused(tmp_path):
    """EfficientNet's may normalise twice, LeViT's resizes by a rule of its own."""
    folder = transformers_folder(tmp_path / "net", "ViTForImageClassification")
    transformers.LevitImageProcessor().save_pretrained(folder)
    with pytest.raises(ValueError, match="LevitImageProcessor.* does more than resize"):
        load_guider(folder)


def test_rank_one_lora_can_be_limited_to_the_decode_head(tmp_path):
    guider = load_guider(transformers_folder(tmp_path / "net", "UperNetForSemanticSegmentation"))
    settings = replace(AdapterSettings(), rank=1, target_modules=".*decode_head.*", max_touched=1.0)
    layers = Student(guider.backbone, settings).spec.layers
    assert layers and all("decode_head" in layer for layer in layers)
