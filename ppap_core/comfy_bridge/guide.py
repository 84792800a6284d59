"""The one way to guide a MODEL: with a guider and a target, for any sampler node."""

import logging
from functools import partial

from ..guidance import Guidance
from ..reading import AUTO, OPEN, Reading
from ..shaping import NO_SHAPING, Shaping
from ..spectrum import GENERIC
from ..strength import Strength
from ..targets import Target
from .hook import install_guidance
from .live import show_on_node
from .loaded_guider import LoadedGuider
from .memory import images_at_once
from .views import build_view, has_tiny_decoder, works_on_pixels

SHARE = 0.5  # of the device's memory, for the guider's passes

log = logging.getLogger(__name__)


def guide(
    model,
    guider: LoadedGuider,
    target: Target,
    strength: Strength,
    *,
    reading: Reading = OPEN,
    jacobian: str = "jvp",
    shaping: Shaping = NO_SHAPING,
    vae=None,
):
    """A clone of `model` (MODEL) that `guider` steers toward `target`.

    `model` itself where the strength is off. `vae` (VAE) serves the view "vae". ValueError, before
    anything is sampled, where guider, target, experts, view and model do not fit together.
    """
    latent_format = model.get_model_object("latent_format")
    if guider.expert_set:
        guider.expert_set.header.check_latent_format(type(latent_format).__name__)
    reading = settle_reading(reading, guider, latent_format, vae)
    if strength.is_off:
        warn_of_no_guidance(guider, target, strength)
        return model
    built = build_view(reading.view, model, vae)
    guidance = Guidance(
        guider.guider,
        target,
        strength,
        experts=guider.experts,
        input=reading.input,
        view=built.view,
        jacobian=jacobian,
        shaping=shaping,
        spectrum=guider.expert_set.header.data_spectrum if guider.expert_set else GENERIC,
        at_once=partial(images_at_once, guider.guider, SHARE, None),
    )
    return install_guidance(model, guidance, guider.patcher, *built.patchers)


def warn_of_no_guidance(
    guider: LoadedGuider | None, target: Target | None, strength: Strength
) -> None:
    """On the running node and in the log: why pictures will be unguided. Scale 0 says it itself."""
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


def settle_reading(reading: Reading, guider: LoadedGuider, latent_format, vae=None) -> Reading:
    """What "auto" stands for in `reading`: as the experts were trained, if there are some."""
    if guider.expert_set:
        return guider.expert_set.header.settle_reading(reading)
    return settle_without_experts(reading, latent_format, vae)


def settle_without_experts(reading: Reading, latent_format, vae=None) -> Reading:
    """What "auto" stands for where no experts decide it; the view may stay "auto", the cheapest.

    A guider alone reads pictures best: of latents it gets the model's estimate, decoded, if there
    is a decoder (docs/evidence/views.md: three times as many pictures come out as asked).
    """
    view = reading.view
    if view == AUTO and reading.input != "x_t" and not works_on_pixels(latent_format):
        if has_tiny_decoder(latent_format):
            view = "taesd"
        elif vae is not None:
            view = "vae"
    estimate_or_state = "x0_hat" if view in ("taesd", "vae") else "x_t"
    return Reading(estimate_or_state if reading.input == AUTO else reading.input, view)
