"""The target nodes, with real networks, inside torch.inference_mode() as ComfyUI calls them."""

import numpy
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import DepthAnythingForDepthEstimation, SegformerForSemanticSegmentation

from demo.paths import DEPTH_GUIDER, SEGMENTATION_GUIDER
from demo.scenes import SEGMENTS, render


class Answer(nn.Module):
    """One field of a transformers model's output."""

    def __init__(self, model, field):
        super().__init__()
        self.model, self.field = model, field

    def forward(self, image):
        return getattr(self.model(pixel_values=image), self.field)


def load(comfyui, model_class, folder, field, task, labels):
    guiders = comfyui.module("ppap_core.guiders")
    half = (0.5, 0.5, 0.5)
    guider = guiders.Guider(
        Answer(model_class.from_pretrained(folder, dtype=torch.float32), field),
        guiders.Preprocessing((32, 32), half, half),
        guiders.GuiderInfo(folder.name, model_class.__name__, task, labels, ""),
    )
    return comfyui.module("ppap_core.comfy_bridge.loaded_guider").LoadedGuider.of(guider)


@pytest.fixture(scope="module")
def depth_guider(comfyui):
    model = DepthAnythingForDepthEstimation
    return load(comfyui, model, DEPTH_GUIDER, "predicted_depth", "depth", ())


@pytest.fixture(scope="module")
def segmentation_guider(comfyui):
    model = SegformerForSemanticSegmentation
    return load(comfyui, model, SEGMENTATION_GUIDER, "logits", "segmentation", SEGMENTS)


@pytest.fixture(scope="module")
def scenes():
    return render(2, seed=7)


def image_of(scenes):
    with torch.inference_mode():
        return scenes.image.movedim(1, -1).float() / 255


def make_target(comfyui, guider, image, source, palette="ADE20K", **changes):
    settings = {"fit": "stretch", "width": 0, "height": 0} | changes
    with torch.inference_mode():
        node = comfyui.node("PPAP_TargetMap")
        return node.execute(guider, image, source, palette, **settings).args


def score(guider, target, image):
    """log p of the target and its gradient in the image, outside inference mode, as guidance."""
    device = next(guider.guider.parameters()).device
    image = (image.clone().movedim(-1, 1) * 2 - 1).to(device).requires_grad_(True)
    value = target.log_likelihood(guider.guider(image))
    return value.detach(), torch.autograd.grad(value.sum(), image)[0]


def test_a_reference_picture_is_likelier_than_another_one(comfyui, depth_guider, scenes):
    image = image_of(scenes)
    target, preview, info = make_target(comfyui, depth_guider, image, "reference picture")
    right, _ = score(depth_guider, target, image)
    wrong, gradient = score(depth_guider, target, image.flip(0))
    assert (right > -0.01).all() and (wrong < right - 0.05).all()
    assert gradient.isfinite().all() and (gradient.abs().amax((1, 2, 3)) > 0).all()
    assert preview.shape == (2, 32, 32, 3) and preview.min() == 0 and preview.max() == 1
    assert info == "depth target for 2 pictures, 32 x 32: nearness"


def test_guiders_depth_matches_the_scenes_true_depth(comfyui, depth_guider, scenes):
    image, nearness = image_of(scenes), 1 / scenes.depth
    lowest, highest = nearness.amin((1, 2), keepdim=True), nearness.amax((1, 2), keepdim=True)
    grey = ((nearness - lowest) / (highest - lowest))[..., None].expand(-1, -1, -1, 3)
    near, *_ = make_target(comfyui, depth_guider, grey, "depth map (near is bright)")
    far, *_ = make_target(comfyui, depth_guider, grey, "depth map (far is bright)")
    assert (score(depth_guider, near, image)[0] > -0.2).all()
    assert (score(depth_guider, far, image)[0] < -3.8).all()


