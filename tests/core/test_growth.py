"""What a training holds in memory does not grow with its pictures, and little is lost to a kill."""

import multiprocessing
import os
import signal
from dataclasses import replace

import psutil
import pytest
import torch
from torch import nn

from ppap_core.distillation import generate as drawing
from ppap_core.distillation.batch import Lessons, Reader
from ppap_core.distillation.checksums import save_rows
from ppap_core.distillation.distill import distill
from ppap_core.distillation.estimates import estimate_tensors
from ppap_core.distillation.generate import GenerateSettings, TooSlow, generate
from ppap_core.distillation.images import append_manifest, read_manifest, read_source, save_png
from ppap_core.distillation.pictures import Pictures
from ppap_core.distillation.rows import RowFile, RowWriter
from ppap_core.distillation.settings import DistillSettings
from ppap_core.distillation.state import check_state, resume, settings_by_name
from ppap_core.distillation.training_set import build_training_set
from ppap_core.folder_lock import only_training_in
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing
from ppap_core.parts import in_parts
from tests.core.test_run import SETTINGS, same, tensors_of, tiny_data, tiny_guider

SOURCE = {"checkpoint": "a.safetensors", "fingerprint": "1" * 64, "latent_format": "SD15"}
LEVELS = torch.tensor([100.0, 3.0, 0.1])


def dies(work) -> None:
    """Run `work` in a process of its own, which has to be killed in it."""
    child = multiprocessing.get_context("fork").Process(target=_alone, args=(work,))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


def _alone(work) -> None:
    torch.set_num_threads(1)
    work()
    os._exit(0)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def classifier(side=8, classes=3):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes))
    info = GuiderInfo("timm/net", "net", "class", tuple(map(str, range(classes))), "f" * 64)
    return Guider(net, Preprocessing((side, side), (0.5,) * 3, (0.5,) * 3), info)


def latents_folder(folder, num, side=64):
    """Synthetic latents and estimates (4, side, side); the pictures are links to one file."""
    save_png(torch.zeros(3, 8, 8), folder / "images/0000000.png")
    lines = []
    for begin in range(0, num, 100):
        seeds = list(range(begin, begin + 100))
        latents = torch.randn(100, 4, side, side, generator=torch.Generator().manual_seed(begin))
        latents = latents.half()
        names = [f"{kind}/{begin:07d}.safetensors" for kind in ("latents", "estimates")]
        save_rows(
            {str(s): latent for s, latent in zip(seeds, latents, strict=True)},
            folder / names[0],
            recipe={},
        )
        estimates = estimate_tensors(LEVELS[:2], torch.stack([latents, -latents], 1), seeds, 2)
        save_rows(estimates, folder / names[1], recipe={})
        for seed in seeds:
            file = f"images/{seed:07d}.png"
            if seed:
                os.link(folder / "images/0000000.png", folder / file)
            lines.append({"file": file, "seed": seed, "latent": names[0], "estimates": names[1]})
    append_manifest(folder, lines)


def test_memory_stays_flat_as_the_set_of_pictures_grows(tmp_path):
    """2000 pictures: 66 MB of states, 131 MB of estimates, 16 MB of answers."""
    settings, held = DistillSettings(batch_size=32, input="x0_hat", num_experts=1), {}
    for num in (200, 2000):
        latents_folder(tmp_path / str(num), num)
        before = psutil.Process().memory_info().rss
        data = build_training_set(
            tmp_path / str(num),
            classifier(classes=2000),
            process_in=lambda latent: latent * 0.5,
            cache=tmp_path / f"cache{num}",
            with_estimates=True,
        )
        assert data.estimates is not None and len(data) == num
        for chosen in (data, replace(data, estimates=None)):
            lessons = Lessons(chosen, Reader(), lambda image: image)
            for step in range(20):
                lessons.batch(settings.ranges()[0], settings, step, torch.device("cpu"))
        held[num] = psutil.Process().memory_info().rss - before
    assert held[2000] < held[200] + 40e6, held


