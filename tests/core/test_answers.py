"""What an answer means: sigmoids, scores and single logits, against the libraries' own reading.

transformers' pipeline says which function belongs to a classifier's numbers; a segmentation model
with one logit is trained with a binary cross-entropy.
"""

import json
from dataclasses import replace

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision import models

from ppap_core.distillation.distill import distill
from ppap_core.distillation.evaluate import HeldOut
from ppap_core.distillation.report import report_text
from ppap_core.distillation.settings import AdapterSettings, DistillSettings
from ppap_core.distillation.teacher import teacher_answers
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.guidance import Guidance
from ppap_core.guiders import PRESETS, Guider, GuiderInfo, Preprocessing, describe, load_guider
from ppap_core.pixels import image_to_pil
from ppap_core.strength import Strength
from ppap_core.targets import ClassTarget, SegmentationTarget
from tests.core.tiny_guiders import HALF, QUERIES, SEGFORMER, picture, size, swin, vit

SIDE = 32


def vit_folder(folder, **settings):
    torch.manual_seed(0)
    config = transformers.ViTConfig(**vit(**settings), initializer_range=0.2)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(image_mean=HALF, image_std=HALF, **size(SIDE)).save_pretrained(
        folder
    )
    return folder


def timm_folder(folder, num_classes, **config):
    torch.manual_seed(0)
    args = {"channels": [8, 8, 12, 16], "stem_width": 8}
    model = timm.create_model("resnet10t", num_classes=num_classes, **args)
    torch.nn.init.normal_(model.fc.weight)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    cfg = {"input_size": [3, SIDE, SIDE], "mean": HALF, "std": HALF, "crop_pct": 1.0}
    config = {"num_classes": num_classes, "model_args": args, "pretrained_cfg": cfg} | config
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", **config}))
    return folder


def torchvision_folder(folder, name, num_classes, **config):
    torch.manual_seed(0)
    settings = {"weights_backbone": None} if name.startswith("lraspp") else {}
    model = models.get_model(name, weights=None, num_classes=num_classes, **settings)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"torchvision": name, "num_classes": num_classes, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def target_for(guider, classes):
    info = guider.info
    return ClassTarget(classes, len(info.labels), answer=info.answer)


def gradient(guider, target, side=SIDE):
    image = (picture(side, side) * 2 - 1).requires_grad_(True)
    value = target.log_likelihood(guider(image))
    return value.detach(), torch.autograd.grad(value.sum(), image)[0]


def pipeline_scores(folder, image):
    """transformers' own answer in numbers, in the order of the classes."""
    pipe = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    scores = {row["label"]: row["score"] for row in pipe(image_to_pil(image[0]), top_k=None)}
    labels = load_guider(folder).info.labels
    return torch.tensor([scores[label] for label in labels], dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"num_labels": 1}, "sigmoid"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "sigmoid"),
        ({"num_labels": 5, "problem_type": "multi_label_classification"}, "sigmoid"),
        ({"num_labels": 1, "problem_type": "regression"}, "score"),
        ({"num_labels": 3, "problem_type": "regression"}, "score"),
        ({"num_labels": 5, "problem_type": "single_label_classification"}, "softmax"),
        ({"num_labels": 5}, "softmax"),
    ],
)
def test_a_classifiers_likelihood_is_that_of_transformers_pipeline(tmp_path, settings, answer):
    folder = vit_folder(tmp_path / "net", **settings)
    guider = load_guider(folder)
    assert guider.info.answer == answer
    image = (picture(SIDE, SIDE) * 255).round() / 127.5 - 1
    scores = pipeline_scores(folder, image)
    with torch.no_grad():
        logits = guider(image)
    for k in range(settings["num_labels"]):
        got = target_for(guider, {k: 1.0}).log_likelihood(logits).double()
        expected = scores[k : k + 1] if answer == "score" else scores[k : k + 1].log()
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    if answer == "sigmoid":
        got = target_for(guider, {0: -2.0}).log_likelihood(logits).double()
        torch.testing.assert_close(got, 2 * (1 - scores[:1]).log(), rtol=1e-4, atol=1e-4)


def test_several_tags_are_a_product_and_not_a_mixture():
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = logits.sigmoid()
    target = ClassTarget({0: 1.0, 2: 3.0, 5: -0.5}, 6, answer="sigmoid")
    expected = (p[:, 0] * p[:, 2] ** 3 * (1 - p[:, 5]) ** 0.5).log()
    torch.testing.assert_close(target.log_likelihood(logits), expected.float())


def test_tags_for_each_picture_and_a_temperature():
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    target = ClassTarget([{0: 1.0}, {1: -1.0}], 3, 0.5, "sigmoid")
    expected = torch.stack([F.logsigmoid(2 * logits[0, 0]), F.logsigmoid(-2 * logits[1, 1])])
    torch.testing.assert_close(target.log_likelihood(logits), expected)