def test_preview_used_as_map_gives_the_same_target(comfyui, segmentation_guider, scenes):
    image = image_of(scenes)
    target, preview, info = make_target(comfyui, segmentation_guider, image, "reference picture")
    again, *_ = make_target(comfyui, segmentation_guider, preview, "segmentation map")
    assert torch.equal(again.labels, target.labels)
    truth = scenes.segmentation.long()
    assert (target.labels == truth).float().mean() > 0.9
    right, gradient = score(segmentation_guider, target, image)
    assert (right > score(segmentation_guider, target, image.flip(0))[0] + 0.05).all()
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()
    assert all(name in info for name in SEGMENTS)


def test_reference_pictures_are_read_without_experts(comfyui, depth_guider, scenes):
    experts = comfyui.module("ppap_core.experts")
    noise = comfyui.module("ppap_core.noise")
    name = "model.head.conv3.bias"
    broken = experts.Expert(
        noise.NoiseRange(0.0, 1.0), {f"base_model.model.{name}": torch.full((1,), 9.0)}, 1.0
    )
    image = image_of(scenes)
    before, *_ = make_target(comfyui, depth_guider, image, "reference picture")
    depth_guider.guider.switch.activate(broken)
    after, *_ = make_target(comfyui, depth_guider, image, "reference picture")
    assert torch.equal(before.nearness, after.nearness)
    assert depth_guider.guider.switch.active is None


def test_the_guider_is_loaded_by_comfyui_first_and_stays_usable(
    comfyui, depth_guider, scenes, monkeypatch
):
    """On a GPU weights are moved inside inference mode; emulated by a move that copies."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    patcher_class = type(depth_guider.patcher)
    load_really = patcher_class.__mro__[1].partially_load
    loaded = []

    def load_and_move(self, *args, **kwargs):
        loaded.append(self)
        self.model.to(torch.float64)
        self.model.to(torch.float32)
        return load_really(self, *args, **kwargs)

    monkeypatch.setattr(patcher_class.__mro__[1], "partially_load", load_and_move)
    image = image_of(scenes)
    target, *_ = make_target(comfyui, depth_guider, image, "reference picture")
    assert loaded == [depth_guider.patcher]
    assert score(depth_guider, target, image)[1].isfinite().all()


def test_a_sixteen_bit_depth_file_keeps_its_precision(comfyui, depth_guider, tmp_path, monkeypatch):
    """Through ComfyUI's own Load Image, whose 8-bit path would leave 256 levels."""
    import folder_paths

    levels = numpy.linspace(0, 65535, 64 * 64).round().astype(numpy.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "depth.png")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    with torch.inference_mode():
        image, _ = comfyui.nodes.LoadImage().load_image("depth.png")
    target, *_ = make_target(comfyui, depth_guider, image, "depth map (near is bright)")
    expected = torch.from_numpy(levels / 65535).float()
    torch.testing.assert_close(target.nearness[0], expected, atol=1e-6, rtol=0)


def test_an_eight_bit_index_file_is_read_exactly(comfyui, tmp_path, monkeypatch):
    """ComfyUI 0.30 reads 8-bit grey files 0.4 % too dark: above 128 an index would be one less."""
    import folder_paths

    indices = (numpy.arange(160) % 150).astype(numpy.uint8).reshape(5, 32)
    Image.fromarray(indices).save(tmp_path / "labels.png")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    with torch.inference_mode():
        image, _ = comfyui.nodes.LoadImage().load_image("labels.png")
    palettes = comfyui.module("ppap_core.targets.palettes")
    grey = comfyui.module("ppap_core.targets.index_maps").GREY
    pixels = comfyui.module("ppap_core.pixels")
    labels = palettes.image_to_labels(pixels.bhwc_to_image(image), grey, 150).labels
    assert numpy.array_equal(labels[0].numpy(), indices)


