"""PPAP Apply Guidance (for any sampler node) and PPAP Guided KSampler (all in one)."""

import comfy.samplers
from comfy_api.latest import io

from ..ppap_core.comfy_bridge.guide import guide, warn_of_no_guidance
from ..ppap_core.comfy_bridge.sampling import sample_latent
from ..ppap_core.jacobian import JACOBIANS
from ..ppap_core.reading import AUTO, INPUTS, VIEWS, Reading
from ..ppap_core.strength import Strength
from .options import NO_OPTIONS
from .shown import last_text, shows_text
from .sockets import check_sockets
from .types import CATEGORY, GuiderSocket, OptionsSocket, TargetSocket


def guidance_inputs():
    return [
        GuiderSocket.Input(
            "guider",
            optional=True,
            tooltip="The vision model, with or without experts. None: no guidance.",
        ),
        TargetSocket.Input(
            "target", optional=True, tooltip="What the guider should see. None: no guidance."
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=10000.0,
            step=0.05,
            tooltip="How strongly the guider steers. 1 is recommended for every guider, 0.5 is a "
            "hint, 2 insists, 0 is off. PPAP Guidance Options has other scales.",
        ),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="The model's VAE: shows latents to the guider as pictures. Connect it unless "
            "the model works on pixels or has a tiny decoder in models/vae_approx.",
        ),
        OptionsSocket.Input(
            "options", optional=True, tooltip="Region, conflicts, limits: PPAP Guidance Options."
        ),
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Guidance begins at this share of the schedule.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Guidance ends at this share of the schedule.",
        ),
        io.Combo.Input(
            "view",
            options=list(VIEWS),
            default="auto",
            optional=True,
            advanced=True,
            tooltip="How a latent becomes a picture for the guider. auto: as the experts were "
            "trained; without experts by a decoder if there is one, else by the linear map.",
        ),
        io.Combo.Input(
            "guider_input",
            options=[AUTO, *INPUTS],
            default=AUTO,
            optional=True,
            advanced=True,
            tooltip="What the guider sees: x_t, the noisy picture, or x0_hat, the model's estimate "
            "of the final one. auto: as the experts were trained; without experts x0_hat.",
        ),
        io.Combo.Input(
            "jacobian",
            options=[AUTO, *JACOBIANS],
            default=AUTO,
            optional=True,
            advanced=True,
            tooltip="For x0_hat, how the gradient passes through the model. auto: jvp for "
            "classes, boxes, poses and most guiders alone, none for experts on maps and words. "
            "none: not at all, at no cost. jvp: one more evaluation of the model. backprop: "
            "exact, slow, needs much memory. wiener: by the frequencies that the data have, at no "
            "cost.",
        ),
    ]


def guide_model(
    model,
    guider=None,
    target=None,
    strength=1.0,
    vae=None,
    options=NO_OPTIONS,
    start_percent=0.0,
    end_percent=1.0,
    view=AUTO,
    guider_input=AUTO,
    jacobian=AUTO,
):
    """`model` with guidance; as it is, and said why, if there is no guider or no target."""
    options = options or NO_OPTIONS  # a switch may pass on None
    check_sockets(guider, target, options)
    wished = Strength(strength, options.rule, start_percent, end_percent)
    if guider is None or target is None:
        warn_of_no_guidance(guider, target, wished)
        return model
    return guide(
        model,
        guider,
        target,
        wished,
        reading=Reading(guider_input, view),
        jacobian=jacobian,
        shaping=options.shaping,
        vae=vae,
    )


class ApplyGuidance(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_ApplyGuidance",
            display_name="PPAP Apply Guidance",
            category=CATEGORY,
            description="Makes a model follow a guider, under every sampler node.",
            search_aliases=["guide", "guidance", "classifier guidance", "steer", "PPAP"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to be guided."),
                *guidance_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model, **guidance):
        return io.NodeOutput(guide_model(model, **guidance), ui=last_text())


def ksampler_inputs():
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="The random seed of the noise.",
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="How many denoising steps."),
        io.Float.Input(
            "cfg",
            default=8.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Classifier-free guidance by the prompt; 1 is off.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            tooltip="The sampling algorithm; every one can be guided.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            tooltip="How noise is removed over the steps.",
        ),
        io.Conditioning.Input("positive", tooltip="What the picture should show, in words."),
        io.Conditioning.Input("negative", tooltip="What it should not show, in words."),
        io.Latent.Input("latent_image", tooltip="The latent to denoise."),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Below 1 keeps part of the latent that comes in.",
        ),
    ]


def guide_and_sample(model, **inputs):
    """LATENT and the guided MODEL, from the inputs of PPAP Guided KSampler."""
    names = [entry.id for entry in guidance_inputs() if entry.id in inputs]
    guided = guide_model(model, **{name: inputs.pop(name) for name in names})
    return sample_latent(guided, **inputs), guided


class GuidedKSampler(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_GuidedKSampler",
            display_name="PPAP Guided KSampler",
            category=CATEGORY,
            description="KSampler whose every step a vision model steers toward a target.",
            search_aliases=["guide", "guidance", "ksampler", "classifier guidance", "PPAP"],
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model to be guided."),
                *ksampler_inputs(),
                *guidance_inputs(),
            ],
            outputs=[
                io.Latent.Output(tooltip="The denoised latent."),
                io.Model.Output(
                    display_name="guided_model", tooltip="For PPAP Guidance Report, say."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, **inputs):
        return io.NodeOutput(*guide_and_sample(model, **inputs), ui=last_text())
