"""Normals: closed forms, other packages' densities, and maps in all conventions."""

import math

import numpy
import pytest
import torch
from scipy.stats import vonmises_fisher

from ppap_core.targets.map_target import Frame, build_map_target
from ppap_core.targets.normal_maps import GREEN_DOWN, GREEN_UP, RED_LEFT, SIGNS, integrability
from ppap_core.targets.normals_target import NormalsTarget
from ppap_core.tasks import NORMALS


def directions(*shape, seed=0):
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def sphere(side=48):
    """The closed form: its normal at (x, y) is (x, y, z) with length 1; around it there is none."""
    up, right = torch.meshgrid(
        torch.linspace(1, -1, side), torch.linspace(-1, 1, side), indexing="ij"
    )
    inside = 1 - right.square() - up.square()
    return (torch.stack((right, up, inside.clamp(min=0).sqrt())) * (inside > 0))[None]


def drawn(normals, source):
    """The picture that a renderer with the axes of `source` makes, rounded to 8 bits."""
    signs = torch.tensor(SIGNS[source])[:, None, None]
    seen = normals.norm(dim=1, keepdim=True) > 0
    return ((((normals * signs).where(seen, -1.0) + 1) * 127.5).round() / 127.5) - 1


def build(image, source, predict=None, **frame):
    return build_map_target("normals", (), image, source, "VOC", Frame(**frame), None, predict)


@pytest.mark.parametrize("concentration", [1.0, 7.5])
def test_log_likelihood_is_scipys_density_less_its_peak(concentration):
    wanted, seen = directions(2, 3, 5, 6), directions(2, 3, 5, 6, seed=1)
    expected = []
    for one, other in zip(wanted.double().numpy(), seen.double().numpy(), strict=True):
        means, points = (maps.reshape(3, -1).T for maps in (one, other))
        found = []
        for mean, point in zip(means, points, strict=True):
            density = vonmises_fisher(mean / numpy.linalg.norm(mean), concentration)
            unit = point / numpy.linalg.norm(point)
            found.append(density.logpdf(unit) - density.logpdf(mean / numpy.linalg.norm(mean)))
        expected.append(numpy.mean(found))
    got = NormalsTarget(wanted, concentration=concentration).log_likelihood(3.0 * seen)
    numpy.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("degrees", [0.0, 12.0, 90.0, 180.0])
