"""Drawing a folder of pictures: nothing twice, nothing lost, every picture known by its line."""

from dataclasses import replace

import pytest
import torch

from ppap_core.distillation.generate import GenerateSettings, generate, prompt_for
from ppap_core.distillation.images import (
    find_images,
    load_images,
    read_latent,
    read_manifest,
    read_source,
)
from ppap_core.distillation.pictures import Pictures

SETTINGS = GenerateSettings(num_images=10, batch_size=4)
SOURCE = {"checkpoint": "a.safetensors", "fingerprint": "1" * 64, "latent_format": "SD15"}


class Painter:
    """Pictures and latents that depend on their seed alone; stops after `batches` of them."""

    def __init__(self, batches=100):
        self.batches, self.drawn = batches, []

    def __call__(self, seeds, prompts):
        if len(self.drawn) == self.batches:
            raise KeyboardInterrupt
        self.drawn.append(list(seeds))
        images = [torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]
        latents = [torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return Pictures(torch.stack(images), torch.stack(latents))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_resumed_generation_gives_the_same_pictures(tmp_path):
    generate(Painter(), SETTINGS, tmp_path / "whole", SOURCE)
    with pytest.raises(KeyboardInterrupt):
        generate(Painter(batches=1), SETTINGS, tmp_path / "two", SOURCE)
    later = Painter()
    generate(later, SETTINGS, tmp_path / "two", SOURCE)
    assert later.drawn == [[4, 5, 6, 7], [8, 9]]
    assert contents(tmp_path / "two") == contents(tmp_path / "whole")
    assert read_manifest(tmp_path / "two") == read_manifest(tmp_path / "whole")


def test_half_written_manifest_line_costs_only_its_batch(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    later = Painter()
    generate(later, SETTINGS, tmp_path, SOURCE)
    assert later.drawn == [[8, 9]]
    assert [line["seed"] for line in read_manifest(tmp_path)] == list(range(10))


def test_deleted_picture_is_not_generated_again(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    (tmp_path / "images/0000003.png").unlink()
    later = Painter()
    generate(later, SETTINGS, tmp_path, SOURCE)
    assert not later.drawn
    assert len(load_images(tmp_path)) == 9


def test_num_images_can_be_raised_later(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    later = Painter()
    generate(later, GenerateSettings(num_images=14, batch_size=4), tmp_path, SOURCE)
    assert len(load_images(tmp_path)) == 14


def test_manifest_line_records_how_its_picture_was_made(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    line = read_manifest(tmp_path)[5]
    assert line["seed"] == 5 and line["batch"] == [4, 4] and line["checkpoint"] == "a.safetensors"
    assert (line["steps"], line["sampler_name"], line["cfg"]) == (10, "ddim", 1.0)
    again = Painter()(list(range(4, 8)), [""] * 4)
    assert read_latent(tmp_path, line).equal(again.latent[1].half())
    assert read_source(tmp_path)["fingerprint"] == SOURCE["fingerprint"]


def test_prompt_depends_on_the_seed_not_on_the_batch(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cone\n\n  a cube \na torus\n")
    settings = GenerateSettings(num_images=30, batch_size=7, prompts=str(prompts))
    generate(Painter(), settings, tmp_path / "out", SOURCE)
    used = [line["prompt"] for line in read_manifest(tmp_path / "out")]
    assert set(used) == {"a cone", "a cube", "a torus"}
    assert used == [prompt_for(seed, ["a cone", "a cube", "a torus"]) for seed in range(30)]


def test_another_checkpoints_folder_is_refused_unless_forced(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    other = {**SOURCE, "checkpoint": "b.safetensors", "fingerprint": "2" * 64}
    with pytest.raises(ValueError, match="are from a.safetensors .*force the use"):
        generate(Painter(), SETTINGS, tmp_path, other)
    generate(Painter(), SETTINGS, tmp_path, other, force=True)


@pytest.mark.parametrize(
    "changes", [{"steps": 7}, {"sampler_name": "euler"}, {"cfg": 3.0}, {"width": 64}, {"seed": 4}]
)
def test_pictures_sampled_with_other_settings_are_refused_unless_forced(tmp_path, changes):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    before = contents(tmp_path)
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"were sampled with {name} .* now it is {value!r}"):
        generate(Painter(), replace(SETTINGS, **changes), tmp_path, SOURCE)
    assert contents(tmp_path) == before
    generate(Painter(), replace(SETTINGS, **changes), tmp_path, SOURCE, force=True)


def test_source_is_written_once(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    before = contents(tmp_path)
    generate(Painter(), replace(SETTINGS, num_images=5, num_estimates=0), tmp_path, SOURCE)
    assert contents(tmp_path) == before


def test_own_pictures_need_no_manifest(tmp_path):
    generate(Painter(), SETTINGS, tmp_path, SOURCE)
    for name in ("manifest.jsonl", "source.json"):
        (tmp_path / name).unlink()
    assert len(find_images(tmp_path)) == len(load_images(tmp_path)) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_images": 0}, "num_images has to be"), ({"prompts": "no.txt"}, "no prompt file no.txt")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GenerateSettings(**settings)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_prompt_file_without_prompts_is_refused(tmp_path, text):
    """It was read as the empty prompt."""
    (tmp_path / "prompts.txt").write_text(text)
    with pytest.raises(ValueError, match="prompts.txt is empty"):
        GenerateSettings(prompts=str(tmp_path / "prompts.txt")).read_prompts()
