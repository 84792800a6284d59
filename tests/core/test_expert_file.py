"""Expert files come back bit for bit, and whatever is wrong with one is said in one line."""

import hashlib
import json
import struct
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ppap_core.distillation.settings import AdapterSettings
from ppap_core.distillation.student import Student
from ppap_core.expert_file import ExpertSet, load_experts, save_experts
from ppap_core.expert_header import ExpertHeader, LoraSpec, describe
from ppap_core.experts import PEFT_PREFIX, Expert, NoiseExperts
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, fingerprint
from ppap_core.noise import partition_by_timestep
from ppap_core.reading import Reading
from ppap_core.spectrum import GENERIC, DataSpectrum


def build_guider(seed=0, width=4):
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 5),
    )
    info = GuiderInfo(
        f"timm/net{seed}", "net", "class", tuple("abcde"), fingerprint(backbone.state_dict())
    )
    return Guider(backbone, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), info)


def build_expert_set(guider, num_experts=2):
    """Experts whose every value is drawn at random."""
    student = Student(guider.backbone, AdapterSettings(rank=2, lora_alpha=3.0, max_touched=1.0))
    ranges = partition_by_timestep(num_experts)
    experts = [
        Expert(r, {k: torch.randn_like(v) for k, v in student.tensors().items()}, 1.5)
        for r in ranges
    ]
    header = ExpertHeader.for_guider(
        guider,
        **{"input": "x_t", "view": "identity", "latent_format": "ChromaRadiance"},
        checkpoint="demo.safetensors",
        noise_ranges=tuple(ranges),
        lora=student.spec,
        training={"steps": 3, "losses": [0.5, 0.25]},
    )
    return ExpertSet(header, NoiseExperts(experts))


@pytest.fixture
def guider():
    return build_guider()