def test_agreement_is_the_angle_of_a_turn(degrees):
    wanted = directions(1, 3, 8, 8) * torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    angle = math.radians(degrees)
    turn = torch.tensor(  # around y, on which these have no part
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    seen = torch.einsum("ij,bjhw->bihw", turn, wanted)
    torch.testing.assert_close(
        NormalsTarget(wanted).agreement(seen), torch.tensor([degrees]), atol=0.1, rtol=0
    )
    told = NormalsTarget(wanted).wording(())
    assert told.tell_live(31.2, 11.8) == "normals differ by 31 -> 12 degrees"


def test_only_what_is_given_and_counts_is_asked_for():
    wanted, mask = sphere(), torch.ones(1, 48, 48)
    mask[:, :, :24] = 0
    target = NormalsTarget(wanted, mask)
    seen = wanted.clone()
    seen[..., :24] = -wanted[..., :24]
    seen[:, :, 0, 0] = torch.tensor([0.0, 1.0, 0.0])  # outside the sphere
    torch.testing.assert_close(target.log_likelihood(seen), torch.zeros(1), atol=1e-5, rtol=0)
    assert target.log_likelihood(-seen).item() == pytest.approx(-2.0, abs=1e-5)
    small = torch.nn.functional.avg_pool2d(wanted, 4)
    assert target.log_likelihood(small).item() > -0.01


def test_the_loss_of_experts_is_minus_the_log_likelihood():
    answer, teacher = directions(3, 3, 6, 6), directions(3, 3, 6, 6, seed=1)
    comparison = NORMALS.comparisons["normals"]
    expected = -NormalsTarget(teacher).log_likelihood(answer).mean()
    torch.testing.assert_close(comparison.loss(answer, teacher, 1.0), expected)
    assert comparison.agreement(answer, answer).tolist() == [1.0, 1.0, 1.0]
    near = torch.full((1, 3, 2, 2), 0.0)
    near[:, 2] = 1.0
    far = near.clone()
    far[:, 0, 0], far[:, 0, 1] = math.tan(math.radians(22)), math.tan(math.radians(23))
    assert comparison.agreement(far, near).item() == 0.5
    constant = comparison.constant(teacher, 1.0).expand_as(teacher)
    best = comparison.loss(constant, teacher, 1.0)
    assert all(best <= comparison.loss(x[None].expand_as(teacher), teacher, 1.0) for x in answer)


@pytest.mark.parametrize("source", SIGNS)
def test_a_map_in_its_own_convention_is_read_exactly_and_shown_in_ours(source):
    normals = sphere()
    made = build(drawn(normals, source), source)
    assert made.target.agreement(normals).item() < 0.5
    assert "\n" not in made.info and made.info.startswith("normals target for 1 picture, 48 x 48")
    again = build(made.preview, GREEN_UP)
    torch.testing.assert_close(again.target.normals, made.target.normals, atol=1e-5, rtol=0)
    assert again.target.mask.equal(made.target.mask)


@pytest.mark.parametrize(
    ("source", "others"),
    [(GREEN_UP, [GREEN_DOWN, RED_LEFT]), (GREEN_DOWN, [GREEN_UP]), (RED_LEFT, [GREEN_UP])],
)
def test_a_map_in_another_convention_is_told_and_not_turned(source, others, caplog):
    for other in others:
        image = drawn(sphere(), other)
        made = build(image, source)
        note = made.info.split("\n")[1]
        assert note.startswith("its slopes are not those of one surface")
        assert repr(other) in note and repr(source) not in note and note in caplog.text
        given = image * torch.tensor(SIGNS[source])[:, None, None]
        torch.testing.assert_close(
            made.target.normals[:, :, 24, 20], given[:, :, 24, 20], atol=0.02, rtol=0
        )


def test_a_map_that_faces_away_is_told():
    away = sphere() * torch.tensor([1.0, 1.0, -1.0])[:, None, None]
    assert "faces away from the viewer" in build(drawn(away, GREEN_UP), GREEN_UP).info


def test_a_guider_with_other_axes_is_told():
    turned = sphere() * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    image = torch.zeros(1, 3, 96, 96)
    made = build(image, "reference picture", predict=lambda seen: turned)
    assert made.info.endswith("use it with reference pictures only")
    made = build(image, "reference picture", predict=lambda seen: sphere())
    assert "\n" not in made.info and made.preview.shape == (1, 3, 96, 96)


def test_flat_walls_say_nothing_about_their_axes():
    walls = torch.zeros(1, 3, 16, 16)
    walls[:, 2] = 1.0
    assert integrability(walls) == 0.0
    assert "\n" not in build(drawn(walls, GREEN_UP), GREEN_DOWN).info


def test_a_map_of_a_few_pixels_is_read():
    assert build(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 5), GREEN_UP)


def test_padding_asks_for_nothing():
    made = build(drawn(sphere(), GREEN_UP), GREEN_UP, width=96, height=48, fit="pad")
    assert made.preview.shape == (1, 3, 48, 96) and not made.target.mask[:, :, :24].any()


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (torch.rand(1, 3, 16, 16) * 2 - 1, r"colours are no directions, so it is no normal map"),
        (torch.linspace(-1, 1, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16), "no directions"),
        (torch.full((1, 3, 4, 4), -1.0), "the normal map says nothing wherever it counts"),
        (torch.eye(16).expand(1, 3, 16, 16) * 2 - 1, "100% of the image's colours"),
    ],
)
def test_other_pictures_are_refused_in_one_line(image, line):
    with pytest.raises(ValueError, match=line) as error:
        build(image, GREEN_UP)
    assert "\n" not in str(error.value)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"reads normals \(B, 3, h, w\).*connect a normals model"):
        NormalsTarget(sphere()).log_likelihood(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="the target is for 2 pictures, the batch has 3"):
        NormalsTarget(sphere().expand(2, -1, -1, -1)).log_likelihood(torch.zeros(3, 3, 4, 4))
    with pytest.raises(ValueError, match="concentration has to be above 0"):
        NormalsTarget(sphere(), concentration=0.0)
    with pytest.raises(ValueError, match="is a target for normals, the guider predicts depth"):
        build_map_target("depth", (), sphere(), GREEN_UP, "VOC", Frame(), None, None)