def test_rows_on_disk_are_the_tensors_bit_for_bit(tmp_path):
    for dtype in (torch.uint8, torch.float16, torch.float32):
        rows = (torch.rand(50, 3, 4, 5) * 200).to(dtype)
        writer = RowWriter(tmp_path / f"{dtype}.npy")
        for part in rows.split(7):
            writer.append(part)
        found = RowFile.whole(writer.path)
        assert (len(found), tuple(found.shape), found.dtype) == (50, rows.shape, dtype)
        chosen = torch.tensor([3, 3, 49, 0])
        assert found[chosen].equal(rows[chosen])
        part = found[5:][:-10]
        assert len(part) == 35 and part[torch.arange(35)].equal(rows[5:40])
        assert len(found[60:]) == 0 and len(found[torch.arange(0)]) == 0


def test_rows_after_those_that_were_recorded_are_written_anew(tmp_path):
    rows = torch.arange(40.0).view(10, 4)
    RowWriter(tmp_path / "a.npy").append(rows)
    RowWriter(tmp_path / "a.npy", 6).append(-rows[:2])
    found = RowFile.whole(tmp_path / "a.npy")
    assert found[torch.arange(8)].equal(torch.cat([rows[:6], -rows[:2]])) and len(found) == 8
    with pytest.raises(ValueError, match="rows of another size"):
        RowWriter(tmp_path / "a.npy", 6).append(torch.zeros(1, 5))