def test_extreme_tags_stay_finite_and_keep_their_gradient():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    value = ClassTarget({0: 1.0, 1: -1.0}, 2, answer="sigmoid").log_likelihood(logits)
    assert value.item() == -400
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -1.0]]))


def test_scores_are_raised_and_lowered():
    scores = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    target = ClassTarget({0: 2.0, 1: -1.0}, 2, answer="score")
    torch.testing.assert_close(target.log_likelihood(scores), 2 * scores[:, 0] - scores[:, 1])


def one_class_folders():
    """Guiders with a single output, of every library: each was bitwise unguided."""
    return {
        "transformers": lambda f: vit_folder(f, num_labels=1),
        "timm": lambda f: timm_folder(f, 1),
        "torchvision": lambda f: torchvision_folder(f, "mobilenet_v3_small", 1),
        "regression": lambda f: vit_folder(f, num_labels=1, problem_type="regression"),
        "timm regression": lambda f: timm_folder(f, 1, problem_type="regression"),
    }


@pytest.mark.parametrize("name", one_class_folders())
def test_a_single_output_guides_to_it_and_away_from_it(tmp_path, name):
    guider = load_guider(one_class_folders()[name](tmp_path / "net"))
    _, towards = gradient(guider, target_for(guider, {0: 1.0}))
    _, away = gradient(guider, target_for(guider, {0: -1.0}))
    assert towards.abs().max() > 0 and (towards * away).sum() < 0


def test_a_softmax_over_one_class_is_refused():
    for weight in (1.0, -1.0):
        with pytest.raises(ValueError, match="one class only.* nothing to ask for"):
            ClassTarget({0: weight}, 1)


def segformer_folder(folder, **settings):
    torch.manual_seed(0)
    config = transformers.SegformerConfig(**SEGFORMER, **settings)
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    processor = transformers.SegformerImageProcessor(image_mean=HALF, image_std=HALF, **size(64))
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("library", ["transformers", "torchvision"])
def test_one_class_of_segmentation_is_a_sigmoid_and_its_background(tmp_path, library):
    folder = tmp_path / "net"
    if library == "transformers":
        segformer_folder(folder, num_labels=1, id2label={0: "tumour"}, label2id={"tumour": 0})
    else:
        torchvision_folder(folder, "lraspp_mobilenet_v3_large", 1, labels=["tumour"])
    guider = load_guider(folder)
    assert guider.info.labels == ("background", "tumour")
    image = picture(64, 64) * 2 - 1
    with torch.no_grad():
        answer, pixels = guider(image), guider.preprocessing(image)
        own = guider.backbone.model(pixels)
    logit = own["out"] if library == "torchvision" else own.logits
    truth = torch.randint(2, logit.shape[-2:], generator=torch.Generator().manual_seed(0))
    expected = -F.binary_cross_entropy_with_logits(logit[0, 0], truth.float())
    target = SegmentationTarget(truth, 2)
    torch.testing.assert_close(target.log_likelihood(answer)[0], expected, rtol=1e-4, atol=1e-5)
    assert gradient(guider, target, 64)[1].abs().max() > 0


def test_one_class_of_a_mask2former_is_seen_where_a_query_sees_it(tmp_path):
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(backbone_config=swin(), **QUERIES, num_labels=1)
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path / "net")
    sides = {"shortest_edge": 64, "longest_edge": 1024}
    transformers.Mask2FormerImageProcessor(
        image_mean=HALF, image_std=HALF, size=sides, size_divisor=32
    ).save_pretrained(tmp_path / "net")
    guider = load_guider(tmp_path / "net")
    image = picture(64, 64) * 2 - 1
    with torch.no_grad():
        own = guider.backbone.model(guider.preprocessing(image))
        absent = 1.0
        for query in range(QUERIES["num_queries"]):
            classes = own.class_queries_logits[:, query].softmax(-1)[0, 0]
            absent = absent * (1 - classes * own.masks_queries_logits[0, query].sigmoid())
        shares = guider(image).softmax(1)[0]
    torch.testing.assert_close(shares, torch.stack([absent, 1 - absent]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", ["transformers", "torchvision"])
def test_segmentation_with_overlapping_classes_is_refused(tmp_path, library):
    folder, kind = tmp_path / "net", {"problem_type": "multi_label_classification"}
    if library == "transformers":
        segformer_folder(folder, num_labels=3, **kind)
    else:
        torchvision_folder(folder, "lraspp_mobilenet_v3_large", 3, **kind)
    with pytest.raises(ValueError, match="a pixel may have several of the classes"):
        load_guider(folder)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_folders_of_every_library_may_say_problem_type(tmp_path, library, problem_type):
    folder = tmp_path / "net"
    if library == "timm":
        timm_folder(folder, 4, problem_type=problem_type)
    else:
        torchvision_folder(folder, "mobilenet_v3_small", 4, problem_type=problem_type)
    expected = "score" if problem_type == "regression" else "sigmoid"
    assert load_guider(folder).info.answer == expected


def test_an_unknown_problem_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match="problem_type in config.json is one of .*, got 'ranking'"):
        load_guider(timm_folder(tmp_path / "net", 4, problem_type="ranking"))


TAGS = ["general", "1girl", "solo", "cat_ears"]


def test_a_folder_with_a_list_of_tags_is_a_tagger(tmp_path):
    folder = timm_folder(tmp_path / "net", 4)
    lines = [f"{i},{tag},0,{900 - i}" for i, tag in enumerate(TAGS)]
    (folder / "selected_tags.csv").write_text("\n".join(["id,name,category,rank", *lines]))
    guider = load_guider(folder)
    assert guider.info.labels == tuple(TAGS) and guider.info.answer == "sigmoid"
    assert not guider.preprocessing.reverse_channels


def test_wd_taggers_read_blue_green_red(tmp_path):
    """github.com/neggles/wdv3-timm flips the channels after timm's own transform."""
    folder = timm_folder(tmp_path / "net", 4)
    plain = load_guider(folder)
    lines = [f"{i},{tag},0,{900 - i}" for i, tag in enumerate(TAGS)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *lines]))
    guider, image = load_guider(folder), picture(SIDE, SIDE) * 2 - 1
    torch.testing.assert_close(guider(image), plain.backbone(plain.preprocessing(image).flip(1)))


