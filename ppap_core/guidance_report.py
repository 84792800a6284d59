"""What guidance did in a sampling, in words. For curves and pictures see guidance_figures.py."""

from collections.abc import Sequence

from .guidance_run import GuidanceRun, Outcome

WEAK = 0.005  # of the noise: smaller shifts can hardly be seen
CERTAIN = -0.05  # mean log-likelihood of a class that the guider sees from the start


def describe(outcomes: Sequence[Outcome], is_guided: bool = True) -> str:
    """Some lines for each guidance, and what to change where it had no effect.

    `is_guided`: whether the model would guide, for the case that there are no outcomes.
    """
    if outcomes:
        return "\n".join(line for outcome in outcomes for line in _lines(outcome))
    if not is_guided:
        return (
            "nothing guides this model: guidance_scale is 0, the interval never opens, or a guider "
            "or target is missing"
        )
    return (
        "no guided sampling is known that made this latent: connect the LATENT as the sampler put "
        "it out (not scaled, cropped or loaded from a file); with denoise 0 a sampler does nothing"
    )


def summary(outcome: Outcome) -> str:
    """What one guidance did, in one line."""
    records = outcome.records
    name = f"PPAP {outcome.info.task} guidance by {outcome.info.architecture}"
    if not records:
        strength = outcome.strength
        return (
            f"{name} did nothing: no step's noise lies in its part of the schedule, "
            f"{strength.start_percent:g} to {strength.end_percent:g}"
        )
    first, last = (float(records[i].log_likelihood) for i in (0, -1))
    share = sum(float(record.share) for record in records) / len(records)
    seconds = sum(record.seconds for record in records) / len(records)
    return (
        f"{name}: {len(records)} evaluations guided, log-likelihood {first:.3g} -> "
        f"{last:.3g}, each moved by {share:.2g} of its noise in {1000 * seconds:.1f} ms"
    )


def lost_steps(outcome: Outcome) -> str:
    """How many steps left pictures unguided for want of a finite gradient; "" if none did."""
    if not outcome.lost_steps:
        return ""
    return (
        f"PPAP guidance: the gradient was not finite at {outcome.lost_steps} of "
        f"{len(outcome.records)} guided steps, which left pictures unguided"
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
    first, last = run.records[0], run.records[-1]
    expert = "" if last.expert is None else f", expert {last.expert}"
    return (
        f"{run.guidance.guider.info.task}: log-likelihood {float(first.log_likelihood):.3g} -> "
        f"{float(last.log_likelihood):.3g}, sigma {last.sigma_ve:.3g}{expert}"
    )


def _lines(outcome: Outcome) -> list[str]:
    lines, records = [summary(outcome)], outcome.records
    if not records:
        return [*lines, "    widen start_percent and end_percent, or look at denoise"]
    lines.append(f"    {_who_answered(outcome)}")
    if told := stale_steps(outcome):
        lines.append(f"    {told}")
    if outcome.num_bytes:
        lines.append(f"    its backward pass keeps {outcome.num_bytes / 2**20:.0f} MB")
    if max(float(record.share) for record in records) < WEAK:
        lines.append("    it moved next to nothing: raise guidance_scale")
    if _was_certain(outcome):
        lines.append("    the guider saw the target from the first step on: nothing was left to do")
    return lines


def _who_answered(outcome: Outcome) -> str:
    used = sorted({record.expert for record in outcome.records if record.expert is not None})
    if not used:
        return "the guider answered without experts: it cannot read strong noise"
    return f"experts {', '.join(map(str, used))} of {outcome.num_experts} answered"


def _was_certain(outcome: Outcome) -> bool:
    likelihoods = [float(record.log_likelihood) for record in outcome.records]
    is_probability = outcome.info.task == "class" and outcome.info.answer != "score"
    return is_probability and min(likelihoods) > CERTAIN
