"""Presets: the hub's own client against a small server that answers as the hub does."""

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
from safetensors.torch import save

from evidence.guider_networks import BUILDERS
from ppap_core.guiders import PRESETS, Preset, fetch_preset, list_guiders, load_guider

PRESET = Preset("timm/tiny", "class", "Apache-2.0", 1, 64, 4, "trying")
SMALL = {"channels": [8, 8, 12, 16], "stem_width": 8, "num_classes": 4}


def hub_files():
    config = {"architecture": "resnet10t", "num_classes": 4, "model_args": SMALL}
    weights = timm.create_model("resnet10t", **SMALL).state_dict()
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({k: v.contiguous() for k, v in weights.items()}),
        "pytorch_model.bin": b"never asked for",
    }


class Hub(BaseHTTPRequestHandler):
    """Resolves files of one repository; `stated` overrides the SHA-256 of the weights."""

    files: dict = {}
    stated = ""
    asked: list = []
    revisions: set = set()

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(None)

    def answer(self, body):
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        self.asked.append(name)
        self.revisions.add(self.path.split("/resolve/")[1].split("/")[0])
        if name not in self.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        content = self.files[name]
        digest = self.stated or hashlib.sha256(content).hexdigest()
        etag = digest if name.endswith(".safetensors") else "0" * 40
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body is None:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    handler = type("OneHub", (Hub,), {"files": hub_files(), "asked": [], "revisions": set()})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()


def test_a_preset_is_downloaded_whole_and_can_be_loaded(hub, tmp_path):
    folder = fetch_preset(PRESET, tmp_path, True, hub.url)
    assert folder == tmp_path / "timm" / "tiny"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert "pytorch_model.bin" not in hub.asked
    assert list_guiders(tmp_path) == ["timm/tiny"] and len(list((tmp_path / "timm").iterdir())) == 1
    assert len(load_guider(folder).info.labels) == 4


def test_hub_is_not_contacted_without_allow_download(hub, tmp_path):
    with pytest.raises(ValueError, match="is not here .*or let it be downloaded") as caught:
        fetch_preset(PRESET, tmp_path, False, hub.url)
    assert "(1 MB, licence Apache-2.0): download config.json" in str(caught.value)
    assert str(tmp_path / "timm" / "tiny") in str(caught.value)
    assert hub.asked == [] and list(tmp_path.iterdir()) == []


def refused(hub_url, root):
    with pytest.raises(ValueError) as caught:
        fetch_preset(PRESET, root, True, hub_url)
    assert "\n" not in str(caught.value)
    assert "https://huggingface.co/timm/tiny into" in str(caught.value)
    assert list_guiders(root) == [] and list((root / "timm").iterdir()) == []
    return str(caught.value)


def test_weights_with_another_hash_than_stated_are_refused(hub, tmp_path):
    hub.stated = "a" * 64
    assert "the hub says aaaaaaaaaaaa" in refused(hub.url, tmp_path)


def test_file_missing_on_the_hub_is_named(hub, tmp_path):
    del hub.files["model.safetensors"]
    assert "model.safetensors" in refused(hub.url, tmp_path)


def test_unreachable_hub_is_reported_in_one_line(tmp_path):
    refused("http://127.0.0.1:9", tmp_path)


def test_a_pinned_revision_is_the_one_that_is_asked_for(hub, tmp_path):
    fetch_preset(replace(PRESET, revision="a" * 40), tmp_path, True, hub.url)
    assert hub.revisions == {"a" * 40, "c" * 40}  # the hub's answer names the commit


def test_presets_download_only_settings_tags_and_safetensors():
    names = {name for preset in PRESETS.values() for name in preset.files}
    assert all(name.endswith((".json", ".csv", ".safetensors")) for name in names)
    assert all("model.safetensors" in preset.files for preset in PRESETS.values())


def test_presets_are_known_to_the_loaders_and_told_in_every_help_page():
    docs = Path(__file__).parents[2] / "web" / "docs"
    pages = [docs / "PPAP_LoadGuider.md", docs / "PPAP_LoadGuider" / "zh.md"]
    for preset in PRESETS.values():
        assert ("preprocessor_config.json" in preset.files) == (
            "timm" not in preset.repo.lower() and "selected_tags.csv" not in preset.files
        )
        row = f"| {preset.repo} | "
        for page in pages:
            (line,) = [
                line for line in page.read_text("utf-8").splitlines() if line.startswith(row)
            ]
            assert f"| {preset.megabytes} MB | {preset.licence} |" in line, page


@pytest.mark.parametrize("task", ["class", "depth", "segmentation"])
def test_there_are_small_and_strong_presets_for_each_task(task):
    sizes = [preset.megabytes for preset in PRESETS.values() if preset.task == task]
    assert len(sizes) >= 4 and max(sizes) > 10 * min(sizes)


def test_timm_knows_the_presets_architecture_classes_size_and_licence():
    for preset in PRESETS.values():
        if not preset.repo.startswith("timm/"):
            continue
        known = timm.get_pretrained_cfg(preset.repo.removeprefix("timm/"))
        assert known.hf_hub_id == preset.repo and known.num_classes == preset.num_classes
        assert known.input_size == (3, preset.reads, preset.reads)
        assert known.license == preset.licence.lower()


def test_the_cost_of_every_preset_can_be_measured():
    for repo in PRESETS:
        is_timms = "timm" in repo or "tagger" in repo
        assert is_timms or any(part in repo for part in BUILDERS), repo
