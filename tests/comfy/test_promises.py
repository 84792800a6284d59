"""Workflows are promises: what a node has once had it keeps, in its place, with its default.

promises.json holds what has landed. New inputs and outputs come after the old ones; PPAP_RECORD=1
writes them down. CONTRIBUTING.md says how something is renamed all the same.
"""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("promises.json")
ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"
FILES = ("guider", "experts", "model_name", "head")  # choices that depend on what lies on the disk


def schema_of(node) -> dict:
    schema = node.define_schema()
    return {
        "inputs": [describe(entry) for entry in schema.inputs],
        "outputs": [entry.get_io_type() for entry in schema.outputs],
    }


def describe(entry) -> dict:
    found = {"id": entry.id, "type": entry.get_io_type(), "optional": bool(entry.optional)}
    if getattr(entry, "default", None) is not None:
        found["default"] = entry.default
    options = getattr(entry, "options", None)
    if options and entry.id not in FILES:
        found["options"] = [getattr(option, "value", option) for option in options]
    return found


@pytest.fixture(scope="module")
def schemas(comfyui):
    ids = [name for name in comfyui.nodes.NODE_CLASS_MAPPINGS if name.startswith("PPAP_")]
    found = {name: schema_of(comfyui.node(name)) for name in ids}
    if os.environ.get("PPAP_RECORD"):
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return found


def promised():
    return json.loads(RECORD.read_text("utf-8"))


def is_kept(old: dict, new: dict) -> bool:
    """The same input; only choices may have been added, after the old ones."""
    options = old.get("options", [])
    same = {k: v for k, v in old.items() if k != "options"}
    return same == {k: v for k, v in new.items() if k != "options"} and (
        new.get("options", [])[: len(options)] == options or is_the_hosts(options)
    )


def is_the_hosts(options: list) -> bool:
    """Samplers and schedulers are ComfyUI's to name."""
    return "euler" in options or "karras" in options


def parts_of(schemas: dict) -> set[str]:
    """Every node, input and choice in `schemas`, each as a line."""
    nodes, inputs, choices = set(schemas), set(), set()
    for name, schema in schemas.items():
        for entry in schema["inputs"]:
            inputs.add(f"{name}: {entry['id']}")
            options = entry.get("options", [])
            if not is_the_hosts(options):
                choices |= {f"{name}: {entry['id']} = {option}" for option in options}
    return nodes | inputs | choices


def test_every_node_is_recorded(schemas):
    missing = sorted(parts_of(schemas) - parts_of(promised()))
    assert not missing, (
        f"not in promises.json: {', '.join(missing)}; run this test once with PPAP_RECORD=1 and "
        f"commit what it writes"
    )


def test_a_new_node_input_or_choice_is_missed():
    one = {"id": "view", "options": ["auto"]}
    old = {"A": {"inputs": [one]}}
    new = {"A": {"inputs": [{**one, "options": ["auto", "vae"]}, {"id": "b"}]}, "B": {"inputs": []}}
    assert parts_of(new) - parts_of(old) == {"A: view = vae", "A: b", "B"}


@pytest.mark.parametrize("name", promised() if RECORD.exists() else [])
def test_node_keeps_its_recorded_inputs_and_outputs(schemas, name):
    old, new = promised()[name], schemas[name]
    assert [e["id"] for e in new["inputs"]][: len(old["inputs"])] == [
        e["id"] for e in old["inputs"]
    ]
    for before, now in zip(old["inputs"], new["inputs"], strict=False):
        assert is_kept(before, now), (before, now)
    assert new["outputs"][: len(old["outputs"])] == old["outputs"]


def english(schema) -> dict:
    """What the front end would show without a file: the source of translations."""
    inputs = {e.id: {"name": e.display_name or e.id, "tooltip": e.tooltip} for e in schema.inputs}
    outputs = {str(i): english_output(e) for i, e in enumerate(schema.outputs)}
    named = {"display_name": schema.display_name, "description": schema.description}
    return {**named, "inputs": inputs, "outputs": outputs}


def english_output(entry) -> dict:
    named = {"name": entry.display_name or entry.get_io_type()}
    return {**named, "tooltip": entry.tooltip} if entry.tooltip else named


def test_english_locale_matches_the_nodes_texts(comfyui, schemas):
    found = {name: english(comfyui.node(name).define_schema()) for name in schemas}
    if os.environ.get("PPAP_RECORD"):
        ENGLISH.parent.mkdir(exist_ok=True)
        ENGLISH.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert json.loads(ENGLISH.read_text("utf-8")) == found


def test_every_node_has_help_with_a_picture_in_every_language(schemas):
    docs = ROOT / "web" / "docs"
    for name in schemas:
        assert (docs / f"{name}.png").is_file()
        for page in (docs / f"{name}.md", docs / name / "zh.md"):
            assert f"]({name}.png)" in page.read_text("utf-8"), page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_names_every_input_and_output(language, schemas):
    names = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8"))
    docs = ROOT / "web" / "docs"
    for node in schemas:
        page = docs / f"{node}.md" if language == "en" else docs / node / f"{language}.md"
        text, shown = page.read_text("utf-8"), names[node]
        for entry in (*shown["inputs"].values(), *shown["outputs"].values()):
            assert f"**{entry['name']}**" in text, (page, entry["name"])


def told(texts: dict) -> dict:
    """Which texts each entry of a locale has."""
    return {key: {kind for kind, text in entry.items() if text} for key, entry in texts.items()}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "locales").glob("*/nodeDefs.json")), ids=lambda p: p.parent.name
)
def test_every_language_translates_every_node_input_and_output(schemas, path):
    names = json.loads(path.read_text("utf-8"))
    in_english = json.loads(ENGLISH.read_text("utf-8"))
    assert names.keys() == schemas.keys()
    for node, schema in schemas.items():
        inputs = names[node]["inputs"]
        assert inputs.keys() == {entry["id"] for entry in schema["inputs"]}, node
        assert all(entry["name"] and entry["tooltip"] for entry in inputs.values()), node
        assert told(names[node]["outputs"]) == told(in_english[node]["outputs"]), node
        assert names[node]["display_name"] and names[node]["description"]
