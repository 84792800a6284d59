"""Score heads against torch.nn built by hand; targets of scores in closed form."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from demo.paths import SCORE_HEAD, WORDS_EXPERTS, WORDS_GUIDER
from demo.scenes import render
from demo.score_head import brightness
from ppap_core.expert_file import load_experts
from ppap_core.guidance import Guidance
from ppap_core.guiders import add_score_head, describe, load_guider
from ppap_core.guiders.score_head import read_score_head
from ppap_core.targets.score_target import ScoreTarget
from ppap_core.tasks import CLASS

WIDTH = 64  # of the demo's CLIP


@pytest.fixture(scope="module")
def clip():
    return load_guider(WORDS_GUIDER)


def mlp(*between):
    """Layers as of LAION's second predictor, whose numbers have gaps and two digits."""
    torch.manual_seed(0)
    sizes, parts = (WIDTH, 12, 10, 8, 6, 4, 1), []
    for one, other in zip(sizes, sizes[1:], strict=False):
        parts += [nn.Linear(one, other), *(make() for make in between)]
    return nn.Sequential(*parts[: len(parts) - len(between)]).eval()


def stored(path, tensors, header=None):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, header)
    return path


def layers_of(network):
    return {f"layers.{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "header", "asked", "between"),
    [
        ("sac+logos+ava1-l14-linearMSE", None, "auto", (nn.Dropout,)),
        ("ava+logos-l14-reluMSE", None, "auto", (nn.ReLU, nn.Dropout)),
        ("mine", {"activation": "GELU"}, "auto", (nn.GELU,)),
        ("mine-relu", {"activation": "none"}, "auto", ()),
        ("mine", None, "silu", (nn.SiLU,)),
    ],
)
def test_a_head_answers_as_the_network_built_by_hand(tmp_path, name, header, asked, between):
    network, embeddings = mlp(*between), torch.randn(5, WIDTH)
    path = stored(tmp_path / f"{name}.safetensors", layers_of(network), header)
    head = read_score_head(path, asked)
    assert head.width == WIDTH
    torch.testing.assert_close(head.layers(embeddings), network(embeddings))


def test_one_linear_layer_without_a_name_or_a_bias(tmp_path):
    """As LAION's first predictor is stored; in 16 bits."""
    weight, bias = torch.randn(1, WIDTH).half(), torch.randn(1).half()
    path = stored(tmp_path / "v1.safetensors", {"weight": weight, "bias": bias})
    embeddings = torch.randn(5, WIDTH)
    wanted = embeddings @ weight.float().T + bias.float()
    torch.testing.assert_close(read_score_head(path).layers(embeddings), wanted)
    path = stored(tmp_path / "v0.safetensors", {"weight": weight})
    torch.testing.assert_close(read_score_head(path).layers(embeddings), wanted - bias.float())


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({}, "it holds no weights: download it again"),
        ({"weight": torch.ones(10, 4)}, "it answers with 10 numbers, and a score is one"),
        ({"0.weight": torch.ones(3, 4), "1.weight": torch.ones(1, 5)}, "gives 3 .* one reads 5"),
        ({"norm.weight": torch.ones(4), "norm.bias": torch.ones(4)}, r"'norm' \(.*\) is not a lin"),
        ({"conv.weight": torch.ones(1, 4, 3, 3)}, "'conv' .* is not a linear one"),
        ({"weight": torch.ones(1, 4), "bias": torch.ones(4)}, "without a name.* not a linear one"),
        ({"weight": torch.full((1, 4), torch.nan)}, "numbers that are not finite, or quantised"),
        ({"weight": torch.ones(1, 4, dtype=torch.int8)}, "not finite, or quantised"),
    ],
)
def test_what_is_no_chain_to_one_number_is_refused(tmp_path, tensors, line):
    with pytest.raises(ValueError, match=f"^score head 'h.safetensors': .*{line}"):
        read_score_head(stored(tmp_path / "h.safetensors", tensors))


def test_pickles_damage_and_unknown_activations_are_refused(tmp_path):
    marker = tmp_path / "ran"

    class Runs:
        def __reduce__(self):
            return marker.touch, ()

    torch.save({"weight": Runs()}, tmp_path / "h.pth")
    with pytest.raises(ValueError, match="'h.pth' is a pickle, which can run code .*: look for a"):
        read_score_head(tmp_path / "h.pth")
    assert not marker.exists()
    (tmp_path / "h.safetensors").write_bytes((tmp_path / "h.pth").read_bytes())
    with pytest.raises(ValueError, match="is truncated or no safetensors file"):
        read_score_head(tmp_path / "h.safetensors")
    path = stored(tmp_path / "t.safetensors", layers_of(mlp()), {"activation": "tanh"})
    with pytest.raises(ValueError, match="its activation is one of none, relu.*, got 'tanh'"):
        read_score_head(path)


def test_a_head_for_other_embeddings_is_refused_with_both_sizes(tmp_path, clip):
    path = stored(tmp_path / "h.safetensors", {"weight": torch.ones(1, 768)})
    line = "'h.safetensors' reads embeddings of 768 numbers, but .*demo-scenes-words gives 64: conn"
    with pytest.raises(ValueError, match=line):
        add_score_head(clip, path)


