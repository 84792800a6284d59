"""Estimates kept beside training pictures: which, how they are found again, what experts learn."""

import shutil
from dataclasses import replace

import pytest
import torch

from ppap_core.distillation.batch import Lessons, Reader
from ppap_core.distillation.estimates import Estimates, choose_steps, read_estimates
from ppap_core.distillation.generate import GenerateSettings, generate
from ppap_core.distillation.images import find_images, read_latent
from ppap_core.distillation.pictures import Pictures
from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.training_set import TrainingSet
from ppap_core.errors import SettingError
from ppap_core.noise import SIGMA_VE_MAX, NoiseRange

SOURCE = {"checkpoint": "a.safetensors", "fingerprint": "1" * 64, "latent_format": "SD15"}
LEVELS = torch.tensor([100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1])


def sampler(seeds, prompts):
    """Every value of an estimate is its seed plus its step / 100: known again in half precision."""
    images = torch.zeros(len(seeds), 3, 8, 8)
    values = torch.tensor(seeds)[:, None] + torch.arange(len(LEVELS)) / 100
    estimates = values.half()[:, :, None, None, None].expand(-1, -1, 4, 2, 2)
    return Pictures(images, torch.zeros(len(seeds), 4, 2, 2), LEVELS, estimates)


@pytest.mark.parametrize(("num_kept", "expected"), [(3, 3), (7, 7), (20, 7), (1, 1)])
def test_one_step_of_each_stretch_is_kept_and_all_pictures_cover_all(num_kept, expected):
    kept = [choose_steps(7, num_kept, seed) for seed in range(40)]
    assert all(len(steps) == expected and steps == sorted(set(steps)) for steps in kept)
    assert {step for steps in kept for step in steps} == set(range(7))


def test_estimates_are_found_again_with_their_levels(tmp_path):
    settings = GenerateSettings(num_images=10, batch_size=4, num_estimates=3)
    generate(sampler, settings, tmp_path, SOURCE)
    lines = find_images(tmp_path)
    found = read_estimates(tmp_path, lines)
    assert found.x0_hat.shape == (10, 3, 4, 2, 2)
    columns = torch.arange(3)
    for row, line in enumerate(lines):
        steps = choose_steps(7, 3, line["seed"])
        assert found.sigma_ve[row].equal(LEVELS[steps])
        expected = line["seed"] + torch.tensor(steps) / 100
        values = found.x0_hat[torch.full((3,), row), columns][:, 0, 0, 0].float()
        torch.testing.assert_close(values, expected, atol=5e-3, rtol=0)


def test_a_deleted_picture_takes_its_estimates_along(tmp_path):
    generate(
        sampler, GenerateSettings(num_images=6, batch_size=4, num_estimates=2), tmp_path, SOURCE
    )
    (tmp_path / "images" / "0000002.png").unlink()
    lines = find_images(tmp_path)
    first = torch.zeros(len(lines), dtype=torch.long)
    found = read_estimates(tmp_path, lines).x0_hat[torch.arange(len(lines)), first]
    seeds = found[:, 0, 0, 0].floor().int().tolist()
    assert seeds == [line["seed"] for line in lines] == [0, 1, 3, 4, 5]


def test_pictures_without_estimates_have_none(tmp_path):
    def plain(seeds, prompts):
        return sampler(seeds, prompts)._replace(sigma_ve=None, estimates=None)

    generate(plain, GenerateSettings(num_images=4), tmp_path, SOURCE)
    assert read_estimates(tmp_path, find_images(tmp_path)) is None


def test_pictures_with_different_numbers_of_estimates_have_none(tmp_path, caplog):
    generate(sampler, GenerateSettings(num_images=4, num_estimates=2), tmp_path, SOURCE)
    generate(sampler, GenerateSettings(num_images=8, batch_size=4), tmp_path, SOURCE)
    assert read_estimates(tmp_path, find_images(tmp_path)) is None
    assert "estimates of different numbers or kinds" in caplog.text


def test_a_damaged_file_of_estimates_is_named_and_none_are_used(tmp_path, caplog):
    generate(sampler, GenerateSettings(num_images=4, num_estimates=2), tmp_path, SOURCE)
    file = tmp_path / "estimates" / "0000000.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert read_estimates(tmp_path, find_images(tmp_path)) is None
    assert file.name in caplog.text


@pytest.mark.parametrize(
    ("name", "settings", "source"),
    [
        ("steps", {"steps": 25}, {}),
        ("sampler_name", {"sampler_name": "euler"}, {}),
        ("checkpoint", {}, {"checkpoint": "b.safetensors"}),
    ],
)
def test_files_of_another_recipe_than_the_manifests_are_not_used(
    tmp_path, caplog, name, settings, source
):
    """Of the same seeds, from a folder that was sampled otherwise."""
    here, there, default = tmp_path / "here", tmp_path / "there", GenerateSettings(num_images=4)
    generate(sampler, default, here, SOURCE)
    generate(sampler, replace(default, **settings), there, SOURCE | source)
    lines = find_images(here)
    shutil.copytree(there / "estimates", here / "estimates", dirs_exist_ok=True)
    assert read_estimates(here, lines) is None
    assert f"0000000.safetensors cannot be read: it was made with {name}" in caplog.text
    assert read_latent(here, lines[0]) is not None
    shutil.copytree(there / "latents", here / "latents", dirs_exist_ok=True)
    with pytest.raises(ValueError, match=f"it was made with {name} .*, its picture with"):
        read_latent(here, lines[0])


