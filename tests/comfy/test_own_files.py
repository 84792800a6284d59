"""Files as people have them, through the nodes: linked folders, previews, odd IMAGEs and MASKs."""

import pytest
import torch
from PIL import Image

from demo.paths import MODELS

EXPERTS = "demo-shapes-resnet.safetensors"


@pytest.fixture
def folder(comfyui, tmp_path, monkeypatch):
    """A folder of experts, and the only one that ComfyUI knows."""
    import folder_paths

    _, extensions = folder_paths.folder_names_and_paths["ppap_experts"]
    places = ([str(tmp_path / "experts")], extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ppap_experts", places)
    folder_paths.filename_list_cache.pop("ppap_experts", None)
    yield tmp_path / "experts"
    folder_paths.filename_list_cache.pop("ppap_experts", None)


def test_linked_experts_are_listed_as_comfyui_lists_its_own(comfyui, folder, tmp_path):
    import folder_paths

    names = comfyui.module("ppap_core.comfy_bridge.folders")
    store = tmp_path / "store" / "deep"
    store.mkdir(parents=True)
    (store / "a.safetensors").write_bytes(b"a")
    (store / "B.SAFETENSORS").write_bytes(b"b")
    (store / "notes.txt").write_bytes(b"")
    folder.mkdir()
    (tmp_path / "link").symlink_to(store.parent)
    (folder / "all").symlink_to(tmp_path / "link")
    (folder / "one.safetensors").symlink_to(store / "a.safetensors")
    listed = names.file_names("ppap_experts")
    assert listed == folder_paths.get_filename_list("ppap_experts")
    assert len(listed) == 3
    assert [names.file_path("ppap_experts", name).is_file() for name in listed] == [True] * 3
    for name in ("x", "y"):
        (store / name).symlink_to(folder)
        (store.parent / name).symlink_to(store.parent)
    assert names.file_names("ppap_experts") == listed
    (folder / "all").unlink()
    assert names.file_names("ppap_experts") == ["one.safetensors"]


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda file: Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(file), (1.0, 1.0, 1.0)),
        (lambda file: Image.new("I;16", (8, 8), 65535).save(file), (1.0, 1.0, 1.0)),
        (lambda file: Image.new("RGB", (8, 8), (0, 255, 0)).save(file), (0.0, 1.0, 0.0)),
        (lambda file: file.write_bytes(b"no picture"), None),
        (lambda file: file.write_bytes(b""), None),
    ],
)
def test_a_preview_is_shown_as_seen_and_never_stops_its_experts(comfyui, folder, make, shown):
    folder.mkdir()
    (folder / EXPERTS).symlink_to(MODELS / "ppap_experts" / EXPERTS)
    preview = (folder / EXPERTS).with_suffix(".preview.png")
    make(preview)
    guider = comfyui.node("PPAP_LoadGuider").execute("demo-shapes-resnet").args[0]
    loaded = comfyui.node("PPAP_LoadExperts").execute(guider, EXPERTS).args[0]
    assert loaded.experts is not None
    picture = comfyui.module("nodes.pictures").load_preview(preview)
    assert (picture is None) == (shown is None)
    if shown is not None:
        assert picture.shape == (1, 8, 8, 3) and picture[0, 0, 0].tolist() == list(shown)


@pytest.fixture(scope="module")
def guider(comfyui):
    return comfyui.node("PPAP_LoadGuider").execute("demo-scenes-segmentation").args[0]


def target_of(comfyui, guider, image, mask=None):
    palette = "grey value = index"
    settings = ("segmentation map", palette, "stretch", 0, 0, mask)
    with torch.inference_mode():
        return comfyui.node("PPAP_TargetMap").execute(guider, image, *settings).args[0]


GREY = torch.arange(32 * 24).reshape(1, 32, 24) // 300 / 255


@pytest.mark.parametrize(
    "image", [GREY, GREY[..., None], GREY[0], GREY[0, ..., None]], ids=lambda i: str(tuple(i.shape))
)
def test_a_map_without_channels_is_the_map(comfyui, guider, image):
    usual = target_of(comfyui, guider, GREY[..., None].expand(-1, -1, -1, 3))
    target = target_of(comfyui, guider, image)
    assert target.labels.equal(usual.labels)
    assert target.labels.unique().tolist() == [0, 1, 2] and target.labels.shape == (1, 32, 24)


def test_masks_with_a_channel_are_masks(comfyui, guider):
    mask = (torch.arange(32 * 24).reshape(1, 32, 24) % 2).float()
    usual = target_of(comfyui, guider, GREY, mask)
    for odd in (mask[:, None], mask[..., None], mask[0]):
        assert target_of(comfyui, guider, GREY, odd).mask.equal(usual.mask)
        painted = comfyui.node("PPAP_TargetMasks").execute(guider, odd, "1", "").args[0]
        assert painted.mask.equal(mask)
        options = comfyui.node("PPAP_GuidanceOptions").execute("sum", region=odd).args[0]
        assert options.shaping.region.equal(mask)


def test_what_fits_no_socket_is_refused_with_its_name(comfyui, guider):
    with pytest.raises(ValueError, match=r"socket 'image' takes an IMAGE .*got \(1, 3, 32, 24\)"):
        target_of(comfyui, guider, torch.zeros(1, 3, 32, 24))
    with pytest.raises(ValueError, match=r"socket 'mask' takes a MASK .*got \(1, 32, 24, 3\)"):
        target_of(comfyui, guider, GREY, torch.zeros(1, 32, 24, 3))
    with pytest.raises(ValueError, match="socket 'region' takes a MASK"):
        comfyui.node("PPAP_GuidanceOptions").execute("sum", region=torch.zeros(1, 32, 24, 3))