@pytest.mark.parametrize("at", [1, 64, 65, 128])
def test_a_teacher_killed_while_it_answers_resumes(tmp_path, at, monkeypatch):
    """With the first record after the first chunk of 64: later ones are not asked about again."""
    monkeypatch.setattr("ppap_core.distillation.answered.SECONDS", 0)
    latents_folder(tmp_path / "pictures", 200, side=2)
    make = {"process_in": lambda latent: latent * 0.5, "cache": tmp_path / "cache"}
    whole = build_training_set(tmp_path / "pictures", classifier(), process_in=make["process_in"])
    read = []

    def stop(num):
        read.append(num)
        if sum(read) >= at:
            kill()

    dies(lambda: build_training_set(tmp_path / "pictures", classifier(), watch=stop, **make))
    seen = []
    data = build_training_set(tmp_path / "pictures", classifier(), watch=seen.append, **make)
    assert seen[0] == -(-at // 64) * 64 and sum(seen) == 200
    again = data.in_memory()
    assert again.states.equal(whole.states) and again.answers.equal(whole.answers)
    assert data.fingerprint == whole.fingerprint


def test_latents_in_another_scale_are_read_anew(tmp_path):
    latents_folder(tmp_path / "pictures", 100, side=2)
    for scale in (0.5, 0.25):
        data = build_training_set(
            tmp_path / "pictures",
            classifier(),
            process_in=lambda latent, scale=scale: latent * scale,
            cache=tmp_path / "cache",
        )
        plain = build_training_set(
            tmp_path / "pictures",
            classifier(),
            process_in=lambda latent, scale=scale: latent * scale,
        )
        assert data.in_memory().states.equal(plain.states)


def test_a_killed_training_has_lost_no_more_than_its_seconds(tmp_path):
    """However long its steps are: here every one is longer than `save_seconds`."""
    file, whole = tmp_path / "state.safetensors", distill(tiny_guider(), tiny_data(), SETTINGS)
    steps = []

    def stop(progress):
        steps.append(progress)
        if len(steps) == 9:
            kill()

    dies(
        lambda: distill(tiny_guider(), tiny_data(), SETTINGS, file=file, save_seconds=0, watch=stop)
    )
    assert resume(file, "").step == 8
    again = distill(tiny_guider(), tiny_data(), SETTINGS, file=file)
    assert same(tensors_of(again), tensors_of(whole))


def paint(seeds, prompts):
    images = [torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return Pictures(torch.stack(images) * len(seeds) / 8, None)  # depends on the batch's size


def pixels(folder):
    return {path.name: path.read_bytes() for path in folder.glob("images/*.png")}


NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
TOO_MANY = [(1, TooSlow(8, 200.0)), (2, torch.OutOfMemoryError()), (5, NO_MEMORY)]


@pytest.mark.parametrize(("killed_at", "error"), TOO_MANY)
def test_pictures_that_are_too_many_are_kept_in_small_parts(tmp_path, killed_at, error):
    """A batch of 8 is given up for parts of 2, now and by the process that resumes."""
    drawn = []

    def slow(seeds, prompts):
        if len(seeds) > 3:
            raise error
        drawn.append(seeds)
        if len(drawn) == killed_at and folder.name == "killed":
            kill()
        return paint(seeds, prompts)

    settings = GenerateSettings(num_images=12, batch_size=8)
    folder = tmp_path / "whole"
    generate(slow, settings, folder, SOURCE)
    assert drawn == [[i, i + 1] for i in range(0, 12, 2)]
    assert read_source(folder)["at_once"] == 2
    drawn, folder = [], tmp_path / "killed"
    dies(lambda: generate(slow, settings, folder, SOURCE))
    kept = len(read_manifest(folder)) // 2  # the last one may not have been written yet
    assert killed_at - 2 <= kept <= killed_at - 1
    folder = folder.rename(tmp_path / "resumed")
    generate(slow, settings, folder, SOURCE)
    assert len(drawn) == 6 - kept
    assert pixels(folder) == pixels(tmp_path / "whole")


def test_a_batch_that_took_minutes_is_kept_and_the_next_ones_are_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "LONGEST", 1e-6)
    sizes = []

    def sample(seeds, prompts):
        sizes.append(len(seeds))
        return paint(seeds, prompts)

    generate(sample, GenerateSettings(num_images=12, batch_size=8), tmp_path, SOURCE)
    assert sizes == [8, 1, 1, 1, 1] and len(pixels(tmp_path)) == 12


@pytest.mark.parametrize(
    ("changes", "facts", "message"),
    [
        ({}, {"num_images": 30}, "num_images was 24, now 30"),
        ({}, {"guider": "b"}, "guider was 'a', now 'b'"),
        ({"learning_rate": 0.5}, {}, "learning_rate was 0.002, now 0.5"),
        ({"seed": 3, "steps": 13}, {}, "steps was 12, now 13; seed was 0, now 3"),
    ],
)
def test_what_differs_from_a_state_is_named_before_anything_is_done(
    tmp_path, changes, facts, message
):
    file, known = tmp_path / "state.safetensors", {"num_images": 24, "guider": "a"}
    distill(tiny_guider(), tiny_data(), replace(SETTINGS, num_experts=1), file=file, facts=known)
    settings = replace(SETTINGS, num_experts=1)
    check_state(file, settings_by_name(settings) | known)
    check_state(file, settings_by_name(settings))
    with pytest.raises(ValueError, match=message):
        check_state(file, settings_by_name(replace(settings, **changes)) | known | facts)


def test_a_refused_setting_of_a_folder_without_pictures_binds_nobody(tmp_path):
    """A run that stopped before its first picture has decided nothing."""

    def fails(seeds, prompts):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        generate(fails, GenerateSettings(num_images=4, steps=3), tmp_path, SOURCE)
    generate(paint, GenerateSettings(num_images=4, steps=7), tmp_path, SOURCE)
    assert read_source(tmp_path)["settings"]["steps"] == 7


def test_two_trainings_in_a_folder_are_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    def works_and_dies():
        with only_training_in(tmp_path):
            kill()

    dies(works_and_dies)
    with only_training_in(tmp_path):
        with pytest.raises(
            RuntimeError, match=f"another training works in .*process {os.getpid()}"
        ):
            with only_training_in(tmp_path):
                pass
        with only_training_in(tmp_path / "other"):
            pass
    with only_training_in(tmp_path):
        pass


@pytest.mark.parametrize("at_once", [1, 3, 16, 48])
def test_answers_and_gradients_in_parts_are_those_of_one_pass(at_once):
    guider, image = classifier(), torch.randn(48, 3, 8, 8)
    expected, found = [], []
    for kept, size in ((expected, 48), (found, at_once)):
        x = image.clone().requires_grad_(True)
        answer = in_parts(guider, x, size)
        answer.square().sum().backward()
        kept += [answer, x.grad]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    largest = []
    guider.register_forward_pre_hook(lambda _, args: largest.append(len(args[0])))
    with torch.no_grad():
        in_parts(guider, image, at_once)
    assert max(largest) == at_once and sum(largest) == 48