@pytest.fixture
def path(guider, tmp_path):
    """A sound file of two experts."""
    save_experts(build_expert_set(guider), tmp_path / "two.safetensors")
    return tmp_path / "two.safetensors"


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def rewrite(path, change):
    """Save the file anew after `change(tensors, metadata)`."""
    tensors, metadata = load_file(path), metadata_of(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def refusal(path, guider=None):
    """The one line with which the file is refused."""
    with pytest.raises(ValueError) as caught:
        expert_set = load_experts(path)
        expert_set.for_guider(guider)
    line = str(caught.value)
    assert line.startswith(f"expert file {path.name!r}: ") and "\n" not in line
    return line


@pytest.mark.parametrize("num_experts", [1, 2, 12])
def test_experts_come_back_bit_for_bit(guider, tmp_path, num_experts):
    saved = build_expert_set(guider, num_experts)
    save_experts(saved, tmp_path / "file.safetensors")
    loaded = load_experts(tmp_path / "file.safetensors")
    assert json.dumps(asdict(loaded.header)) == json.dumps(asdict(saved.header))
    assert loaded.for_guider(guider) is loaded.experts
    for old, new in zip(saved.experts.experts, loaded.experts.experts, strict=True):
        assert (old.noise_range, old.scaling) == (new.noise_range, new.scaling)
        assert old.tensors.keys() == new.tensors.keys()
        assert all(new.tensors[key].equal(value) for key, value in old.tensors.items())


def test_loaded_expert_file_can_be_saved_again(path, tmp_path):
    again = tmp_path / "again.safetensors"
    save_experts(load_experts(path), again)
    assert metadata_of(again) == metadata_of(path)
    assert again.read_bytes()[-1000:] == path.read_bytes()[-1000:]


def test_a_file_without_a_spectrum_has_that_of_natural_images(path):
    assert load_experts(path).header.data_spectrum == GENERIC
    rewrite(path, lambda tensors, metadata: metadata.pop("ppap.spectrum"))
    assert load_experts(path).header.data_spectrum == GENERIC
    rewrite(path, set_entry("ppap.spectrum", "[2.0, 0.5]"))
    assert load_experts(path).header.data_spectrum == DataSpectrum((2.0, 0.5))


def test_header_follows_modelspec(path):
    metadata = metadata_of(path)
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.architecture"] == "net/ppap-experts"
    assert metadata["modelspec.timestep_range"] == "0,999"
    assert metadata["modelspec.preprocessor"] == "class"
    assert metadata["modelspec.title"] and metadata["modelspec.implementation"]


def test_modelspec_hash_is_that_of_the_tensor_bytes_in_the_file(path):
    """All tensors have one type, so safetensors lays them out by name."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    expected = "0x" + hashlib.sha256(content[start:]).hexdigest()
    assert metadata_of(path)["modelspec.hash_sha256"] == expected


def test_description_names_whole_timesteps_once(guider):
    lines = describe(build_expert_set(guider, 5).header).splitlines()[4:]
    ends = [line.split("timesteps ")[1] for line in lines]
    assert ends == ["0 to 199", "200 to 399", "400 to 599", "600 to 799", "800 to 999"]


KEY = f"experts.1.{PEFT_PREFIX}0.lora_A.weight"


def set_nan(tensors, metadata):
    tensors[KEY][0, 0] = float("nan")


def set_infinity(tensors, metadata):
    tensors[KEY][0, 0] = float("inf")


def add_one(tensors, metadata):
    tensors[KEY] += 1


def swap_two(tensors, metadata):
    other = KEY.replace("experts.1", "experts.0")
    tensors[KEY], tensors[other] = tensors[other], tensors[KEY]


def rename(old, new):
    return lambda tensors, metadata: tensors.update({new: tensors.pop(old)})


def set_ranges(*ranges):
    return lambda tensors, metadata: metadata.update({"ppap.noise_ranges": json.dumps(ranges)})


def set_entry(name, value):
    return lambda tensors, metadata: metadata.update({name: value})


LORA = {"rank": 2, "lora_alpha": 3.0, "layers": ["0"], "replaced": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop(KEY), f"expert 1 lacks 1 tensor.*{PEFT_PREFIX}0.lora_A.weight"),
        (rename(KEY, KEY + "x"), "expert 1 lacks 1 tensor"),
        (lambda t, m: t.update({KEY + "x": torch.ones(1)}), "expert 1 has unknown 1 tensor"),
        (lambda t, m: t.update({"other": torch.ones(1)}), "of no expert.*'other'"),
        (rename(KEY, KEY.replace("experts.1", "experts.2")), "expert 1 lacks"),
        (set_nan, "expert 1 holds NaN or infinity in .*lora_A"),
        (set_infinity, "expert 1 holds NaN or infinity"),
        (add_one, "checksum"),
        (swap_two, "checksum"),
        (lambda t, m: m.pop("modelspec.hash_sha256"), "checksum"),
        (set_ranges([0.1, 1.0], [0.5, 9.0]), "overlap"),
        (set_ranges([0.1, 1.0], [2.0, 9.0]), "leave a gap"),
        (set_ranges([0.1, 1.0]), "of no expert in its header"),
        (set_ranges([0.1, 1.0], [1.0, 2.0], [2.0, 3.0]), "expert 2 lacks"),
        (set_ranges(), "at least one expert"),
        (set_ranges([1.0, 0.1]), "0 <= low < high"),
        (set_ranges(["a", "b"]), "header is damaged"),
        (set_entry("ppap.format_version", "2"), "format version 2, this pack reads 1"),
        (lambda t, m: m.pop("ppap.format_version"), "no PPAP expert file"),
        (lambda t, m: m.pop("ppap.task"), "header is damaged.*ppap.task"),
        (set_entry("ppap.lora", "{"), "header is damaged"),
        (set_entry("ppap.lora", "[]"), "header is damaged"),
        (set_entry("ppap.lora", json.dumps(LORA | {"rank": 0})), "rank of at least 1"),
        (set_entry("ppap.lora", json.dumps(LORA)), "expert 0 has unknown"),
        (set_entry("ppap.input", '"x_0"'), "input is one of x_t, x0_hat, got 'x_0'"),
    ],
)
def test_a_damaged_file_is_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(ValueError, match=message):
        load_experts(path)
    refusal(path)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else kept])
    refusal(path)


def test_a_file_that_is_no_safetensors_file_is_refused(path):
    path.write_bytes(b"PK\x03\x04 a zip, as torch.save writes it" * 100)
    assert "it is no complete .safetensors file" in refusal(path)


def test_a_pointer_of_git_lfs_is_said_to_be_one(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "it is a pointer of Git LFS, not the file itself: run git lfs pull" in refusal(path)


def test_unsupported_lora_type_is_refused(path):
    save_file({"lora_unet.lora_up.weight": torch.ones(2, 2)}, path)
    assert "no PPAP expert file" in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert f"no such file in {tmp_path}" in refusal(tmp_path / "none.safetensors")


def test_another_guider_is_refused(path):
    line = refusal(path, build_guider(seed=1))
    assert "trained for the class guider timm/net0" in line
    assert "not for the class guider timm/net1" in line and "connect that guider" in line


def test_a_wrongly_shaped_tensor_is_refused(guider, tmp_path):
    expert_set = build_expert_set(guider)
    good, bad = expert_set.experts.experts
    tensors = bad.tensors | {f"{PEFT_PREFIX}1.weight": torch.ones(2, 2)}
    experts = NoiseExperts([good, replace(bad, tensors=tensors)])
    path = tmp_path / "file.safetensors"
    save_experts(replace(expert_set, experts=experts), path)
    assert "expert 1: '1.weight' is (2, 2) in the file and (4,)" in refusal(path, guider)


def test_another_latent_format_is_refused(path):
    header = load_experts(path).header
    header.check_latent_format("ChromaRadiance")
    with pytest.raises(ValueError, match="kind ChromaRadiance, but .* of the kind SD15"):
        header.check_latent_format("SD15")


def test_a_refused_file_leaves_the_guider_as_it_was(guider, path):
    before = {name: value.clone() for name, value in guider.state_dict().items()}
    refusal(path, build_guider(seed=1))
    assert all(guider.state_dict()[name].equal(value) for name, value in before.items())


def test_a_failed_save_leaves_the_former_file(guider, path):
    former = path.read_bytes()
    expert_set = load_experts(path)
    header = replace(expert_set.header, training={"not": {1, 2}, "json": object()})
    with pytest.raises(TypeError):
        save_experts(replace(expert_set, header=header), path)
    assert path.read_bytes() == former
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("values", [(0, 1.0), (2, 0.0), (2, float("nan"))])
def test_an_impossible_lora_is_refused(values):
    with pytest.raises(ValueError, match="rank of at least 1"):
        LoraSpec(*values, layers=(), replaced=())


def test_auto_uses_the_training_settings_and_others_are_warned_about(guider, caplog):
    header = build_expert_set(guider).header
    assert header.settle_reading(Reading()) == header.settle_reading(Reading("x_t", "identity"))
    assert not caplog.records
    assert header.settle_reading(Reading(view="vae")) == Reading("x_t", "vae")
    assert "trained on x_t through the view identity" in caplog.text
