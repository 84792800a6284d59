"""What experts have learned, in plain words: a line for each noise range, and what to do."""

from ..tasks import comparisons
from .evaluate import NOTHING_MEASURED, RangeAgreement

REMEDY = "For what is not learned yet, sample more pictures or train for more steps."
MORE_PICTURES = (
    "What is learned by heart needs more pictures (num_images), or fresh estimates (estimates) in "
    "place of kept ones; more steps make it worse."
)


def what_was_learned(kind: str, rows: list[RangeAgreement]) -> list[str]:
    """`kind`: of the guider's answers. Without `rows` nothing is claimed."""
    if not rows:
        return [NOTHING_MEASURED]
    num, name = rows[0].num_pictures, comparisons()[kind].agreement_name
    lines = [f"agreement with the guider on {num} pictures held out ({name}):"]
    lines += [
        f"noise {row.noise_range}: {_verdict(row)}, {row.expert:.0%} (guider alone {row.plain:.0%})"
        for row in rows
    ]
    if any(row.is_undertrained for row in rows):
        lines.append(REMEDY)
    return [*lines, MORE_PICTURES] if any(row.is_by_heart for row in rows) else lines


def _verdict(row: RangeAgreement) -> str:
    if row.is_by_heart:
        return "LEARNED BY HEART (worse on other pictures than a constant answer)"
    if row.is_undertrained:
        return "NOT LEARNED YET (a constant answer would do better)"
    if row.is_silent:
        return "no signal (the expert answers the same to every picture)"
    if row.expert_loss >= row.plain_loss:
        return "no better than the guider alone"
    return "learned"
