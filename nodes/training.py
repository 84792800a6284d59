"""Train PPAP Experts."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..ppap_core.comfy_bridge.checkpoint import Checkpoint, model_fingerprint
from ..ppap_core.comfy_bridge.folders import EXPERTS, own_folder
from ..ppap_core.comfy_bridge.hook import guidances_of
from ..ppap_core.comfy_bridge.plan import plan
from ..ppap_core.comfy_bridge.trainer import Trainer
from ..ppap_core.comfy_bridge.training_on_node import train_on_node
from ..ppap_core.distillation.files import TrainingFiles
from ..ppap_core.distillation.generate import NUM_ESTIMATES, GenerateSettings
from ..ppap_core.distillation.learned import what_was_learned
from ..ppap_core.distillation.settings import DistillSettings
from ..ppap_core.reading import INPUTS, VIEWS
from .pictures import load_preview
from .shown import picture_on_node, shows_text, text_on_node
from .sockets import expect_guider, told_by_its_widgets
from .types import CATEGORY, GuiderSocket

WINDOWS_CHARACTERS = frozenset('<>:"/\\|?*')
WINDOWS_NAMES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{p}{i}" for p in ("COM", "LPT") for i in range(10)),
}
NO_PREVIEW = torch.zeros(1, 1, 1, 3)


class TrainExperts(io.ComfyNode):
    @classmethod
    @shows_text
    def define_schema(cls):
        return io.Schema(
            node_id="PPAP_TrainExperts",
            display_name="Train PPAP Experts",
            category=CATEGORY,
            description="Samples pictures with the model, and teaches a guider's experts on them "
            "to read unfinished ones. No labels. Cancel at any time; queue again to resume.",
            search_aliases=["train", "distill", "expert", "adapter", "LoRA", "PPAP"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model that is to be guided later."),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="Prompt of the training pictures; an empty one gives a bit of "
                    "everything.",
                ),
                GuiderSocket.Input("guider", tooltip="The vision model that gets experts."),
                io.String.Input(
                    "name",
                    default="my_experts",
                    tooltip="Name of the expert file in models/ppap_experts. An existing one is "
                    "kept, unless overwrite is on.",
                ),
                io.Int.Input(
                    "num_images",
                    default=5000,
                    min=16,
                    max=1_000_000,
                    tooltip="Training pictures to sample. Experts learn far more from thousands "
                    "than hundreds.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Picture width; 0 takes the usual one for the model.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Picture height; 0 takes the usual one for the model.",
                ),
                io.Int.Input(
                    "sampling_steps",
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="Denoising steps for each training picture. Few will do.",
                ),
                io.Int.Input(
                    "num_experts",
                    default=5,
                    min=1,
                    max=20,
                    tooltip="Noise ranges, each with an expert of its own.",
                ),
                io.Int.Input(
                    "steps",
                    default=800,
                    min=1,
                    max=1_000_000,
                    tooltip="Optimiser steps for each expert.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=64,
                    min=1,
                    max=4096,
                    tooltip="Pictures per optimiser step. Lower it if memory runs out.",
                ),
                io.Combo.Input(
                    "guider_input",
                    options=list(INPUTS),
                    default="x0_hat",
                    advanced=True,
                    tooltip="x0_hat: experts read the model's estimate of the picture, which "
                    "guides best. Estimates are kept while the pictures are sampled. x_t: they "
                    "read the noisy state, as in the paper.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFF,
                    control_after_generate=False,  # a new one after each run could not resume it
                    tooltip="Random seed for all stages.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Decodes the pictures; latent models need it."
                ),
                io.Combo.Input(
                    "view",
                    options=list(VIEWS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="How latents are shown to the guider, in training and in sampling. "
                    "auto: taesd if its decoder lies in models/vae_approx, else by the vae that is "
                    "connected, else linear_rgb, which guides worse.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Replace an expert file that has this name already. Its pictures are "
                    "used again; with other settings, experts are learned anew.",
                ),
                io.Boolean.Input(
                    "dry_run",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Train nothing: measure a few steps, and show on the node how long the "
                    "training will take, with its disk and memory.",
                ),
            ],
            outputs=[
                GuiderSocket.Output(
                    display_name="guider", tooltip="The guider with its new experts."
                ),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Rows: without guidance, with the guider alone, with its experts.",
                ),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    @told_by_its_widgets(steps="sampling_steps")
    def execute(cls, model, conditioning, guider, name, vae=None, dry_run=False, **widgets):
        expect_guider(guider, cls)
        trainer = build_trainer(model, conditioning, guider, name, vae, **widgets)
        if dry_run:
            text = plan(trainer)
            shown = text_on_node(text) | picture_on_node(None, cls)
            return io.NodeOutput(guider, NO_PREVIEW, text, ui=shown)
        expert_set, rows = train_on_node(trainer)
        lines = what_was_learned(trainer.guider.info.kind, rows)
        text = "\n".join([trainer.files.out, *lines])
        preview = load_preview(trainer.files.preview_file())
        image_bhwc = NO_PREVIEW if preview is None else preview
        shown = picture_on_node(image_bhwc, cls) | text_on_node(text)
        return io.NodeOutput(guider.with_experts(expert_set), image_bhwc, text, ui=shown)


def training_files(name: str, overwrite: bool = False) -> TrainingFiles:
    """ValueError for a name that is no plain file name on every system, or is taken."""
    is_plain = name and Path(name).name == name and not name.startswith(".") and name.isprintable()
    is_kept = name.rstrip(" .") == name and not WINDOWS_CHARACTERS & set(name)
    if not (is_plain and is_kept) or name.partition(".")[0].upper() in WINDOWS_NAMES:
        raise ValueError(f"the name of an expert file is a plain file name, got {name!r}")
    run = Path(folder_paths.get_output_directory()) / "ppap_training" / name
    out = own_folder(EXPERTS) / f"{name}.safetensors"
    files = TrainingFiles(out=str(out), run=str(run), overwrite=overwrite)
    files.check_out()
    return files


def build_trainer(model, conditioning, guider, name, vae, **widgets) -> Trainer:
    files = training_files(name, widgets.get("overwrite", False))
    if guidances_of(model):
        raise ValueError(
            "the model at the socket model is guided already, and its pictures would be guided "
            "ones: connect the model from before PPAP Apply Guidance"
        )
    fingerprint = model_fingerprint(model)
    pictures = {key: widgets[key] for key in ("num_images", "width", "height", "seed")}
    pictures["num_estimates"] = NUM_ESTIMATES if widgets["guider_input"] == "x0_hat" else 0
    experts = {key: widgets[key] for key in ("num_experts", "steps", "batch_size", "seed")}
    experts |= {"input": widgets["guider_input"], "view": widgets.get("view", "auto")}
    return Trainer(
        checkpoint=Checkpoint(model, None, vae, f"model {fingerprint[:12]}", fingerprint),
        guider=guider.guider,
        patcher=guider.patcher,
        conditioning={"": conditioning},
        generate=GenerateSettings(**pictures, steps=widgets["sampling_steps"]),
        distill=DistillSettings(**experts),
        files=files,
    )
