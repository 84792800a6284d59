"""What can be set about a distillation."""

import re
from dataclasses import dataclass, field

from ..noise import PARTITIONS, NoiseRange
from ..reading import INPUTS, VIEWS
from .declaration import LARGEST_SEED, check_settings, setting

SHARE = {"above": 0, "at_most": 1}


@dataclass(frozen=True)
class AdapterSettings:
    """Which parameters an expert has of its own, and how many.

    `target_modules` (matches whole names), `bias` and `modules_to_save` are peft's words. Norms are
    saved with their biases; they help much, other biases little (docs/evidence/ablations.md).
    `norm_statistics`: the paper's code takes a batch's, which make another network of a deep one
    (docs/evidence/photographs.md). `max_touched` bounds what a switch of experts has to copy, and
    the memory for it; LoRA on all layers guides better than as many parameters on the first quarter
    of them. `max_share`: small guiders may have larger experts (lora_layers.SMALL); 5.8 % is the
    paper's ResNet50.
    """

    rank: int = setting(8, "LoRA rank", at_least=1)
    lora_alpha: float = setting(8.0, "LoRA's change is scaled by lora_alpha / rank", above=0)
    max_touched: float = setting(
        1.0, "share of the guider's weights, from the input on, that LoRA may change", **SHARE
    )
    max_share: float = setting(
        0.058, "an expert's parameters as a share of the guider's; lowers the rank", **SHARE
    )
    target_modules: str = setting(".*", "regular expression for names of layers that get LoRA")
    bias: str = setting(
        "all", "biases that an expert trains and stores: all or none", choices=("all", "none")
    )
    modules_to_save: str = setting(
        "norms", "which modules an expert trains and stores whole", choices=("norms", "none")
    )
    norm_statistics: str = setting(
        "guider",
        "statistics by which batch norms normalise. guider: the guider's own, always; batch: those "
        "of a batch while learning, of many when guiding, which an expert stores",
        choices=("guider", "batch"),
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
    """How experts are taught. `batch_size` counts the pictures of all processes together."""

    input: str = setting(
        "x0_hat",
        "what experts read. x0_hat: the model's estimate of the picture; x_t: the noisy state",
        choices=INPUTS,
    )
    estimates: str = setting(
        "auto",
        "what experts on x0_hat learn from. kept: estimates kept while sampling; fresh: new ones, "
        "each a pass of the model; auto: kept ones if there are any",
        choices=("auto", "kept", "fresh"),
    )
    view: str = setting(
        "auto",
        "how latents are shown to the guider; auto: by a decoder if there is one",
        choices=VIEWS,
    )
    num_experts: int = setting(5, "noise ranges, each with an expert", at_least=1, at_most=100)
    partition: str = setting(
        "log_snr",
        "noise ranges are equal shares of this. log_snr: of log-SNR; timestep: of DDPM's timesteps",
        choices=tuple(PARTITIONS),
    )
    initialisation: str = setting(
        "carry_over",
        "what each expert starts from. carry_over: its neighbour; shared: one adapter for all "
        "noise; independent: the plain guider",
        choices=("carry_over", "shared", "independent"),
    )
    budget: str = setting(
        "per_expert",
        "what steps counts. per_expert: those of each expert; total: those of all together",
        choices=("per_expert", "total"),
    )
    steps: int = setting(800, "optimiser steps", at_least=1)
    warm_up_steps: int = setting(50, "steps over which the learning rate rises", at_least=0)
    batch_size: int = setting(64, "pictures per step; lower it if memory runs out", at_least=1)
    accumulation: int = setting(1, "pieces of a batch, one at a time to save memory", at_least=1)
    learning_rate: float = setting(2e-3, "highest learning rate; it falls by a cosine", above=0)
    rate_by_loss: bool = setting(
        True, "lower the learning rate of an expert that begins better than a constant answer"
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay", at_least=0)
    temperature: float = setting(
        1.0, "divides the teacher's logits; below 1 sharpens (the official code: 0.25)", above=0
    )
    depth_loss: str = setting(
        "aligned",
        "how depth is compared. aligned: up to scale and shift; mse: as it is",
        choices=("aligned", "mse"),
    )
    ema_decay: float = setting(
        0.0, "average weights over steps, 0.99 over about 100; 0 is off", at_least=0, below=1
    )
    precision: str = setting("fp32", "precision of training", choices=("fp32", "bf16", "fp16"))
    channels_last: bool = setting(False, "store pictures channels last: faster on some GPUs")
    num_heldout: int = setting(256, "pictures kept for evaluation, at most a tenth", at_least=1)
    keep_best: bool = setting(
        True, "end each expert with the weights that answer best to pictures held out (8 or more)"
    )
    seed: int = setting(0, "random seed of the training", at_least=0, at_most=LARGEST_SEED)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)

    def __post_init__(self):
        check_settings(self)
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation ({self.accumulation}) cuts a batch of {self.batch_size} images into "
                f"more pieces than it has"
            )

    @property
    def takes_kept(self) -> bool:
        """Whether experts learn from kept estimates, where there are any."""
        return self.input == "x0_hat" and self.estimates != "fresh"

    def ranges(self) -> list[NoiseRange]:
        return PARTITIONS[self.partition](self.num_experts)

    def steps_per_expert(self) -> int:
        return self.steps if self.budget == "per_expert" else max(1, self.steps // self.num_experts)
