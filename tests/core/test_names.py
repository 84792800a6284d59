"""Names that a person takes for the same are the same: class names as typed, and as in files."""

import unicodedata

import pytest

from ppap_core.targets import find_class, parse_class_rows, parse_classes

LABELS = ("Säge, Fuchsschwanz", "café au lait", "ＨＤ カメラ", "STRASSE", "x²", "x2", "A", "a")
DECOMPOSED = tuple(unicodedata.normalize("NFD", label) for label in LABELS)


@pytest.mark.parametrize("labels", [LABELS, DECOMPOSED])
@pytest.mark.parametrize(
    ("typed", "index"),
    [
        ("säge", 0),
        (unicodedata.normalize("NFD", "SÄGE"), 0),
        ("Fuchsschwanz", 0),
        ("cafe\u0301 au\u00a0lait", 1),
        ("Café  au\u2009lait", 1),
        ("ｃａｆé　ａｕ　ｌａｉｔ", 1),
        ("\ufeffcafé au lait\u200b", 1),
        ("caf\u00adé au lait", 1),
        ("hd ｶﾒﾗ", 2),
        ("Straße", 3),
        ("３", 3),
    ],
)
def test_a_class_is_found_in_any_unicode_form(labels, typed, index):
    assert find_class(typed, labels) == index
    assert parse_classes(typed, labels) == {index: 1.0}


@pytest.mark.parametrize(("typed", "index"), [("x²", 4), ("x2", 5), ("A", 6), ("a", 7)])
def test_a_name_to_the_letter_comes_first(typed, index):
    assert find_class(typed, LABELS) == index


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("säge：２，café au lait：－１", {0: 2.0, 1: -1.0}),
        ("säge:\u22120.5；straße", {0: -0.5, 3: 1.0}),
        ("Sa\u0308ge, FUCHSSCHWANZ:3", {0: 3.0}),
        ("säge\rstraße\r\nx2", {0: 1.0, 3: 1.0, 5: 1.0}),
    ],
)
def test_separators_and_weights_as_east_asian_keyboards_write_them(text, classes):
    assert parse_classes(text, LABELS) == classes


def test_rows_of_any_line_ends():
    assert parse_class_rows("säge\r\nstraße\rx2", LABELS) == [{0: 1.0}, {3: 1.0}, {5: 1.0}]


def test_an_unknown_name_is_shown_as_it_was_typed():
    with pytest.raises(ValueError, match="no class 'Sägen': did you mean 'säge'"):
        find_class(" Sägen ", LABELS)
