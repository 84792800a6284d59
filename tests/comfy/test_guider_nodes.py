"""Load Off-the-shelf Guider: depth and segmentation models, and names that are not here."""

import gc
import weakref

import pytest
import torch
from safetensors.torch import save_file

from host.tiny_checkpoints import randomise
from tests.core import tiny_guiders


def load(comfyui, name, **options):
    with torch.inference_mode():
        return comfyui.node("PPAP_LoadGuider").execute(name, **options).args[0]


@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_a_transformers_guider_is_moved_by_comfyui_and_gives_gradients(comfyui, task):
    loaded = load(comfyui, f"demo-scenes-{task}")
    assert loaded.guider.info.task == task
    import comfy.model_management

    comfy.model_management.load_models_gpu([loaded.patcher])
    device = comfy.model_management.get_torch_device()
    image = torch.rand(1, 3, 32, 32, device=device, requires_grad=True)
    loaded.guider(image).std().backward()
    assert image.grad.abs().sum() > 0


def test_presets_are_listed_last_and_need_allow_download(comfyui):
    schema = comfyui.node("PPAP_LoadGuider").define_schema()
    guider, allow_download = schema.inputs
    presets = list(comfyui.module("ppap_core.guiders").PRESETS)
    built_in = list(comfyui.module("ppap_core.guiders").BUILT_IN)
    last = [*presets, *built_in]
    assert guider.options[-len(last) :] == last and guider.options[0].startswith("demo-")
    assert (allow_download.id, allow_download.default) == ("allow_download", False)
    assert allow_download.optional
    with pytest.raises(ValueError, match="is not here .*or let it be downloaded"):
        load(comfyui, presets[0])


@pytest.fixture(scope="module")
def depth_anything_3(comfyui):
    """A random Depth Anything 3 of the smallest size that ComfyUI knows, in its own folder."""
    import comfy.ldm.depth_anything_3.model
    import comfy.ops

    network = comfy.ldm.depth_anything_3.model.DepthAnything3Net(
        **{"backbone_name": "vits", "out_layers": [5, 7, 9, 11], "head_dim_in": 384},
        **{"head_features": 32, "head_out_channels": (24, 48, 96, 96)},
        **{"dtype": torch.float32, "operations": comfy.ops.disable_weight_init},
    )
    randomise(network)
    path = comfyui.base / "models" / "geometry_estimation" / "da3_small.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, path)
    return f"{path.parent.name}/{path.name}"


def test_comfyuis_depth_anything_3_guides(comfyui, depth_anything_3):
    assert depth_anything_3 in comfyui.module("ppap_core.comfy_bridge.guiders").guider_names()
    loaded = load(comfyui, depth_anything_3)
    assert (loaded.guider.info.task, loaded.guider.info.architecture) == (
        "depth",
        "DepthAnything3Net",
    )
    image = torch.rand(1, 3, 60, 80, requires_grad=True)
    with torch.no_grad():
        pixels = loaded.guider.preprocessing(image)
        assert pixels.shape[-2:] == (378, 504)
        expected = 1 / loaded.guider.backbone.network(pixels)["depth"]
    answer = loaded.guider(image)
    torch.testing.assert_close(answer.detach(), expected)
    answer.std().backward()
    assert image.grad.isfinite().all() and image.grad.abs().sum() > 0


def test_depth_anything_3_preprocessing_matches_comfyuis_node(comfyui, depth_anything_3):
    from comfy.ldm.depth_anything_3 import preprocess

    picture = torch.rand(1, 504, 672, 3)
    expected = preprocess.preprocess_image(picture, 504, "lower_bound_resize")
    pixels = load(comfyui, depth_anything_3).guider.preprocessing(picture.movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(pixels, expected)


def test_other_model_in_geometry_estimation_is_refused(comfyui, depth_anything_3):
    path = comfyui.base / "models" / "geometry_estimation" / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="'other.safetensors' is not a Depth Anything 3"):
        load(comfyui, "geometry_estimation/other.safetensors")