def test_chained_masks_and_elsewhere_give_one_target(comfyui, segmentation_guider):
    top, left = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    top[:, :16] = 1
    left[..., :8] = 1
    node = comfyui.node("PPAP_TargetMasks")
    with torch.inference_mode():
        first, *_ = node.execute(segmentation_guider, top.clone(), "wall", "").args
        target, preview, info = node.execute(
            segmentation_guider, left.clone(), "object", "floor", first
        ).args
    assert (target.labels[0, :16, 8:] == 1).all() and (target.labels[0, :, :8] == 2).all()
    assert (target.labels[0, 16:, 8:] == 0).all()
    torch.testing.assert_close(preview[0, 31, 31], torch.tensor([1.0, 0.0, 0.0]))
    assert info.endswith("floor 37.5%, wall 37.5%, object 25.0%")


def test_lines_of_classes_go_to_the_pictures_of_a_batch(comfyui):
    guider, _ = comfyui.node("PPAP_LoadGuider").execute("demo-shapes-resnet").args
    node = comfyui.node("PPAP_TargetClass")
    target = node.execute(guider, "cone\ntorus, cube:-1", 1.0, True).args[0]
    assert target.rows == ({3: 1.0}, {4: 1.0, 1: -1.0})
    assert node.execute(guider, "cone\ntorus", 1.0).args[0].rows == ({3: 1.0, 4: 1.0},)


@pytest.mark.parametrize(
    ("palette", "options", "expected"),
    [
        ("grey value = index + 1 (ADE20K files)", {}, [-1, 0, 1, 2]),
        ("grey value = index", {"void_value": 3}, [0, 1, 2, -1]),
        ("grey value = index", {"void_value": 0}, [-1, 1, 2, None]),
    ],
)
def test_files_with_the_numbers_of_a_data_set(
    comfyui, segmentation_guider, tmp_path, monkeypatch, palette, options, expected
):
    import folder_paths

    values = numpy.array([[0, 1, 2, 3]], dtype=numpy.uint8).repeat(16, 0).repeat(16, 1)
    if expected[3] is None:
        values, expected = values[:, :48], expected[:3]
    Image.fromarray(values).save(tmp_path / "labels.png")
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    with torch.inference_mode():
        image, _ = comfyui.nodes.LoadImage().load_image("labels.png")
    source = "segmentation map"
    target, *_ = make_target(comfyui, segmentation_guider, image, source, palette, **options)
    assert target.labels[0, 0, ::16].tolist() == expected


def test_a_single_class_of_segmentation_is_asked_for_and_away_from(comfyui):
    import transformers

    from tests.core import tiny_guiders

    folder = comfyui.base / "models" / "ppap_guiders" / "one-class"
    torch.manual_seed(0)
    config = transformers.SegformerConfig(**tiny_guiders.SEGFORMER, num_labels=1)
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    transformers.SegformerImageProcessor(**tiny_guiders.size(64)).save_pretrained(folder)
    with torch.inference_mode():
        guider, _ = comfyui.node("PPAP_LoadGuider").execute("one-class").args
        half = torch.zeros(1, 32, 32)
        half[:, :16] = 1
        node = comfyui.node("PPAP_TargetMasks")
        target, _, info = node.execute(guider, half, "LABEL_0", "background").args
    assert info.endswith("background 50.0%, LABEL_0 50.0%")
    value, gradient = score(guider, target, torch.rand(1, 32, 32, 3))
    assert value.isfinite().all() and gradient.abs().max() > 0


@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_many_frames_pass_through_the_guider_a_few_at_a_time(comfyui, request, scenes, task):
    guider = request.getfixturevalue(f"{task}_guider")
    frames = torch.cat([image_of(scenes)] * 24)
    sizes = []
    handle = guider.guider.backbone.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    made, preview, _ = make_target(comfyui, guider, frames, "reference picture")
    handle.remove()
    assert sum(sizes) >= 48 and max(sizes) <= 16
    two, _, _ = make_target(comfyui, guider, image_of(scenes), "reference picture")
    field = "nearness" if task == "depth" else "labels"
    found, expected = getattr(made, field), torch.cat([getattr(two, field)] * 24)
    assert found.shape == expected.shape and len(preview) == 48
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
