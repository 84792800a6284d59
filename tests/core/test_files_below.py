"""Folders as people have them: linked, linked in circles, with files in the wrong place."""

import json
import os

import pytest
import timm
from safetensors.torch import save_file

from ppap_core.guiders import list_guiders, load_guider
from ppap_core.guiders.listing import find_guiders

SMALL = {"channels": [8, 8, 8, 8], "stem_width": 8}


def guider_files(folder):
    folder.mkdir(parents=True, exist_ok=True)
    model = timm.create_model("resnet10t", num_classes=2, **SMALL)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "resnet10t", "num_classes": 2, "model_args": SMALL}
    config["pretrained_cfg"] = {"input_size": [3, 32, 32]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def walked(root):
    """What ComfyUI's own listing sees: os.walk with followlinks, in a tree without loops."""
    walk = os.walk(root, followlinks=True)
    return sorted(
        {os.path.relpath(place, root) for place, _, files in walk if "config.json" in files}
    )


def test_linked_folders_are_listed_as_comfyui_lists_its_own(tmp_path):
    root, elsewhere = tmp_path / "ppap_guiders", tmp_path / "elsewhere"
    touch(elsewhere / "net" / "config.json")
    touch(root / "own" / "config.json")
    (root / "linked").symlink_to(elsewhere / "net")
    (tmp_path / "link").symlink_to(elsewhere, target_is_directory=True)
    (root / "all").symlink_to(tmp_path / "link")  # a link to a link
    (root / "deep").mkdir()
    (root / "deep" / "one").symlink_to(root / "linked")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    assert list_guiders(root) == walked(root) == ["all/net", "deep/one", "linked", "own"]


def test_linked_files_are_listed(tmp_path):
    blob = touch(tmp_path / "blobs" / "abc")
    (tmp_path / "hub" / "net").mkdir(parents=True)
    (tmp_path / "hub" / "net" / "config.json").symlink_to(blob)
    assert list_guiders(tmp_path / "hub") == ["net"]


@pytest.mark.parametrize("loops", [1, 12])
def test_loops_of_links_are_walked_once(tmp_path, loops):
    """Two dozen links that lead in circles: os.walk would go round them 2^40 times."""
    for name in "ab":
        touch(tmp_path / name / "config.json")
    for index in range(loops):
        (tmp_path / "a" / f"to_root_{index}").symlink_to(tmp_path)
        (tmp_path / "b" / f"to_b_{index}").symlink_to(tmp_path / "b")
    assert list_guiders(tmp_path) == ["a", "b"]
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    assert list_guiders(tmp_path) == ["a", "a/to_b", "b", "b/to_a"]


def test_a_link_to_itself_is_left_out(tmp_path):
    touch(tmp_path / "a" / "config.json")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert list_guiders(tmp_path) == ["a"]


def test_a_model_in_the_root_itself_is_offered_and_loads(tmp_path):
    root = guider_files(tmp_path / "ppap_guiders")
    assert list_guiders(root) == ["ppap_guiders"]
    assert load_guider(find_guiders(root)["ppap_guiders"]).info.source == "timm/ppap_guiders"
    touch(root / "other" / "config.json")
    assert list_guiders(root) == ["other", "ppap_guiders"]
    touch(root / "ppap_guiders" / "config.json")
    assert find_guiders(root)["ppap_guiders"] == root / "ppap_guiders"


@pytest.mark.parametrize("name", ["model.safetensors", "resnet.pth", "pytorch_model.bin"])
def test_weights_alone_in_the_root_say_what_is_missing(tmp_path, name):
    root = tmp_path / "ppap_guiders"
    touch(root / name)
    (offered,) = list_guiders(root)
    with pytest.raises(ValueError, match="'ppap_guiders' has no config.json: download it"):
        load_guider(find_guiders(root)[offered])


def test_weights_of_another_name_are_named(tmp_path):
    folder = guider_files(tmp_path / "net")
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match="found open_clip_model.safetensors: rename it to model.s"):
        load_guider(folder)


def test_hidden_folders_and_other_files_are_no_guiders(tmp_path):
    for name in (".cache/net/config.json", "a/.git/x.bin", "__MACOSX/net/config.json", "notes.txt"):
        touch(tmp_path / name)
    touch(tmp_path / "a" / "._model.safetensors")
    assert list_guiders(tmp_path) == [] and list_guiders(tmp_path / "none") == []
