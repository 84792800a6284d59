"""HED by its formula, DexiNed by kornia's own, and both from the pickles that people have."""

import shlex
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from demo.scenes import render
from ppap_core.guiders import load_guider
from ppap_core.guiders.score_head import read_score_head
from training.__main__ import main

VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
WORDS = ("One", "Two", "Thr", "Fou", "Fiv")
SIDE = 48  # pixels of a picture: it is read as it is
MEANS = {"hed": (104.00698793, 116.66876762, 122.67891434), "dexined": (103.939, 116.779, 123.68)}


def controlnets(block, i=None):
    return f"block{block + 1}.projection" if i is None else f"block{block + 1}.convs.{i}"


def authors(block, i=None):
    """A ReLU follows every convolution, and all blocks but the first begin with a pool."""
    word = WORDS[block]
    return f"moduleScore{word}" if i is None else f"moduleVgg{word}.{2 * i + min(block, 1)}"


@pytest.fixture(scope="module")
def layers():
    """Random weight and bias by (block, i), of side answers by (block, None)."""
    generator, before, made = torch.Generator().manual_seed(0), 3, {}
    for block, widths in enumerate(VGG):
        for i, width in enumerate(widths):
            weight = torch.randn(width, before, 3, 3, generator=generator)
            made[block, i] = weight * (2 / (9 * before)) ** 0.5, torch.full((width,), 0.01)
            before = width
        side = torch.randn(1, before, 1, 1, generator=generator) / before
        made[block, None] = side, torch.full((1,), 0.1 * block)
    return made


def named(layers, name):
    made = {}
    for key, (weight, bias) in layers.items():
        made |= {f"{name(*key)}.weight": weight, f"{name(*key)}.bias": bias}
    return made


def sides(layers, x):
    """What HED's five blocks answer about what is left of the pixels, each in their size."""
    seen = x
    for block, widths in enumerate(VGG):
        seen = F.max_pool2d(seen, 2) if block else seen
        for i in range(len(widths)):
            seen = F.conv2d(seen, *layers[block, i], padding=1).relu()
        yield F.interpolate(F.conv2d(seen, *layers[block, None]), x.shape[-2:], mode="bilinear")


@pytest.fixture(scope="module")
def pictures():
    return render(2, seed=5, size=SIDE).pictures()


def bgr(pictures, network):
    """Blue, green and red in 0 to 255, minus their means."""
    means = torch.tensor(MEANS[network])[:, None, None]
    return (pictures.flip(1) + 1) * 127.5 - means


@pytest.fixture(scope="module")
def controlnet_pickle(layers, tmp_path_factory):
    norm = torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1)
    path = tmp_path_factory.mktemp("pickled") / "ControlNetHED.pth"
    torch.save({"norm": norm} | named(layers, controlnets), path)
    return path


def read_at(folder, network):
    """The guider, reading pictures at SIDE pixels."""
    (folder / "config.json").write_text(f'{{"edge_network": "{network}", "size": {SIDE}}}')
    return load_guider(folder)


def test_hed_of_controlnet_is_converted_and_answers_with_the_mean_of_its_sides(
    layers, pictures, controlnet_pickle, tmp_path
):
    """By the command that the error names."""
    folder = controlnet_pickle.parent
    with pytest.raises(ValueError, match="ControlNetHED.pth, look for a safetensors") as caught:
        load_guider(folder)
    command = shlex.split(str(caught.value).partition("Python, run ")[2])
    assert command[:3] == ["python", "-m", "training"] and main(command[3:]) == 0
    assert load_file(folder / "model.safetensors").keys() == torch.load(controlnet_pickle).keys()
    assert load_guider(folder).preprocessing.size == (512, 512)
    guider = read_at(folder, "hed")
    assert guider.info.task == "edges"
    norm = torch.tensor([120.0, 110.0, 100.0])[:, None, None]
    expected = torch.stack(list(sides(layers, (pictures + 1) * 127.5 - norm))).mean(0)
    torch.testing.assert_close(guider(pictures), expected, rtol=1e-3, atol=1e-3)
    assert main(["convert", str(controlnet_pickle), "--out", str(folder)]) == 1  # it is there


