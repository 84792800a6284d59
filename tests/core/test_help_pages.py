"""The help pages have one order of sections, and say the same in every language."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
HERE = "https://github.com/ppap-guidance/comfyui-ppap/blob/main/"
SECTIONS = ["Inputs", "Outputs", "Recipes", "If it does not work", "Cost", "Read on"]
PAGES = sorted(DOCS.glob("*.md"))
TRANSLATIONS = [path for page in PAGES for path in sorted((DOCS / page.stem).glob("*.md"))]


def outline(text: str) -> list[str]:
    """Levels of headings and list items, and cells of table rows, in their order."""
    marks = re.findall(r"^(#+(?= )| *-(?= )|\|.*)", text, re.MULTILINE)
    return [re.sub(r"[^|]", "", mark) or mark for mark in marks]


def links(text: str) -> list[str]:
    """Where links lead and where pictures are."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sections_have_one_order(page):
    assert re.findall(r"^## (.*)", page.read_text("utf-8"), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("path", TRANSLATIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_translation_is_as_complete_as_the_english_page(path):
    text = path.read_text("utf-8")
    english = (DOCS / f"{path.parent.name}.md").read_text("utf-8")
    assert outline(text) == outline(english)
    assert links(text) == links(english)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_into_this_repository_lead_to_files(page):
    own = [link.removeprefix(HERE) for link in links(page.read_text("utf-8")) if HERE in link]
    assert all((ROOT / path).is_file() for path in own)


def test_a_page_that_lacks_something_is_noticed():
    assert outline("# a\n- b\n  - c\n| d | e |\n") == ["#", "-", "  -", "|||"]
    assert links("![a](b.png) [c](d)") == ["b.png", "d"]