def test_the_demos_head_sees_how_bright_renders_are(clip):
    scored, pictures = add_score_head(clip, SCORE_HEAD), render(60, 12345).pictures()
    layer = load_file(SCORE_HEAD)
    with torch.no_grad():
        found, embeddings = scored(pictures), clip(pictures)
    torch.testing.assert_close(found, embeddings @ layer["weight"].T + layer["bias"])
    both = torch.stack((found[:, 0], brightness(pictures)))
    assert torch.corrcoef(both)[0, 1] > 0.6 and abs(both.mean(1).diff()) < 0.3
    assert "demo-scenes-brightness" in describe(scored)
    white = torch.ones(1, 3, 4, 4)
    assert brightness(white).item() == 10 and brightness(-white).item() == 0


def test_experts_of_the_embedding_fit_the_score_and_change_it(clip):
    """The expert merged into the score's network gives the score of the expert's embedding."""
    scored = add_score_head(clip, SCORE_HEAD)
    experts = load_experts(WORDS_EXPERTS).for_guider(clip)
    experts.check_fit(scored.backbone)
    pictures, layer = torch.randn(2, 3, 32, 32), load_file(SCORE_HEAD)
    with torch.no_grad():
        plain = scored(pictures)
        for guider in (clip, scored):
            guider.switch.activate(experts.select(5.0))
        found, embeddings = scored(pictures), clip(pictures)
    clip.switch.restore()
    torch.testing.assert_close(found, embeddings @ layer["weight"].T + layer["bias"])
    assert not torch.allclose(found, plain)


def test_a_fingerprint_tells_heads_and_activations_apart(tmp_path, clip):
    made = {"a": (mlp(), "none"), "b": (mlp(), "relu")}
    prints = {clip.info.fingerprint}
    for name, (network, activation) in made.items():
        path = stored(tmp_path / f"{name}.safetensors", layers_of(network))
        prints.add(add_score_head(clip, path, activation).info.fingerprint)
    again = add_score_head(clip, tmp_path / "a.safetensors").info.fingerprint
    assert len(prints) == 3 and again in prints


@pytest.mark.parametrize("raises", [True, False])
def test_a_score_is_pushed_until_it_is_as_wished(raises):
    """The gradient of min(s, w) or of -max(s, w): 1 or -1 before the wish, 0 beyond."""
    scores = torch.tensor([[3.0], [5.0], [6.5]], requires_grad=True)
    target = ScoreTarget((6.0,), raises)
    value = target.log_likelihood(scores)
    wanted = [3.0, 5.0, 6.0] if raises else [-6.0, -6.0, -6.5]
    assert value.tolist() == wanted
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    assert gradient[:, 0].tolist() == ([1, 1, 0] if raises else [0, 0, -1])
    assert target.agreement(scores.detach()).tolist() == [3.0, 5.0, 6.5]


def test_each_picture_may_have_its_own_wish_and_none_has_an_end():
    scores = torch.tensor([[3.0], [5.0]])
    assert ScoreTarget((4.0, 4.5)).log_likelihood(scores).tolist() == [3.0, 4.5]
    assert ScoreTarget().log_likelihood(scores).tolist() == [3.0, 5.0]
    with pytest.raises(ValueError, match="the target is for 3 pictures, the batch has 2"):
        ScoreTarget((1.0, 2.0, 3.0)).log_likelihood(scores)
    with pytest.raises(ValueError, match=r"reads one score \(B, 1\), the guider answers \(2, 3\)"):
        ScoreTarget().log_likelihood(torch.zeros(2, 3))


@pytest.mark.parametrize("wished", [float("nan"), float("inf")])
def test_a_wish_that_is_not_finite_is_refused(wished):
    with pytest.raises(ValueError, match="a wished score is a finite number"):
        ScoreTarget((wished,))


def test_scores_are_told_in_words():
    target = ScoreTarget((6.0,))
    told = target.wording(("{a} head",)).tell(4.9, 6.1)
    assert told == "the score {a} head was 4.90, now 6.10 (wished: 6 or more)"
    assert ScoreTarget().wording(("h",)).tell_live(4.9, 6.1) == "h 4.90 -> 6.10"
    lines = target.describe("h", [4.904]).splitlines()
    assert lines == ["raises the score h until it is 6", "the score of image: 4.90"]
    endless = ScoreTarget(raises=False).describe("h")
    assert endless.startswith("lowers the score h without an end\npictures may come to fool the")


def test_guidance_stops_where_the_wish_is_met(clip):
    """A picture that is bright enough is left as it is, its neighbour is not."""
    scored = add_score_head(clip, SCORE_HEAD)
    pictures = render(2, 5).pictures()
    with torch.no_grad():
        scores = scored(pictures)[:, 0]
    wished = (scores[0].item() - 0.1, scores[1].item() + 0.1)
    guidance = Guidance(scored, ScoreTarget(wished, made_for=scored.info.fingerprint))
    score = guidance.score(pictures, 0.1)
    assert not score.gradient[0].any() and score.gradient[1].any() and not score.is_lost
    with pytest.raises(ValueError, match="was made with another guider"):
        Guidance(scored, ScoreTarget(made_for=clip.info.fingerprint))
    with pytest.raises(ValueError, match="predicts embedding, the target is for class"):
        Guidance(clip, ScoreTarget())


def test_a_preview_asks_for_the_only_score_in_every_picture(clip):
    scored = add_score_head(clip, SCORE_HEAD)
    answers = torch.randn(9, 1)
    preview = CLASS.preview(scored.info, answers, 3)
    assert preview.names == ["demo-scenes-brightness"] * 3
    assert preview.target.log_likelihood(answers[:3]).tolist() == answers[:3, 0].tolist()