def test_hed_of_its_authors_answers_with_a_learned_sum(layers, pictures, tmp_path):
    weights = named(layers, authors)
    fuse = torch.tensor([0.1, 0.3, -0.2, 0.5, 0.4]).view(1, 5, 1, 1)
    weights |= {"moduleCombine.0.weight": fuse, "moduleCombine.0.bias": torch.tensor([0.7])}
    save_file(weights, tmp_path / "model.safetensors")
    found = torch.cat(list(sides(layers, bgr(pictures, "hed"))), dim=1)
    expected = F.conv2d(found, fuse, torch.tensor([0.7]))
    guider = read_at(tmp_path, "hed")
    torch.testing.assert_close(guider(pictures), expected, rtol=1e-3, atol=1e-3)
    weights.pop("moduleScoreTwo.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"does not fit config.json: .*sides.1.bias"):
        load_guider(tmp_path)


def test_dexined_answers_as_kornias_own_and_can_learn(pictures, tmp_path):
    from kornia.filters.dexined import DexiNed

    torch.manual_seed(0)
    theirs = DexiNed(pretrained=False).eval()
    torch.save({"state_dict": theirs.half().state_dict()}, tmp_path / "10_model.pth")
    folder = tmp_path / "dexined"
    assert main(["convert", str(tmp_path / "10_model.pth"), "--out", str(folder)]) == 0
    guider = read_at(folder, "dexined")
    with torch.no_grad():
        expected = theirs.float()(bgr(pictures, "dexined"))
    torch.testing.assert_close(guider(pictures), expected, rtol=1e-3, atol=1e-3)
    weight = guider.backbone.model.dblock_3.denselayer1.conv1.weight.requires_grad_(True)
    (gradient,) = torch.autograd.grad(guider(pictures).sum(), weight)
    assert gradient.isfinite().all() and gradient.any()


def test_without_kornia_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.filters.dexined", None)
    save_file({"dblock_6.denselayer1.conv1.bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="DexiNed needs the package kornia.*pip install kornia"):
        read_at(tmp_path, "dexined")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"edge_network": "canny"}', "'edge_network' is 'hed' or 'dexined', got 'canny'"),
        ('{"edge_network": "hed", "size": 8}', "'size' is a number of pixels from 32 to 4096"),
        ('{"edge_network": "hed"}', "describes a larger network than model.safetensors holds"),
    ],
)
def test_wrong_settings_and_weights_are_refused(tmp_path, config, message):
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        load_guider(tmp_path)


class Touches:
    """A pickle that runs code when it is opened carelessly."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return self.marker.touch, ()


def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path, caplog):
    out, marker = tmp_path / "out", tmp_path / "ran"
    torch.save({"weight": Touches(marker)}, tmp_path / "code.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:300])
    for name, line in {
        "code.pth": "code or other objects beside weights, so it was not opened",
        "empty.pth": "holds no weights",
        "other.pth": "neither HED nor DexiNed, so its config.json cannot be written",
        "cut.pth": "damaged",
        "none.pth": "none.pth",
    }.items():
        caplog.clear()
        assert main(["convert", str(tmp_path / name), "--out", str(out)]) == 1
        assert line in caplog.messages[-1] and "\n" not in caplog.messages[-1]
    assert not marker.exists() and not out.exists()


def test_a_score_head_is_converted_by_the_command_that_its_refusal_names(tmp_path):
    linear = torch.nn.Linear(4, 1)
    torch.save({"0.weight": linear.weight.data, "0.bias": linear.bias.data}, tmp_path / "h.pth")
    with pytest.raises(ValueError, match="is a pickle") as caught:
        read_score_head(tmp_path / "h.pth")
    assert main(shlex.split(str(caught.value).partition("Python, run ")[2])[3:]) == 0
    x = torch.randn(3, 4)
    torch.testing.assert_close(read_score_head(tmp_path / "h.safetensors").layers(x), linear(x))
