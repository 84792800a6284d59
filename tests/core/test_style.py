"""Styles: statistics against numpy on transformers' own hidden states; targets in closed form."""

import pytest
import torch
import transformers

from demo.paths import WORDS_EXPERTS, WORDS_GUIDER
from demo.scenes import render
from ppap_core.expert_file import load_experts
from ppap_core.guidance import Guidance
from ppap_core.guiders import load_guider, style_guider
from ppap_core.targets.style_target import StyleTarget
from ppap_core.tasks import STYLE
from tests.core.tiny_guiders import embedding_folder


@pytest.fixture(scope="module")
def clip():
    return load_guider(WORDS_GUIDER)


@pytest.fixture(scope="module")
def styled(clip):
    return style_guider(clip)


def test_an_answer_is_mean_and_deviation_of_the_librarys_hidden_states(styled):
    """Of the demo's four layers the second, third and fourth; the picture is read as it is."""
    pictures = render(2, 7).pictures()
    model = transformers.CLIPVisionModel.from_pretrained(WORDS_GUIDER).float().eval()
    with torch.no_grad():
        states = model(pictures, output_hidden_states=True).hidden_states
        found = styled(pictures)
    chosen = [states[layer].double().numpy() for layer in (2, 3, 4)]
    wanted = [s.mean(1) for s in chosen] + [s.std(1) for s in chosen]
    wanted = torch.cat([torch.from_numpy(part) for part in wanted], 1).float()
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("name", ["SiglipModel", "Dinov2Model"])
def test_other_embedding_models_have_a_style_too(tmp_path, name):
    guider = style_guider(load_guider(embedding_folder(tmp_path / name, name)))
    with torch.no_grad():
        assert guider(torch.rand(1, 3, 40, 40)).shape == (1, 2 * 3 * 32)


def test_experts_of_the_embedding_fit_the_style(clip, styled):
    load_experts(WORDS_EXPERTS).for_guider(clip).check_fit(styled.backbone)


def test_a_style_is_half_the_squared_difference_in_deviations():
    """Means 1 and 2, deviations 0.5 and 2; each difference beside its channel's deviation."""
    target = StyleTarget(torch.tensor([[1.0, 2.0, 0.5, 2.0]]))
    answer = torch.tensor([[1.5, 2.0, 0.5, 6.0], [1.0, 2.0, 0.5, 2.0]])
    assert target.log_likelihood(answer).tolist() == [-(1 + 4) / 4 / 2, 0.0]
    assert target.agreement(answer).tolist() == pytest.approx([(5 / 4) ** 0.5, 0.0])
    assert STYLE.comparisons["statistics"].loss(answer, target.statistics.expand(2, -1)) == 5 / 16
    with pytest.raises(ValueError, match=r"statistics are \(R, 2 C\), got \(1, 3\)"):
        StyleTarget(torch.ones(1, 3))
    with pytest.raises(ValueError, match="made for 4 statistics, the guider answers"):
        target.agreement(torch.ones(1, 6))


def test_a_step_along_the_gradient_comes_nearer_to_the_style(styled):
    reference, picture = render(2, 8).pictures().split(1)
    with torch.no_grad():
        target = StyleTarget(styled(reference), styled.info.fingerprint)
        before = target.agreement(styled(picture))
        gradient = Guidance(styled, target).score(picture, 0.1).gradient
        after = target.agreement(styled(picture + 0.5 * gradient / gradient.norm()))
    assert after < before
    preview = STYLE.preview(None, styled(torch.cat((reference, picture))).detach(), 2)
    assert preview.names == ["target 1", "target 2"]


def test_a_guider_that_is_no_embedding_model_is_refused(styled):
    with pytest.raises(ValueError, match="a style needs a CLIP, SigLIP or DINO that this pack"):
        style_guider(styled)
