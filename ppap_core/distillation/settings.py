"""What can be set about a distillation."""

import re
from dataclasses import dataclass, field

from ..expert_file import INPUTS
from ..noise import PARTITIONS, NoiseRange
from .declaration import check_settings, setting


@dataclass(frozen=True)
class AdapterSettings:
    """Which parameters an expert has of its own, and how many.

    `target_modules`, `bias`, `modules_to_save` are peft's words. `max_touched` bounds what a switch
    of experts has to copy, and the memory for it; LoRA on all layers guides better than as many
    parameters on the first quarter of them. `max_share`: guiders under a million parameters may
    have larger experts (lora_layers.SMALL); 5.8 % is the paper's ResNet50. With norms that are not
    saved, an expert uses the guider's running statistics. Norms help much, other biases little
    (docs/evidence/ablations.md).
    """

    rank: int = setting(8, "LoRA rank", at_least=1)
    lora_alpha: float = setting(8.0, "LoRA's change is scaled by lora_alpha / rank", above=0)
    max_touched: float = setting(
        1.0,
        "share of the guider's weights that LoRA may change, from the input on",
        above=0,
        at_most=1,
    )
    max_share: float = setting(
        0.058,
        "an expert's parameters as a share of the guider's; lowers the rank",
        above=0,
        at_most=1,
    )
    target_modules: str = setting(
        ".*", "regular expression: only layers whose whole name matches it get LoRA"
    )
    bias: str = setting("all", "which biases an expert trains and stores", choices=("all", "none"))
    modules_to_save: str = setting(
        "norms", "which modules an expert trains and stores whole", choices=("norms", "none")
    )
    full: bool = setting(False, "fine-tune every weight instead of adapters (a baseline)")

    def __post_init__(self):
        check_settings(self)
        try:
            re.compile(self.target_modules)
        except re.error as error:
            raise ValueError(
                f"target_modules {self.target_modules!r} is no regular expression: {error}"
            ) from None


@dataclass(frozen=True)
class DistillSettings:
    """How experts are taught. `accumulation` changes memory, not what is learned, but for the
    statistics of BatchNorm: they are those of a piece.
    """

    input: str = setting(
        "x_t",
        "experts read the noisy state, or the model's estimate of the picture",
        choices=INPUTS,
    )
    view: str = setting(
        "auto", "how a latent becomes a picture: auto, identity, linear_rgb, taesd, vae"
    )
    num_experts: int = setting(5, "noise ranges, each with an expert", at_least=1)
    partition: str = setting(
        "log_snr",
        "equal shares of log-SNR, or of DDPM's timesteps (the paper)",
        choices=tuple(PARTITIONS),
    )
    initialisation: str = setting(
        "carry_over",
        "each expert starts from its neighbour, from one shared adapter, or alone",
        choices=("carry_over", "shared", "independent"),
    )
    budget: str = setting(
        "per_expert",
        "whether steps count for each expert or for all together",
        choices=("per_expert", "total"),
    )
    steps: int = setting(800, "optimiser steps", at_least=1)
    warm_up_steps: int = setting(50, "steps over which the learning rate rises")
    batch_size: int = setting(
        64,
        "pictures per optimiser step, over all processes; lower it if memory runs out",
        at_least=1,
    )
    accumulation: int = setting(1, "pieces that a batch is cut into, to save memory", at_least=1)
    learning_rate: float = setting(2e-3, "highest learning rate; it falls by a cosine", above=0)
    weight_decay: float = setting(0.0, "AdamW's")
    temperature: float = setting(
        1.0, "divides the teacher's logits; below 1 sharpens (the official code: 0.25)", above=0
    )
    depth_loss: str = setting(
        "aligned", "compare depth up to scale and shift, or as it is", choices=("aligned", "mse")
    )
    ema_decay: float = setting(
        0.0,
        "average the weights over steps, 0.99 over about 100; 0 keeps the last",
        at_least=0,
        below=1,
    )
    precision: str = setting("fp32", "precision of training", choices=("fp32", "bf16", "fp16"))
    channels_last: bool = setting(False, "store pictures channels last: faster on some GPUs")
    num_heldout: int = setting(256, "pictures kept for evaluation, at most a tenth")
    seed: int = setting(0, "random seed of the training")
    adapter: AdapterSettings = field(default_factory=AdapterSettings)

    def __post_init__(self):
        check_settings(self)
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation ({self.accumulation}) cuts a batch of {self.batch_size} images into "
                f"more pieces than it has"
            )

    def ranges(self) -> list[NoiseRange]:
        return PARTITIONS[self.partition](self.num_experts)

    def steps_per_expert(self) -> int:
        return self.steps if self.budget == "per_expert" else max(1, self.steps // self.num_experts)
