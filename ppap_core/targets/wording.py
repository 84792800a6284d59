"""How far an answer meets a target, in a person's words."""

from collections.abc import Sequence
from dataclasses import dataclass

NEARLY_NONE, NEARLY_ALL = 0.001, 0.999


@dataclass(frozen=True)
class Wording:
    """How the figures of `agreement` are told; each "{}" is one of them, the first and the last.

    `told`: a sentence about a whole run. `live`: a few words while it runs. `axis`: what a curve of
    the figures is called. `is_share`: they lie in [0, 1] and are told as percentages. `has_end`: 1
    is all that was asked, so that a report can say whether there is more to gain. `decimals`: of
    figures that are no shares.
    """

    told: str
    live: str
    axis: str
    is_share: bool = True
    has_end: bool = True
    decimals: int = 2

    def tell(self, first: float, last: float) -> str:
        return self.told.format(self.figure(first), self.figure(last))

    def tell_live(self, first: float, last: float) -> str:
        return self.live.format(self.figure(first), self.figure(last))

    def figure(self, value: float) -> str:
        return percent(value) if self.is_share else f"{value:.{self.decimals}f}"


def percent(share: float) -> str:
    """A share in [0, 1] for people: 3.2 %, 11 %, 99.9 %; never 0 or 100 % of what is not quite."""
    if 0 < share < NEARLY_NONE:
        return "under 0.1 %"
    if NEARLY_ALL < share < 1:
        return "over 99.9 %"
    is_fine = 0 < share < 0.1 or 0.99 <= share < 1
    return f"{100 * share:.1f} %" if is_fine else f"{100 * share:.0f} %"


def short_name(label: str) -> str:
    """The first of a label's synonyms: "tench" of "tench, Tinca tinca"."""
    return label.split(",")[0].strip() or label.strip()


def in_wording(name: str) -> str:
    """`name` for a Wording's sentences, in which its braces are no figures: tags such as ":}"."""
    return name.replace("{", "{{").replace("}", "}}")


def any_of(names: Sequence[str]) -> str:
    """ "a, b or c", however many."""
    return listed(names, "or", most=len(names)) if names else ""


def listed(names: Sequence[str], last: str, most: int = 3) -> str:
    """ "a, b or c" for `last` "or"; of more than `most` names the rest is counted."""
    shown = list(names[:most])
    if more := len(names) - len(shown):
        return f"{', '.join(shown)} {last} {more} more"
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
