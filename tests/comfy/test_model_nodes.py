"""Every node of ComfyUI that takes a MODEL and gives one, with its default widgets, beside ours."""

import functools
from dataclasses import replace

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models

JACOBIANS = ("none", "jvp", "backprop")
FEW = (  # one for each way in which nodes change a MODEL
    "EasyCache",  # wrappers with a state
    "LazyCache",
    "FreeU_V2",  # patches of outputs
    "SelfAttentionGuidance",  # patches with a state, and post-CFG
    "SkipLayerGuidanceDiTSimple",  # all conditionings at once
    "ModelSamplingDiscrete",  # object patches
    "RescaleCFG",  # the CFG function
)
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@pytest.fixture(scope="module")
def model(comfyui):
    """Of SD1.5's kind, with the attention in the middle that some nodes look into."""
    own = tiny_checkpoints.FAMILIES["SD15"]
    whole = replace(own, unet=own.unet | {"transformer_depth_middle": 1}, stored="")
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setitem(tiny_checkpoints.FAMILIES, "whole", whole)
        return tiny_checkpoints.build("whole")


@pytest.fixture(scope="module")
def guider(comfyui):
    return tiny_models.tiny_guider(comfyui)


def names_of_nodes(comfyui):
    """Ids of nodes that take a MODEL and give one first, and whose inputs have defaults."""
    found = []
    for name, node in sorted(comfyui.nodes.NODE_CLASS_MAPPINGS.items()):
        gives = tuple(getattr(node, "RETURN_TYPES", ()) or ())
        takes = [kind for _, kind, _ in inputs_of(node)]
        is_ours = name.startswith("PPAP_")
        if not is_ours and "MODEL" in takes and gives[:1] == ("MODEL",):
            found.append(name)
    return found


def inputs_of(node):
    """(name, type or list of choices, options) of each required input."""
    required = node.INPUT_TYPES().get("required", {})
    return [(name, entry[0], (*entry, {})[1]) for name, entry in required.items()]


def settings_of(node):
    """Default widgets, and what has no MODEL in it; None if the node wants something else."""
    settings = {}
    for name, kind, options in inputs_of(node):
        choices = kind if isinstance(kind, list) else options.get("options")
        if kind == "MODEL":
            continue
        if choices:
            settings[name] = options.get("default", choices[0])
        elif kind == "CONDITIONING":
            settings[name] = tiny_checkpoints.conditioning("SD15")
        elif kind == "LATENT":
            settings[name] = {"samples": torch.zeros(1, 4, 16, 16)}
        elif kind in WIDGETS and "default" in options:
            settings[name] = options["default"]
        elif kind == "BOOLEAN":
            settings[name] = False
        else:
            return None
    return settings


def applied(comfyui, name, model):
    """The MODEL that the node `name` makes of `model`; every input that takes a MODEL gets it."""
    node = comfyui.node(name)
    settings = settings_of(node)
    if settings is None:
        pytest.skip(f"{name} needs more than a MODEL, prompts and a LATENT")
    settings |= {key: model for key, kind, _ in inputs_of(node) if kind == "MODEL"}
    with torch.inference_mode():
        run = node.execute if hasattr(node, "define_schema") else getattr(node(), node.FUNCTION)
        answer = run(**settings)
    return getattr(answer, "args", answer)[0]


def guide(comfyui, model, guider, jacobian):
    settings = {"strength": 3.0, "guider_input": "x0_hat", "jacobian": jacobian}
    of_class = comfyui.module("ppap_core.targets").ClassTarget({2: 1.0}, 5)
    with torch.inference_mode():
        node = comfyui.node("PPAP_ApplyGuidance")
        return node.execute(model=model, guider=guider, target=of_class, **settings).args[0]


def sample(model, steps=3):
    import comfy.sample

    latent = tiny_checkpoints.empty_latent(model)
    words = tiny_checkpoints.conditioning("SD15"), [[torch.ones(1, 8, 768), {}]]
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 0)
        place = model, noise, steps, 2.0, "euler", "simple", *words, latent
        return comfy.sample.sample(*place, disable_pbar=True, seed=0)


@pytest.fixture(scope="module")
def without_node(comfyui, model, guider):
    """Pictures without any other node: unguided, and by Jacobian."""

    @functools.cache
    def picture(jacobian=None):
        return sample(guide(comfyui, model, guider, jacobian) if jacobian else model)

    return picture


def check(comfyui, model, guider, without_node, name, jacobians=JACOBIANS):
    try:
        plain = sample(applied(comfyui, name, model))
    except Exception as error:  # of the host, without us
        pytest.skip(f"{name} does not work with this model: {type(error).__name__} {error}")
    if not plain.isfinite().all():
        pytest.skip(f"{name} is not finite with this model, unguided")
    changes = not torch.equal(plain, without_node())
    for jacobian in jacobians:
        orders = {
            "before": lambda j=jacobian: guide(comfyui, applied(comfyui, name, model), guider, j),
            "after": lambda j=jacobian: applied(comfyui, name, guide(comfyui, model, guider, j)),
        }
        for order, build in orders.items():
            picture, where = sample(build()), f"{name} {order}, {jacobian}"
            assert picture.isfinite().all(), where
            assert (picture - plain).abs().max() > 1e-3 * plain.abs().max(), where
            if not changes:
                torch.testing.assert_close(picture, without_node(jacobian), msg=where)


@pytest.mark.parametrize("name", FEW)
def test_a_node_beside_ours(comfyui, model, guider, without_node, name):
    check(comfyui, model, guider, without_node, name, ("jvp",))


def test_the_host_has_many_such_nodes(comfyui):
    names = names_of_nodes(comfyui)
    assert len(names) > 60 and set(FEW) < set(names)


@pytest.mark.slow
def test_every_node_beside_ours(comfyui, model, guider, without_node, subtests):
    tried = []
    for name in names_of_nodes(comfyui):
        with subtests.test(name):
            check(comfyui, model, guider, without_node, name)
            tried.append(name)
    assert len(tried) > 35