@pytest.mark.parametrize("place", [0, 1], ids=["levels", "estimates"])
def test_a_damaged_estimate_is_never_learned_from(tmp_path, caplog, place):
    generate(sampler, GenerateSettings(num_images=4, num_estimates=2), tmp_path, SOURCE)
    file, lines = tmp_path / "estimates" / "0000000.safetensors", find_images(tmp_path)
    data = file.read_bytes()
    of_picture_1 = LEVELS[choose_steps(7, 2, 1)], torch.full((16,), 1.01).half()
    values = of_picture_1[place].numpy().tobytes()
    assert values in data
    file.write_bytes(data.replace(values, bytes(len(values))))
    found = read_estimates(tmp_path, lines)
    if place == 0:
        assert found is None and "the checksum of 1/sigma_ve is wrong" in caplog.text
        return
    chosen = torch.tensor([1, 1]), torch.tensor([0, 1])
    with pytest.raises(SettingError, match="the checksum of 1 is wrong: take fresh estimates"):
        found.x0_hat[chosen]


def kept(num=200):
    """Pictures whose estimates are their row, at all LEVELS."""
    rows = torch.arange(num, dtype=torch.float16)
    x0_hat = rows[:, None, None, None, None].expand(-1, len(LEVELS), 3, 2, 2)
    return Estimates(LEVELS.expand(num, -1), x0_hat)


def data_of(estimates):
    num = len(estimates.sigma_ve)
    states = torch.zeros(num, 3, 2, 2, dtype=torch.uint8)
    return TrainingSet(states, torch.arange(num)[:, None].float(), "", estimates)


def test_a_batch_pairs_estimates_of_its_range_with_their_pictures_answers():
    settings = DistillSettings(batch_size=64, accumulation=3)
    reader = Reader(view=lambda state: state + 1)
    noise_range = NoiseRange(0.5, 20.0)
    lessons = Lessons(data_of(kept()), reader, lambda image: image)
    batch = lessons.batch(noise_range, settings, 5, torch.device("cpu"))
    assert sum(piece.weight for piece in batch.pieces) == pytest.approx(1)
    assert all(noise_range.low <= s < noise_range.high for s in batch.sigma_ve.tolist())
    assert set(batch.sigma_ve.tolist()) == {10.0, 3.0, 1.0}
    for piece in batch.pieces:
        assert piece.image[:, 0, 0, 0].equal(piece.answer[:, 0] + 1)


def test_pure_noise_counts_in_the_outermost_range_of_timesteps():
    levels = torch.full((4, 1), SIGMA_VE_MAX)
    estimates = Estimates(levels, torch.zeros(4, 1, 3, 2, 2))
    last = DistillSettings(partition="timestep").ranges()[-1]
    assert len(estimates.within(last)[0]) == 4


def test_a_range_without_estimates_learns_from_the_nearest():
    levels = torch.tensor([[0.045, 0.2, 1.0], [0.3, 0.6, 1.0]])
    few, lowest = Estimates(levels, torch.zeros(2, 3, 3, 2, 2)), NoiseRange(0.05, 0.166)
    pictures, columns = few.within(lowest)
    assert (pictures.tolist(), columns.tolist()) == ([0, 1], [0, 0])
    assert few.missing([lowest, NoiseRange(0.166, 0.5)]) == [lowest]


@pytest.mark.parametrize("steps", [10, 25])
def test_the_default_ranges_have_estimates_of_the_default_sampler(steps):
    """Of Stable Diffusion, whose last step lies below all ranges and whose last but one above the
    first of them. The levels are those of scaled linear betas (Rombach et al., 2022)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.double) ** 2
    kept_signal = (1 - betas).cumprod(0)
    sigma_ve = ((1 - kept_signal) / kept_signal).sqrt()[1 :: 1000 // steps].flip(0).float()
    found = Estimates(sigma_ve.expand(4, -1), torch.zeros(4, len(sigma_ve), 3, 2, 2))
    for noise_range in DistillSettings().ranges():
        assert len(found.within(noise_range)[0]) >= 4


def test_the_nearest_estimate_serves_the_evaluation():
    assert kept(3).nearest(NoiseRange(0.2, 0.5)).tolist() == [5, 5, 5]


def test_splitting_keeps_estimates_with_their_pictures():
    training, heldout = data_of(kept(100)).split(10)
    assert len(training.estimates.sigma_ve) == 90
    assert heldout.estimates.x0_hat[:, 0, 0, 0, 0].tolist() == list(range(90, 100))
    assert replace(heldout, estimates=None).split(1)[0].estimates is None
