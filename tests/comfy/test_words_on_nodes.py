"""What a new user reads on the nodes in a first hour: cards, classes, and what does not fit."""

import pytest
import torch

GUIDERS = {
    "class": "demo-shapes-resnet",
    "depth": "demo-scenes-depth",
    "segmentation": "demo-scenes-segmentation",
}
EXPERTS = "demo-shapes-resnet.safetensors"


@pytest.fixture(scope="module")
def guiders(comfyui):
    load = comfyui.node("PPAP_LoadGuider").execute
    with torch.inference_mode():
        return {task: load(name).args[0] for task, name in GUIDERS.items()}


def run(comfyui, name, *args, **kwargs):
    with torch.inference_mode():
        return comfyui.node(name).execute(*args, **kwargs)


def refusal(comfyui, name, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        run(comfyui, name, *args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line and "--" not in line
    return line


def ask(comfyui, node, guider):
    """The target node `node` with this guider, and settings that fit some guider."""
    image, mask = torch.rand(1, 8, 8, 3), torch.ones(1, 8, 8)
    inputs = {
        "PPAP_TargetClass": {"classes": "cone", "temperature": 1.0},
        "PPAP_TargetMap": {
            **{"image": image, "source": "reference picture", "palette": "ADE20K"},
            **{"fit": "stretch", "width": 0, "height": 0},
        },
        "PPAP_TargetMasks": {"mask": mask, "class_name": "cone", "elsewhere": ""},
    }
    return refusal(comfyui, node, guider, **inputs[node])


@pytest.mark.parametrize(
    ("node", "task", "line"),
    [
        (
            "PPAP_TargetClass",
            "depth",
            "Target Class needs a classifier at its socket guider, but {} is a depth model: "
            "connect another guider there, or use Target Depth/Seg Map with this one",
        ),
        (
            "PPAP_TargetClass",
            "segmentation",
            "Target Class needs a classifier at its socket guider, but {} is a segmentation model: "
            "connect another guider there, or use Target Depth/Seg Map, Target Mask per Class or "
            "Target Count with this one",
        ),
        (
            "PPAP_TargetMap",
            "class",
            "Target Depth/Seg Map needs a depth model, a segmentation model, a normals model or an "
            "edge detector at its socket guider, but {} is a classifier: connect another guider "
            "there, or use Target Class with this one",
        ),
        (
            "PPAP_TargetMasks",
            "class",
            "Target Mask per Class needs a segmentation model at its socket guider, but {} is a "
            "classifier: connect another guider there, or use Target Class with this one",
        ),
        (
            "PPAP_TargetMasks",
            "depth",
            "Target Mask per Class needs a segmentation model at its socket guider, but {} is a "
            "depth model: connect another guider there, or use Target Depth/Seg Map with this one",
        ),
    ],
)
def test_a_guider_of_another_task_is_refused_with_the_socket_to_change(
    comfyui, guiders, node, task, line
):
    """First hour, 5: a depth guider into Target Class said "max() arg is an empty sequence"."""
    guider = guiders[task]
    assert ask(comfyui, node, guider) == line.format(guider.guider.info.source)


@pytest.mark.parametrize(
    ("task", "source", "sources"),
    [
        ("depth", "segmentation map", "reference picture, depth map (near is bright) or depth"),
        ("segmentation", "depth map (near is bright)", "reference picture or segmentation map"),
    ],
)
def test_a_source_of_another_task_is_refused_with_those_that_fit(
    comfyui, guiders, task, source, sources
):
    line = refusal(
        *(comfyui, "PPAP_TargetMap", guiders[task], torch.rand(1, 8, 8, 3), source, "ADE20K"),
        **{"fit": "stretch", "width": 0, "height": 0},
    )
    assert line.startswith(f"a {source} is a target for ") and f"predicts {task}" in line
    assert f"choose the source {sources}" in line


@pytest.mark.parametrize("task", ["class", "depth"])
def test_masks_refuse_a_target_of_another_task(comfyui, guiders, task):
    targets = comfyui.module("ppap_core.targets")
    made = {
        "class": targets.ClassTarget({0: 1.0}, 10),
        "depth": targets.DepthTarget(torch.rand(8, 8)),
    }[task]
    guider, mask = guiders["segmentation"], torch.ones(1, 8, 8)
    line = refusal(comfyui, "PPAP_TargetMasks", guider, mask, "floor", "", target=made)
    assert "the socket target takes a segmentation target" in line
    assert f"what is connected is a target for {task}: connect one that was made with" in line


@pytest.mark.parametrize("task", ["depth", "segmentation"])
def test_experts_of_another_guider_are_refused_with_what_to_change(comfyui, guiders, task):
    line = refusal(comfyui, "PPAP_LoadExperts", guiders[task], EXPERTS)
    assert "trained for the class guider timm/demo-shapes-resnet" in line
    assert f"not for the {task} guider" in line
    assert "connect that guider, choose another expert file, or train experts for this" in line


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_class_lists_what_the_guider_knows(comfyui, guiders, text):
    line = refusal(comfyui, "PPAP_TargetClass", guiders["class"], text, 1.0)
    assert line.startswith("no target class given: write its name or number; it knows 10 classes: ")
    line = refusal(comfyui, "PPAP_TargetClass", guiders["class"], text, 1.0, line_per_picture=True)
    assert "it knows 10 classes: " in line
    mask = torch.ones(1, 8, 8)
    line = refusal(comfyui, "PPAP_TargetMasks", guiders["segmentation"], mask, text, "")
    assert line.startswith("no class given: write its name or number; it knows ")


def test_no_node_asks_for_a_class_by_default(comfyui):
    for node, name in (("PPAP_TargetClass", "classes"), ("PPAP_TargetMasks", "class_name")):
        inputs = {entry.id: entry for entry in comfyui.node(node).define_schema().inputs}
        assert inputs[name].default == ""


@pytest.mark.parametrize("word", ["tors", "TORUSS"])
def test_a_misspelt_class_suggests_the_nearest(comfyui, guiders, word):
    line = refusal(comfyui, "PPAP_TargetClass", guiders["class"], word, 1.0)
    assert line.startswith(f"the guider has no class {word!r}: did you mean 'torus'")


def test_the_loader_shows_the_guiders_card_and_puts_it_out(comfyui):
    made = run(comfyui, "PPAP_LoadGuider", GUIDERS["class"])
    card = made.args[1]
    assert "10 classes, exactly one of them is right" in card and "memory" in card
    assert made.ui["text"] == (card,)
    shown = made.ui["ppap_text"][0]
    assert shown.split() == card.replace("\n", ". ").split()[:-1] + ["memory."]
    assert all(line.endswith(".") for line in shown.splitlines())


@pytest.mark.parametrize(
    ("task", "search", "found", "heading"),
    [
        ("class", "", 10, "10 classes"),
        ("class", "tor", 1, "1 of 10 classes for 'tor'"),
        ("class", "toruss", 1, "none of 10 classes has 'toruss' in its name; the nearest are"),
        ("class", "xyzzy", 0, "none of 10 classes is called like 'xyzzy'"),
        ("segmentation", "floor", 1, "1 of "),
    ],
)
def test_classes_can_be_listed_and_searched(comfyui, guiders, task, search, found, heading):
    made = run(comfyui, "PPAP_GuiderClasses", guiders[task], search)
    names, labels = made.args[0].splitlines(), guiders[task].guider.info.labels
    assert len(names) == found and set(names) <= set(labels)
    text = made.ui["text"][0].splitlines()
    assert text[0].startswith(heading)
    assert text[1:] == [f"{labels.index(name)}: {name}" for name in names]


def test_a_guider_without_classes_has_none_to_list(comfyui, guiders):
    line = refusal(comfyui, "PPAP_GuiderClasses", guiders["depth"], "")
    assert "is a depth model, which has none: connect a classifier or a segmentation" in line


def settings_error(comfyui, node, error):
    """What `node` tells of `error`, which its execute raises."""
    told = comfyui.module("nodes.sockets").told_by_its_widgets(steps="sampling_steps")

    def execute(cls):
        raise error

    with pytest.raises(ValueError) as caught:
        told(execute)(comfyui.node(node))
    return str(caught.value)


@pytest.mark.parametrize(
    ("message", "settings", "line"),
    [
        ("x brings no VAE", {"vae": "give one"}, "x brings no VAE: give one (socket vae)"),
        (
            "the images in F are from another model",
            {"name": "choose another name", "images": "choose a folder", "force": "force it"},
            "the images in F are from another model: choose another name (widget name)",
        ),
        (
            "x exists",
            {"name": "choose another name", "overwrite": "overwrite it"},
            "x exists: choose another name (widget name), or overwrite it (widget overwrite)",
        ),
        (
            "the pictures were sampled with steps 25, now it is 30",
            {"steps": "use the old value"},
            "the pictures were sampled with steps 25, now it is 30: use the old value (widget "
            "sampling_steps)",
        ),
    ],
)
def test_a_node_speaks_of_its_sockets_and_widgets(comfyui, message, settings, line):
    """First hour, 7: "name one with --vae", "add --force", "or allow to overwrite it"."""
    error = comfyui.module("ppap_core.errors").SettingError(message, **settings)
    assert settings_error(comfyui, "PPAP_TrainExperts", error) == line
