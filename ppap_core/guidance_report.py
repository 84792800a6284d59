"""What guidance did in a sampling, in words. For curves and pictures see guidance_figures.py."""

import math
from collections.abc import Sequence

from .guidance_run import GuidanceRun, Outcome
from .targets.wording import percent

WEAK = 0.005  # of the noise: smaller shifts can hardly be seen
CERTAIN = 0.95  # agreement, from the first step on
NEARER = 0.02  # agreement: a smaller rise is none


def describe(outcomes: Sequence[Outcome], is_guided: bool = True) -> str:
    """Some lines for each guidance, and what to change where it had no effect.

    `is_guided`: whether the model would guide, for the case that there are no outcomes.
    """
    if outcomes:
        return "\n".join(line for outcome in outcomes for line in _lines(outcome))
    if not is_guided:
        return (
            "nothing guides this model: strength is 0, the interval never opens, or no guider or "
            "target is connected to the node that guides it"
        )
    return (
        "no guided sampling is known that made this latent: connect the LATENT as the sampler put "
        "it out (not scaled, cropped or loaded from a file); with denoise 0 a sampler does nothing"
    )


def summary(outcome: Outcome) -> str:
    """What one guidance did, in one line, for the log."""
    if not outcome.records:
        return f"PPAP {_name(outcome)} {_result(outcome)}"
    return f"PPAP {_name(outcome)}: {_result(outcome)}; {_effort(outcome)}"


def in_short(outcome: Outcome) -> str:
    """What one guidance did, in one short line, for the node that sampled."""
    task, records = outcome.info.told, outcome.records
    if not records:
        return f"not guided: {_name(outcome)} {_result(outcome)}"
    told = "; ".join(filter(None, (_effort(outcome), lost_steps(outcome))))
    ends = _ends(outcome) if outcome.wording else None
    return f"{task}: {outcome.wording.tell_live(*ends)}; {told}" if ends else f"{task}: {told}"


def lost_steps(outcome: Outcome) -> str:
    """How many steps left pictures unguided for want of a finite gradient; "" if none did."""
    if not outcome.lost_steps:
        return ""
    return (
        f"the gradient was not finite at {outcome.lost_steps} of {len(outcome.records)} guided "
        f"steps, which left pictures unguided"
    )


def stale_steps(outcome: Outcome) -> str:
    """How many steps a cache answered in place of the diffusion model; "" if none did."""
    if not outcome.stale_steps:
        return ""
    return (
        f"a step cache answered in place of the diffusion model {outcome.stale_steps} times: there "
        f"guidance made no evaluation of its own (jacobian none, or the shift of the step before)"
    )


def progress(run: GuidanceRun) -> str:
    """How far a run with at least one record has come, in one short line."""
    first, last, wording = run.records[0], run.records[-1], run.wording()
    expert = "" if last.expert is None else f", expert {last.expert}"
    if wording is None:
        reached = f"log-likelihood {first.log_likelihood:.3g} -> {last.log_likelihood:.3g}"
    else:
        reached = wording.tell_live(float(first.agreement), float(last.agreement))
    return f"{run.guidance.guider.info.told}: {reached}{expert}"


def _name(outcome: Outcome) -> str:
    return f"{outcome.info.told} guidance by {outcome.info.architecture}"


def _result(outcome: Outcome) -> str:
    """What the guider saw at the first guided step and at the last, or why nothing was guided."""
    records, strength = outcome.records, outcome.strength
    if not records:
        return (
            f"did nothing: no step's noise lies in its part of the schedule, "
            f"{strength.start_percent:g} to {strength.end_percent:g}"
        )
    if outcome.wording is None:
        first, last = (float(records[i].log_likelihood) for i in (0, -1))
        return f"raised the log-likelihood from {first:.3g} to {last:.3g}"
    if (ends := _ends(outcome)) is None:
        return "got no answer that is a number"
    told = outcome.wording.tell(*ends)
    number = max(record.pictures for record in records)
    return f"on average over {number} pictures {told}" if number > 1 else told


def _ends(outcome: Outcome) -> tuple[float, float] | None:
    """The first agreement that is a number, and the last; None if there is none."""
    known = [number for r in outcome.records if math.isfinite(number := float(r.agreement))]
    return (known[0], known[-1]) if known else None


def _effort(outcome: Outcome) -> str:
    """ "guided 20 of 20 steps, 31 % of the time"."""
    sampling, num = outcome.sampling, len(outcome.records)
    if not sampling.seconds:
        return f"guided {num} evaluations of the model"
    what = "steps"
    if sampling.evaluations != sampling.steps:
        what = f"evaluations of the model in {sampling.steps} steps"
    share = min(1.0, sum(record.seconds for record in outcome.records) / sampling.seconds)
    return f"guided {num} of {sampling.evaluations} {what}, {percent(share)} of the time"


def _lines(outcome: Outcome) -> list[str]:
    records = outcome.records
    lines = [f"{_name(outcome)} {_result(outcome)}"]
    if not records:
        return [*lines, "    widen start_percent and end_percent, or look at denoise"]
    lines[0] = f"{_name(outcome)}: {_result(outcome)}"
    lines.append(f"    {_effort(outcome)}; {_who_answered(outcome)}")
    share = sum(float(record.share) for record in records) / len(records)
    lines.append(f"    each step moved the picture by {percent(share)} of its noise")
    for told in filter(None, (lost_steps(outcome), stale_steps(outcome))):
        lines.append(f"    {told}")
    if outcome.remark:
        lines.append(f"    {outcome.remark}")
    if round(outcome.num_bytes / 2**20):
        lines.append(f"    its backward pass keeps {outcome.num_bytes / 2**20:.0f} MB")
    if advice := _advice(outcome):
        lines.append(f"    {advice}")
    return lines


def _advice(outcome: Outcome) -> str:
    """What to change, or why there is nothing to change; "" where guidance did its work."""
    if outcome.lost_steps == len(outcome.records) or outcome.strength.guidance_scale < 0:
        return ""  # it could not act, or leads away from the target
    if max(float(record.share) for record in outcome.records) < WEAK:
        return "it moved next to nothing: raise strength"
    if outcome.wording is None or not outcome.wording.has_end:
        return ""
    agreement = [float(record.agreement) for record in outcome.records]
    if min(agreement) > CERTAIN:
        return "the guider saw the target from the first step on: nothing was left to do"
    if agreement[-1] - agreement[0] < NEARER and agreement[-1] < CERTAIN:
        could_learn = outcome.info.is_network and not outcome.num_experts
        experts = ", or give the guider experts" if could_learn else ""
        return f"it came no nearer to the target: raise strength{experts}"
    return ""


def _who_answered(outcome: Outcome) -> str:
    used = sorted({record.expert for record in outcome.records if record.expert is not None})
    if used:
        return f"experts {', '.join(map(str, used))} of {outcome.num_experts} answered"
    if not outcome.info.is_network:
        what = "the model's estimates of the picture" if outcome.input == "x0_hat" else "the states"
        return f"{what} were compared, without a network"
    if outcome.input == "x0_hat":
        return "the guider answered without experts, about the model's estimates of the picture"
    return "the guider answered without experts: it cannot read strong noise"
