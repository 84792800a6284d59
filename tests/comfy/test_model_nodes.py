"""Every node of ComfyUI that takes a MODEL and gives one, with its default widgets, beside ours."""

import functools
from dataclasses import replace

import pytest
import torch

from host import tiny_checkpoints
from tests.comfy import tiny_models
from tests.slow import slow

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
LATER = ("LazyCache", "FreeU_V2", "RescaleCFG")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


LEVELS = {  # of SD1.5's kind, small: three sizes, and attention at each and in the middle
    **{"model_channels": 32, "channel_mult": [1, 2, 4], "num_res_blocks": [1, 1, 1]},
    **{"transformer_depth": [1, 1, 1], "transformer_depth_output": [1] * 6},
    "transformer_depth_middle": 1,
}
CACHES = ("EasyCache", "LazyCache")  # these answer some steps themselves, the shift among it
ROUNDING = 1e-4  # jvp divides a difference of two evaluations, and so multiplies their rounding
KINDS = ("predict_noise", "calc_cond_batch", "apply_model", "diffusion_model")


@pytest.fixture(scope="module")
def model(comfyui):
    own = tiny_checkpoints.FAMILIES["SD15"]
    small = replace(own, unet=own.unet | LEVELS, stored="")
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setitem(tiny_checkpoints.FAMILIES, "small", small)
        return tiny_checkpoints.build("small")


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


def sample(model, steps):
    import comfy.sample

    latent = tiny_checkpoints.empty_latent(model)
    words = tiny_checkpoints.conditioning("SD15"), [[torch.ones(1, 8, 768), {}]]
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 0)
        place = model, noise, steps, 2.0, "euler", "simple", *words, latent
        return comfy.sample.sample(*place, disable_pbar=True, seed=0)


def recorded(model):
    """A copy of `model` with a wrapper of each kind that writes down what it sees."""
    model, seen = model.clone(), []

    def note(kind):
        def record(executor, *args, **kwargs):
            seen.append(kind)
            return executor(*args, **kwargs)

        return record

    for kind in KINDS:
        model.add_wrapper_with_key(kind, "a recorder", note(kind))
    return model, seen


@pytest.fixture(scope="module")
def without_node(comfyui, model, guider):
    """Pictures without any other node: unguided, and by Jacobian."""

    @functools.cache
    def picture(steps, jacobian=None):
        return sample(guide(comfyui, model, guider, jacobian) if jacobian else model, steps)

    return picture


def unguided(comfyui, model, name, steps):
    """The picture of the node alone; skips where the host itself makes none of this model."""
    try:
        plain = sample(applied(comfyui, name, model), steps)
    except Exception as error:  # of the host, without us
        pytest.skip(f"{name} does not work with this model: {type(error).__name__} {error}")
    if not plain.isfinite().all():
        pytest.skip(f"{name} is not finite with this model, unguided")
    return plain


def check(comfyui, model, guider, without_node, name, jacobians=JACOBIANS, steps=2):
    """Guided beside the node, before it and after it: as far as alone, or so that it is said."""
    hook = comfyui.module("ppap_core.comfy_bridge.hook")
    plain = unguided(comfyui, model, name, steps)
    changes = not torch.equal(plain, without_node(steps))
    for jacobian in jacobians:
        orders = {
            "before": lambda j=jacobian: guide(comfyui, applied(comfyui, name, model), guider, j),
            "after": lambda j=jacobian: applied(comfyui, name, guide(comfyui, model, guider, j)),
        }
        for order, build in orders.items():
            guided, where = build(), f"{name} {order}, {jacobian}"
            picture = sample(guided, steps)
            assert picture.isfinite().all(), where
            assert (picture - plain).abs().max() > 1e-3 * plain.abs().max(), where
            (outcome,) = hook.outcomes_of(guided)
            guided_steps = len(outcome.records) + outcome.stale_steps
            assert guided_steps >= (1 if name in CACHES else steps), where
            assert not outcome.lost_steps, where
            if not changes:
                expected = without_node(steps, jacobian)
                near = {"rtol": ROUNDING, "atol": ROUNDING * float(expected.abs().max())}
                torch.testing.assert_close(picture, expected, **near, msg=where)


@pytest.mark.parametrize("name", [slow(name) if name in LATER else name for name in FEW])
def test_a_node_beside_ours(comfyui, model, guider, without_node, name):
    check(comfyui, model, guider, without_node, name, ("jvp",), steps=3)


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


def check_recorder(comfyui, model, guider, name, jacobians):
    """A recorder of the model's evaluations sees, and leaves, what it does without us."""
    watched, seen = recorded(model)
    plain = unguided(comfyui, watched, name, 2)
    expected = list(seen)
    assert expected
    for jacobian in jacobians:
        seen.clear()
        picture = sample(guide(comfyui, applied(comfyui, name, watched), guider, jacobian), 2)
        assert seen == expected, f"{name}, {jacobian}"
        assert not torch.equal(picture, plain), f"{name}, {jacobian}"


def test_a_recorder_beside_a_node_sees_what_it_sees_without_us(comfyui, model, guider):
    check_recorder(comfyui, model, guider, "SelfAttentionGuidance", ("jvp", "backprop"))


@pytest.mark.slow
def test_a_recorder_beside_every_node_sees_what_it_sees_without_us(
    comfyui, model, guider, subtests
):
    for name in names_of_nodes(comfyui):
        with subtests.test(name):
            check_recorder(comfyui, model, guider, name, ("jvp",))