def test_tags_without_names_are_refused(tmp_path):
    folder = timm_folder(tmp_path / "net", 4)
    (folder / "selected_tags.csv").write_text("tag,count\na,1\n")
    with pytest.raises(ValueError, match="has no column 'name'"):
        load_guider(folder)


@pytest.mark.parametrize(
    ("task", "answer"), [("depth", "softmax"), ("segmentation", "sigmoid"), ("class", "nearness")]
)
def test_an_answer_that_the_task_cannot_have_is_refused(task, answer):
    with pytest.raises(ValueError, match=f"answer of a {task} guider is one of .*{answer}"):
        GuiderInfo("timm/x", "x", task, ("a", "b"), "", answer)


def test_a_target_for_another_meaning_of_the_answer_is_refused(tmp_path):
    guider = load_guider(vit_folder(tmp_path / "net", num_labels=3))
    target = ClassTarget({0: 1.0}, 3, answer="sigmoid")
    with pytest.raises(ValueError, match="answers with a softmax, the target was made for a sigm"):
        Guidance(guider, target, Strength(1.0, "raw"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [("softmax", "exactly one of them"), ("sigmoid", "on its own"), ("score", "higher is more")],
)
def test_the_card_says_what_the_numbers_mean(tmp_path, answer, words):
    guider = load_guider(vit_folder(tmp_path / "net", num_labels=3))
    guider.info = replace(guider.info, answer=answer)
    lines = describe(guider).splitlines()
    assert lines[0] == "transformers/net: ViTForImageClassification"
    assert lines[1].startswith("predicts class: 3 classes, ") and words in lines[1]
    assert lines[2:4] == ["classes: LABEL_0, LABEL_1, LABEL_2", "reads 32 x 32 pixels, colour"]
    millions = sum(p.numel() for p in guider.parameters()) / 1e6
    assert lines[4].startswith(f"{millions:.3g} million parameters, which take ")
    preset = next(iter(PRESETS.values()))
    assert describe(guider, preset).splitlines()[5:] == [
        f"good for: {preset.good_for}; licence {preset.licence}"
    ]


@pytest.mark.parametrize("answer", ["sigmoid", "score"])
def test_experts_learn_from_taggers_and_scores(answer):
    """Agreement with the clean guider grows; the loss is that of the answer's meaning."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )
    info = GuiderInfo("timm/net", "net", "class", tuple("abc"), "f" * 64, answer)
    guider = Guider(net, Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3), info)
    colours = torch.randint(256, (128, 3, 2, 2), generator=torch.Generator().manual_seed(1))
    images = F.interpolate(colours.float(), (16, 16)).byte()
    answers = teacher_answers(guider, images)
    with torch.no_grad():  # about half of the answers are yes, and none is unsure
        net[-1].weight.mul_(2 / answers.std(0)[:, None])
        net[-1].bias.copy_((net[-1].bias - answers.mean(0)) * 2 / answers.std(0))
    data = TrainingSet(images, teacher_answers(guider, images))
    settings = DistillSettings(
        **{"num_experts": 2, "steps": 80, "batch_size": 32, "warm_up_steps": 5},
        **{"learning_rate": 1e-2, "adapter": AdapterSettings(rank=4, max_touched=1.0)},
    )
    made = distill(guider, data, settings)
    rows = HeldOut(guider, data).rows(made.experts)
    assert rows[0].expert_loss < rows[0].plain_loss and rows[0].expert > rows[0].plain
    assert rows[0].constant_loss > 0
    name = {"sigmoid": "classes that both see", "score": "pairs of pictures in the same order"}
    assert name[answer] in report_text("net", info.kind, rows, made, {})
