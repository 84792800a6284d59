"""The one way to guide a MODEL: with a guider and a target, for any sampler node."""

import logging
from functools import partial

from ..guidance import Guidance
from ..particles import Particles
from ..reading import AUTO, OPEN, Reading
from ..recommended import BURNING
from ..shaping import NO_SHAPING, Shaping
from ..strength import RECOMMENDED, Strength
from ..targets import Target
from .best_of import install_best_of
from .hook import install_guidance
from .live import show_on_node
from .loaded_guider import LoadedGuider
from .memory import images_at_once
from .views import BuiltView, build_view

RECOMMENDED_STRENGTH = Strength()
SHARE = 0.5  # of the device's memory, for the guider's passes

log = logging.getLogger(__name__)


def guide(
    model,
    guider: LoadedGuider,
    target: Target,
    strength: Strength = RECOMMENDED_STRENGTH,
    *,
    reading: Reading = OPEN,
    jacobian: str = AUTO,
    shaping: Shaping = NO_SHAPING,
    vae=None,
):
    """A clone of `model` (MODEL) that `guider` steers toward `target`.

    `model` itself where the strength is off. `vae` (VAE) serves the view "vae". ValueError, before
    anything is sampled, where guider, target, experts, view and model do not fit together.
    """
    check_latents(model, guider)
    check_gradient(target)
    reading = settle_reading(reading, guider)
    if strength.is_off:
        warn_of_no_guidance(guider, target, strength)
        return model
    warn_of_burning(strength)
    built = build_view(reading.view, model, vae, guider.guider)
    guidance = asked(
        guider, target, reading.input, built, strength=strength, jacobian=jacobian, shaping=shaping
    )
    return install_guidance(model, guidance, guider.patcher, *built.patchers)


def choose_best(
    model,
    guider: LoadedGuider,
    target: Target,
    particles: Particles,
    *,
    reading: Reading = OPEN,
    vae=None,
):
    """A clone of `model` (MODEL) whose pictures are the best of several by `target`.

    `model` itself for one particle. ValueError as for `guide`.
    """
    check_latents(model, guider)
    reading = settle_reading(reading, guider)
    if particles.num == 1:
        return model
    built = build_view(reading.view, model, vae, guider.guider)
    guidance = asked(guider, target, reading.input, built)
    return install_best_of(model, particles, guidance, guider.patcher, *built.patchers)


def asked(
    guider: LoadedGuider, target: Target, input: str, built: BuiltView, **settings
) -> Guidance:
    """`settings`: of Guidance."""
    return Guidance(
        guider.guider,
        target,
        experts=guider.experts,
        input=input,
        view=built.view,
        data_spectrum=guider.data_spectrum,
        at_once=partial(images_at_once, guider.guider, SHARE, None),
        **settings,
    )


def warn_of_no_guidance(
    guider: LoadedGuider | None, target: Target | None, strength: Strength
) -> None:
    """On the running node and in the log: why pictures will be unguided. Off needs no word."""
    if strength.guidance_scale == 0:
        return
    named = {"guider": guider, "target": target}
    if missing := [name for name, value in named.items() if value is None]:
        reason = (
            f"no {' and no '.join(missing)} is connected, or what is connected is muted or bypassed"
        )
    else:
        reason = (
            f"start_percent {strength.start_percent:g} is not below end_percent "
            f"{strength.end_percent:g}"
        )
    told = f"PPAP: the pictures will be unguided, since {reason}"
    log.warning(told)
    show_on_node([told])


def warn_of_burning(strength: Strength) -> None:
    """On the running node and in the log, if pictures will fall apart under this strength."""
    if strength.rule == RECOMMENDED and strength.guidance_scale > BURNING:
        told = (
            f"PPAP: strength {strength.guidance_scale:g} will burn the pictures: 1 is recommended, "
            f"2 insists, and more than {BURNING:g} gains nothing"
        )
        log.warning(told)
        show_on_node([told], lasting=True)


def check_latents(model, guider: LoadedGuider) -> None:
    """ValueError if the experts were trained for latents of another format than `model`'s."""
    if guider.expert_set:
        latent_format = model.get_model_object("latent_format")
        guider.expert_set.header.check_latent_format(type(latent_format).__name__)


def check_gradient(target: Target) -> None:
    """ValueError if `target` can judge pictures, but not say how to move one."""
    if not getattr(target, "has_gradient", True):
        raise ValueError(
            "this target has no gradient, so it cannot move a picture: connect it, and its guider, "
            "to PPAP Best of Several, which chooses among pictures"
        )


def settle_reading(reading: Reading, guider: LoadedGuider) -> Reading:
    """What "auto" stands for in `reading`: as the experts were trained, if there are some.

    A guider alone cannot read noise, so it reads the model's estimate (docs/evidence/views.md,
    class.md: in latents and in pixels, three and more times as many pictures come out as asked).
    """
    if guider.expert_set:
        return guider.expert_set.header.settle_reading(reading)
    return reading.or_else(Reading(input="x0_hat"))
