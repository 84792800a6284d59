"""Prompts, settings and labels are read in whatever encoding and layout they were saved."""

import codecs
import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from ppap_core.comfy_bridge.headless import find_comfyui
from ppap_core.distillation.generate import GenerateSettings
from ppap_core.distillation.images import append_manifest, read_manifest, read_source, write_source
from ppap_core.distillation.label_files import read_classes
from ppap_core.distillation.teacher import read_labels
from ppap_core.guiders import Guider, GuiderInfo, Preprocessing, load_guider
from ppap_core.guiders.labels import read_tags
from tests.core.tiny_guiders import picture, transformers_folder
from training.__main__ import build_parser
from training.config import read_config

PROMPTS = ["ein Baum für Zoë", "café – crème", "naïve “quotes”"]
WITH_MARK = {
    "utf-8": "utf-8-sig",
    "utf-16 little": "utf-16-le",
    "utf-16 big": "utf-16-be",
    "utf-32 little": "utf-32-le",
    "utf-32 big": "utf-32-be",
}
MARKS = {
    "utf-8-sig": b"",  # Python writes it
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
ENCODINGS = {
    **{name: (MARKS[codec], codec) for name, codec in WITH_MARK.items()},
    "utf-8 without a mark": (b"", "utf-8"),
    "utf-16 without a mark": (b"", "utf-16-le"),
    "utf-16 big without a mark": (b"", "utf-16-be"),
    "Windows": (b"", "cp1252"),
}
LINE_ENDS = {"unix": "\n", "windows": "\r\n", "old mac": "\r"}


def save(path, text, encoding="utf-8 without a mark", ends="\n"):
    mark, codec = ENCODINGS[encoding]
    path.write_bytes(mark + text.replace("\n", ends).encode(codec))
    return path


@pytest.mark.parametrize("ends", LINE_ENDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_prompts_are_those_that_were_written(tmp_path, encoding, ends):
    file = save(tmp_path / "prompts.txt", "\n".join(PROMPTS), encoding, LINE_ENDS[ends])
    assert GenerateSettings(prompts=str(file)).read_prompts() == PROMPTS


def test_latin_1_is_read_with_a_warning(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes("größe".encode("latin-1"))
    assert GenerateSettings(prompts=str(tmp_path / "a.txt")).read_prompts() == ["größe"]
    assert "a.txt is not in UTF-8" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",  # a picture
        b"PK\3\4\x14\0\6\0\x08\0!\0\xdf\xa4",  # a document of Word
        b"\xff\xfea",  # UTF-16 that was cut
        b"caf\xe9 \x81",  # no character of Windows
    ],
)
def test_what_is_no_text_is_refused_in_one_line(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match="a.txt is no text, or damaged: save it as text") as caught:
        GenerateSettings(prompts=str(tmp_path / "a.txt")).read_prompts()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ends", LINE_ENDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_config_file_is_read(tmp_path, encoding, ends):
    text = "# für Zoë\n[distill]\nsteps = 7\n[sources]\ncheckpoint = 'größe'\n"
    file = save(tmp_path / "c.toml", text, encoding, LINE_ENDS[ends])
    args = build_parser().parse_args(["all", "--config", str(file)])
    config = read_config(args)
    assert (config.distill.steps, config.sources.checkpoint) == (7, "größe")


@pytest.mark.parametrize("encoding", WITH_MARK)
def test_a_manifest_and_a_source_that_an_editor_saved_again(tmp_path, encoding):
    lines = [{"file": f"{i}.png", "seed": i, "prompt": PROMPTS[i]} for i in range(3)]
    append_manifest(tmp_path, lines)
    save(tmp_path / "manifest.jsonl", (tmp_path / "manifest.jsonl").read_text("utf-8"), encoding)
    assert read_manifest(tmp_path) == lines
    write_source(tmp_path, {"checkpoint": "größe"})
    save(tmp_path / "source.json", (tmp_path / "source.json").read_text("utf-8"), encoding)
    assert read_source(tmp_path) == {"checkpoint": "größe"}


def test_zeros_that_a_power_cut_left_do_not_cost_the_lines_before(tmp_path):
    append_manifest(tmp_path, [{"file": "a.png", "seed": 1}])
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(bytes(512))
    assert read_manifest(tmp_path) == [{"file": "a.png", "seed": 1}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16 little"])
def test_comfyuis_folder_from_a_file_that_powershell_wrote(
    tmp_path, encoding, empty_comfyui, monkeypatch
):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    root = empty_comfyui(tmp_path / "Größe")
    save(tmp_path / ".comfyui_path", f"{root}\n", encoding, "\r\n")
    assert find_comfyui(tmp_path) == root


FILES = ["images/a.png", "images/Zoë.png", "c.png"]
CLASSES = ["tench, Tinca tinca", "café", "dog"]
TABLES = {
    "commas": 'images/a.png,"tench, Tinca tinca"\nimages/Zoë.png,café\nc.png,dog\n',
    "semicolons": "images/a.png;tench, Tinca tinca\nimages/Zoë.png;café\nc.png;dog\n",
    "tabs": "images/a.png\ttench, Tinca tinca\nimages/Zoë.png\tcafé\nc.png\tdog",
    "all quoted": '"images/a.png";"tench, Tinca tinca"\n"images/Zoë.png";"café"\n"c.png";"dog"\n',
    "spaces": 'images/a.png, "tench, Tinca tinca"\nimages/Zoë.png, café\n c.png, dog\n',
    "numbers": "images/a.png,0\nimages/Zoë.png,1\nc.png,2\n",
    "header": "file,class\nimages/a.png,tench\nimages/Zoë.png,café\nc.png,dog\n",
    "other order": "Label;File\ntench;images/a.png\ncafé;images/Zoë.png\ndog;c.png\n",
    "more columns": "id,file,split,class\n5,images/a.png,x,0\n6,images/Zoë.png,y,1\n7,c.png,z,2\n",
    "class first": "tench\timages/a.png\ncafé\timages/Zoë.png\ndog\tc.png\n",
    "backslashes": "images\\a.png,tench\n.\\images\\Zoë.png,café\nc.png,dog\n",
    "decomposed": "images/a.png,tench\nimages/Zoe\u0308.png,cafe\u0301\nc.png,dog\n",
    "blank lines": "\n\nimages/a.png,tench\n\nimages/Zoë.png,café\n\nc.png,dog\n\n",
    "json": '{"images/a.png": "tench", "images/Zoë.png": "café", "c.png": 2}',
    "names alone": "a.png,tench\nzoë.png,café\nC.PNG,dog\n",
    "names without an ending": "a,tench\nZoë,café\nc,dog\n",
    "paths of another machine": "D:\\set\\images\\a.png,0\n/home/x/Zoë.png,1\n/c.png,2\n",
    "a list like ImageNet's": "images/a.png 0\nimages/Zoë.png 1\nc.png 2\n",
    "pandas": ",image,size,labels\n0,images/a.png,9,0.0\n1,images/Zoë.png,9,1.0\n2,c.png,9,2.0\n",
    "a line twice": "c.png,dog\nimages/a.png,tench\nimages/a.png,Tench\nimages/Zoë.png,café\n",
    "json records": '[{"file": "images/a.png", "label": "tench"}, {"file": "images/Zoë.png", '
    '"label": 1}, {"label": "dog", "file": "c.png"}]',
    "jsonl": '{"file": "images/a.png", "label": 0}\n{"file": "images/Zoë.png", "label": 1}\n\n'
    '{"file": "c.png", "label": 2}\n',
}


@pytest.fixture(scope="module")
def classifier():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    info = GuiderInfo("timm/net", "net", "class", tuple(CLASSES), "f" * 64)
    return Guider(net, Preprocessing((2, 2), (0.5,) * 3, (0.5,) * 3), info)


@pytest.mark.parametrize("layout", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8 without a mark", "utf-8", "utf-16 big"])
def test_labels_are_read_in_any_layout(tmp_path, layout, encoding, classifier):
    suffix = layout.partition(" ")[0] if layout.startswith("json") else "csv"
    file = save(tmp_path / f"labels.{suffix}", TABLES[layout], encoding)
    assert read_labels(file, FILES, classifier).tolist() == [0, 1, 2]


def test_labels_in_windows_encoding_and_line_ends(tmp_path, classifier):
    file = save(tmp_path / "labels.csv", TABLES["semicolons"], "Windows", "\r\n")
    assert read_labels(file, FILES, classifier).tolist() == [0, 1, 2]


@pytest.mark.parametrize("text", ["", "c.png\n", "nothing here", "a;b;c\n", '"c.png,dog\n'])
def test_labels_that_are_missing_are_named(tmp_path, text, classifier):
    file = save(tmp_path / "labels.csv", text)
    with pytest.raises(ValueError, match="no label for 3 pictures, the first is images/a.png"):
        read_labels(file, FILES, classifier)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a.png,cat\nb.png,dog\na.png,dog\n", "gives a.png two classes, cat and dog"),
        ("l.csv", "image,cat,dog\na.png,1,0\nb.png,0,1\n", "does not say which has the classes"),
        ("l.csv", "a.png great dane\nb.png cat\n", "does not say which has the classes"),
        ("l.csv", "a.png,\nb.png,dog\n", "no label for 1 pictures, the first is a.png"),
        ("l.json", '{"cat": ["a.png"], "dog": ["b.png"]}', "no label for 2 pictures"),
        ("l.jsonl", '{"file": "a.png", "label": 0}\n{"file": ', "has lines that are not JSON"),
    ],
)
def test_labels_that_may_mean_something_else_are_refused(tmp_path, name, text, message):
    """One-hot columns were read as the class of the first one, and the last of two lines won."""
    with pytest.raises(ValueError, match=message):
        read_classes(save(tmp_path / name, text), ["a.png", "b.png"])


def test_names_alone_do_not_tell_pictures_of_several_folders_apart(tmp_path):
    file = save(tmp_path / "labels.csv", "a.png,cat\n")
    with pytest.raises(ValueError, match="no label for 2 pictures, the first is x/a.png"):
        read_classes(file, ["x/a.png", "y/a.png"])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16 little", "Windows"])
def test_a_taggers_tags_are_read_in_any_layout(tmp_path, separator, encoding):
    rows = [["tag_id", "name", "category"], ["1", "a, b", "0"], ["2", "é", "0"], ["3", "^_^", "9"]]
    cells = [[f'"{cell}"' if "," in cell else cell for cell in row] for row in rows]
    text = "\n".join(separator.join(row) for row in cells)
    save(tmp_path / "selected_tags.csv", text, encoding, "\r\n")
    assert read_tags(tmp_path) == (rows[0], ["a, b", "é", "^_^"])


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """A transformers classifier in shards, with class names that are not ASCII."""
    folder = transformers_folder(
        tmp_path_factory.mktemp("hub") / "net", "ViTForImageClassification"
    )
    model = transformers.ViTForImageClassification.from_pretrained(folder)
    labels = {i: f"größe {i}" for i in range(model.config.num_labels)}
    model.config.id2label, model.config.label2id = labels, {v: k for k, v in labels.items()}
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    image = picture(32, 32) * 2 - 1
    return folder, image, load_guider(folder)(image).detach()


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("config.json", "utf-8"),
        ("config.json", "Windows"),
        ("preprocessor_config.json", "utf-16 little"),
        ("model.safetensors.index.json", "utf-8"),
    ],
)
def test_a_hub_folders_settings_may_have_any_encoding(hub_folder, name, encoding):
    """transformers itself reads UTF-8 without a mark only: it answers as on such a file."""
    folder, image, expected = hub_folder
    path = folder / name
    original = path.read_bytes()
    try:
        entries = json.loads(original) | {"note": "größe"}
        save(path, json.dumps(entries, ensure_ascii=False), encoding)
        guider = load_guider(folder)
    finally:
        path.write_bytes(original)
    assert guider.info.labels[1] == "größe 1"
    torch.testing.assert_close(guider(image).detach(), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ("Image.open(", {"picture_files.py"}),
        (".read_text(", {"headless.py", "answered.py", "folder_lock.py"}),  # no person writes these
        (".rglob(", set()),
    ],
)
def test_peoples_files_are_opened_in_one_place(call, allowed):
    root = Path(__file__).parents[2]
    parts = ("ppap_core", "nodes", "training")
    files = [path for part in parts for path in (root / part).rglob("*.py")]
    assert {path.name for path in files if call in path.read_text("utf-8")} == allowed