def test_ten_guiders_in_a_row_leave_memory_as_it_was(comfyui):
    """Each is loaded, put to use by ComfyUI and let go, as graphs do when a widget changes."""
    import comfy.model_management

    folder = comfyui.base / "models" / "ppap_guiders"
    folder.mkdir(exist_ok=True)
    names = ["demo-shapes-resnet", "demo-scenes-depth", "demo-scenes-segmentation"]
    for name in ["resnet18", "deit_tiny_patch16_224", "convnext_atto"]:
        names.append(tiny_guiders.timm_folder(folder / name, name).name)
    for name in tiny_guiders.QUICK_TRANSFORMERS + ("SegformerForSemanticSegmentation",):
        names.append(tiny_guiders.transformers_folder(folder / name, name).name)
    names.append(
        tiny_guiders.torchvision_folder(folder / "lraspp", tiny_guiders.TORCHVISION[2]).name
    )
    assert len(names) == 10
    comfy.model_management.cleanup_models_gc()
    before, seen = len(comfy.model_management.current_loaded_models), []
    device = comfy.model_management.get_torch_device()
    for name in names:
        loaded = load(comfyui, name)
        comfy.model_management.load_models_gpu([loaded.patcher])
        image = torch.rand(1, 3, 64, 64, device=device, requires_grad=True)
        loaded.guider(image).float().std().backward()
        seen.append(weakref.ref(loaded.guider))
        del loaded
    gc.collect()
    comfy.model_management.cleanup_models_gc()
    assert len(seen) == 10 and not any(guider() for guider in seen)
    assert len(comfy.model_management.current_loaded_models) <= before


def write_vit(comfyui, name, **settings):
    """A random ViT of transformers in the pack's folder of guiders."""
    import transformers

    folder = comfyui.base / "models" / "ppap_guiders" / name
    torch.manual_seed(0)
    config = transformers.ViTConfig(**tiny_guiders.vit(**settings))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(**tiny_guiders.size(32)).save_pretrained(folder)
    return name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_labels": 3}, "3 classes, exactly one of them is right (softmax)"),
        ({"num_labels": 1}, "1 class, each is present or absent on its own (sigmoid)"),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            "3 classes, each is present or absent on its own (sigmoid)",
        ),
        ({"num_labels": 1, "problem_type": "regression"}, "1 class, a score for each"),
    ],
)
def test_the_node_shows_what_the_answer_means(comfyui, settings, words):
    name = write_vit(comfyui, "meaning", **settings)
    with torch.inference_mode():
        shown = comfyui.node("PPAP_LoadGuider").execute(name).ui
    shown = shown if isinstance(shown, dict) else shown.as_dict()
    assert words in shown["text"][0]


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            "LABEL_0, LABEL_2:-1",
            lambda z: z[:, 0].sigmoid().log() + (1 - z[:, 2].sigmoid()).log(),
        ),
        ({"num_labels": 1}, "0", lambda z: z[:, 0].sigmoid().log()),
        ({"num_labels": 1}, "0:-1", lambda z: (1 - z[:, 0].sigmoid()).log()),
        (
            {"num_labels": 1, "problem_type": "regression"},
            "LABEL_0:2",
            lambda z: 2 * z[:, 0],
        ),
    ],
)
def test_target_class_follows_the_guiders_answer(comfyui, settings, text, expected):
    loaded = load(comfyui, write_vit(comfyui, "meaning", **settings))
    with torch.inference_mode():
        target = comfyui.node("PPAP_TargetClass").execute(loaded, text, 1.0).args[0]
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    logits = loaded.guider(image)
    value = target.log_likelihood(logits)
    torch.testing.assert_close(value, expected(logits))
    assert torch.autograd.grad(value.sum(), image)[0].abs().max() > 0


@pytest.mark.parametrize(
    ("answer", "classes"), [("softmax", [2, 0]), ("sigmoid", [1, 2]), ("score", [1, 2])]
)
def test_a_previews_targets_follow_the_guiders_answer(comfyui, answer, classes):
    guiders = comfyui.module("ppap_core.guiders")
    preview = comfyui.module("ppap_core.comfy_bridge.preview")
    info = guiders.GuiderInfo("timm/net", "net", "class", ("a, x", "b", "c"), "", answer)
    seen = torch.tensor([[0.0, 2.5, 3.0], [0.0, 2.5, 3.0], [3.0, 2.5, -1.0]])
    target, names, _ = preview.preview_targets(info, seen, 2)
    assert [next(iter(row)) for row in target.rows] == classes and target.answer == answer
    assert names == [info.labels[k].split(",")[0] for k in classes]


def test_a_guider_that_cannot_answer_is_refused_when_it_is_loaded(comfyui):
    import transformers

    name = write_vit(comfyui, "sizes", num_labels=3)
    folder = comfyui.base / "models" / "ppap_guiders" / name
    transformers.ViTImageProcessor(**tiny_guiders.size(48)).save_pretrained(folder)
    with pytest.raises(ValueError, match="guider 'sizes' cannot read a picture: "):
        load(comfyui, name)
