"""The methods that the tables compare: what guides, and how its experts are taught."""

from dataclasses import dataclass, field, replace

from evidence.benchmark.budgets import Budget
from ppap_core.distillation.settings import AdapterSettings, DistillSettings

MAX_SHARE = 0.058  # of the guider's parameters, for one expert: the paper's ResNet50
# The largest ranks within MAX_SHARE.
RANKS = {"resnet": 7, "vit": 3, "small resnet": 3, "depth": 2, "segmentation": 2}
RATES = {"resnet": 2e-3, "vit": 5e-3}  # learning rates, of LoRA and of full fine-tuning
FULL_RATES = {"resnet": 2e-3, "vit": 1e-3}


@dataclass(frozen=True)
class Teaching:
    """How experts are taught. `is_full`: train all weights. `pictures`: the share that is used.

    `drawn`: how, of DRAWINGS; "" is by the defaults. `num_fresh`: estimates of each picture, from
    fresh noise, that join those kept. `changes`: to DistillSettings; `adapter`: to AdapterSettings.
    """

    num_experts: int = 5
    is_supervised: bool = False
    is_full: bool = False
    pictures: float = 1.0
    drawn: str = ""
    num_fresh: int = 0
    changes: dict = field(default_factory=dict)
    adapter: dict = field(default_factory=dict)

    def settings(self, guider: str, budget: Budget, seed: int) -> DistillSettings:
        """The paper's: its input, noise ranges and statistics of norms, and one rate for all; an
        expert starts from its neighbour, and ends with its last weights.
        """
        rank = RANKS[guider]
        fitted = {"rank": rank, "lora_alpha": float(rank), "max_touched": 1.0, "max_share": 1.0}
        fitted["norm_statistics"] = "batch"
        values = {
            "input": "x_t",
            "num_experts": self.num_experts,
            "partition": "timestep",
            "budget": "total",
            "steps": budget.iterations,
            "batch_size": budget.batch,
            "warm_up_steps": min(50, budget.iterations // self.num_experts // 5),
            "learning_rate": (FULL_RATES if self.is_full else RATES).get(guider, 2e-3),
            "rate_by_loss": False,
            "keep_best": False,
            "seed": seed,
            "adapter": AdapterSettings(**fitted | {"full": self.is_full} | self.adapter),
        }
        return DistillSettings(**values | self.changes)


GUIDERS_NORMS = {"norm_statistics": "guider"}


def by_trainer(teaching: Teaching) -> Teaching:
    """With the trainer's default statistics of norms and rate."""
    changes = teaching.changes | {"rate_by_loss": True}
    return replace(teaching, changes=changes, adapter=GUIDERS_NORMS)


@dataclass(frozen=True)
class Method:
    """`teaching`: of the experts; None is the guider alone. `input`: "" is no guidance.

    `spectrum`, `when_met`: of the shift. `scales`: that are tried, in place of the budget's.
    `cfg`: the scales of classifier-free guidance, by the class-conditional model without a guider.
    """

    name: str
    input: str = "x_t"
    jacobian: str = "none"
    teaching: Teaching | None = None
    spectrum: str = "plain"
    cfg: tuple[float, ...] = ()
    when_met: str = "push on"
    scales: tuple[float, ...] = ()


LABELLED = {"is_supervised": True, "is_full": True}
SINGLE = Method("single, supervised", teaching=Teaching(1, **LABELLED))
MULTI_EXPERTS = Method("multi-experts-5, supervised", teaching=Teaching(5, **LABELLED))
NO_GUIDANCE = Method("no guidance", input="")
NAIVE = Method("off-the-shelf")
ON_THE_ESTIMATE = Method("gradients on x0_hat", "x0_hat", "backprop")
ALONE_BY_JVP = tuple(
    Method(f"gradients on x0_hat, jvp, {spectrum}", "x0_hat", "jvp", spectrum=spectrum)
    for spectrum in ("plain", "half-white")
)
PPAP_1 = Method("PPAP-1", teaching=Teaching(1))
PPAP_5 = Method("PPAP-5", teaching=Teaching())
PPAP_5_FILTERED = tuple(
    Method(f"PPAP-5, {spectrum}", teaching=Teaching(), spectrum=spectrum)
    for spectrum in ("half-white", "white", "half-wiener")
)
PPAP_10 = Method("PPAP-10", teaching=Teaching(10))
ESTIMATE = {"input": "x0_hat", "view": "identity"}
X0_EXPERTS = Teaching(changes=ESTIMATE | {"estimates": "fresh"})
KEPT = Teaching(changes=ESTIMATE | {"estimates": "kept"})
PPAP_5_ON_THE_ESTIMATE = Method("PPAP-5 on x0_hat, jvp", "x0_hat", "jvp", X0_EXPERTS)
KEPT_METHODS = tuple(
    Method(f"PPAP-5 on kept x0_hat, {jacobian}, {spectrum}", "x0_hat", jacobian, KEPT, spectrum)
    for jacobian, spectrum in (
        ("none", "plain"),
        ("none", "half-white"),
        ("none", "half-wiener"),
        ("jvp", "plain"),
        ("jvp", "half-white"),
        ("jvp", "half-wiener"),
    )
)
TRAINERS_METHODS = tuple(
    replace(method, name=f"{method.name}, trainer's norms and rate", teaching=by_trainer(KEPT))
    for method in KEPT_METHODS
    if method.spectrum == "half-wiener"
)
FADING = replace(
    TRAINERS_METHODS[-1],
    name="PPAP-5 on kept x0_hat, jvp, plain, fade late, trainer's norms and rate",
    spectrum="plain",
    when_met="fade late",
    scales=(2.0,),
)
CONDITIONAL = Method("class-conditional model, CFG", input="", cfg=(1.0, 2.0, 4.0, 8.0))

CLASS_METHODS = (
    NO_GUIDANCE,
    NAIVE,
    ON_THE_ESTIMATE,
    Method("gradients on x0_hat, no Jacobian", "x0_hat"),
    *ALONE_BY_JVP,
    SINGLE,
    MULTI_EXPERTS,
    PPAP_1,
    PPAP_5,
    *PPAP_5_FILTERED,
    PPAP_10,
    Method("PPAP-5 on x0_hat, no Jacobian", "x0_hat", teaching=X0_EXPERTS),
    PPAP_5_ON_THE_ESTIMATE,
    *KEPT_METHODS,
    *TRAINERS_METHODS,
    FADING,
    CONDITIONAL,
)
SIZE_METHODS = (NAIVE, SINGLE, MULTI_EXPERTS, PPAP_5)
SIZES = ("small resnet",)  # guiders that only show how much the size of a guider matters
MAP_METHODS = (
    NO_GUIDANCE,
    NAIVE,
    ON_THE_ESTIMATE,
    *ALONE_BY_JVP,
    PPAP_1,
    PPAP_5,
    *PPAP_5_FILTERED,
    PPAP_5_ON_THE_ESTIMATE,
    *KEPT_METHODS,
)
SEEN = {"view": "vae"}
SEEN_ESTIMATE = {"input": "x0_hat", "view": "vae"}
SEEN_FRESH = Teaching(changes=SEEN_ESTIMATE | {"estimates": "fresh"})
SEEN_KEPT = Teaching(changes=SEEN_ESTIMATE | {"estimates": "kept"})
SUPERVISED_SEEN = Teaching(**LABELLED, changes=SEEN_ESTIMATE)
LATENT_METHODS = (
    NO_GUIDANCE,
    NAIVE,
    ON_THE_ESTIMATE,
    *ALONE_BY_JVP,
    Method("multi-experts-5, supervised", teaching=Teaching(**LABELLED, changes=SEEN)),
    Method("PPAP-5", teaching=Teaching(changes=SEEN)),
    Method("multi-experts-5 on x0_hat, jvp, supervised", "x0_hat", "jvp", SUPERVISED_SEEN),
    Method("PPAP-5 on x0_hat, jvp", "x0_hat", "jvp", SEEN_FRESH),
    *(replace(method, teaching=SEEN_KEPT) for method in KEPT_METHODS),
    *(replace(method, teaching=by_trainer(SEEN_KEPT)) for method in (*TRAINERS_METHODS, FADING)),
)
RANK_16 = {"rank": 16, "lora_alpha": 16.0}
ABLATIONS = {  # group: setting: teaching; "experts: 5" is PPAP-5 itself
    "experts": {"5": Teaching(), "1": Teaching(1), "2": Teaching(2), "10": Teaching(10)},
    "start": {
        "independent": Teaching(changes={"initialisation": "independent"}),
        "shared, then branches": Teaching(changes={"initialisation": "shared"}),
    },
    "ranges": {"equal log-SNR": Teaching(changes={"partition": "log_snr"})},
    "pictures": {f"{share:.0%}": Teaching(pictures=share) for share in (0.1, 0.3)},
    "temperature": {
        f"{value:g}": Teaching(changes={"temperature": value}) for value in (0.25, 0.5)
    },
    "learning rate": {
        f"{value:g}": Teaching(changes={"learning_rate": value}) for value in (1e-3, 5e-3)
    },
    "averaging": {"EMA 0.98": Teaching(changes={"ema_decay": 0.98})},
    "parameters": {
        "LoRA of rank 16": Teaching(adapter=RANK_16),
        "LoRA of rank 16, on the first quarter": Teaching(adapter=RANK_16 | {"max_touched": 0.25}),
        "LoRA and biases": Teaching(adapter={"modules_to_save": "none"}),
        "LoRA only": Teaching(adapter={"bias": "none", "modules_to_save": "none"}),
        "all weights": Teaching(is_full=True),
    },
    "norms and rate": {
        "the guider's statistics": Teaching(adapter=GUIDERS_NORMS),
        "the trainer's norms and rate": by_trainer(Teaching()),
    },
}
EVERY_ESTIMATE = "25 estimates of each"
DRAWINGS = {  # flags of `training generate`; their pictures are REDRAWN as many as by the defaults
    "DDIM, 10 steps": {"steps": 10},
    "DDIM, 50 steps": {"steps": 50},
    "DDPM, 25 steps": {"sampler_name": "ddpm"},
    "Euler ancestral, 25 steps": {"sampler_name": "euler_ancestral"},
    "DPM++ 2M, 25 steps": {"sampler_name": "dpmpp_2m"},
    EVERY_ESTIMATE: {"num_estimates": 25},
}
REDRAWN = 0.3
LONG = KEPT.changes | {"steps": 4000, "batch_size": 64}  # the trainer's default
HARVESTS = {  # setting of experts on kept estimates: changes to KEPT
    "5 experts, all pictures": {},
    **{f"{num} experts": {"num_experts": num} for num in (1, 2, 10)},
    "equal log-SNR": {"changes": KEPT.changes | {"partition": "log_snr"}},
    "4000 steps of 64": {"changes": LONG},
    "4000 steps of 64, the best weights": {"changes": LONG | {"keep_best": True}},
    "the guider's statistics": {"adapter": GUIDERS_NORMS},
    "the trainer's norms and rate": vars(by_trainer(KEPT)),
    **{f"{share:.0%} of the pictures": {"pictures": share} for share in (0.1, REDRAWN)},
    **{f"as many, {name}": {"pictures": REDRAWN, "drawn": name} for name in DRAWINGS},
    "as many, and 5 fresh ones of each": {"pictures": REDRAWN, "num_fresh": 5},
    **{
        f"{share:.0%} of the pictures, fresh": {"pictures": share, "changes": X0_EXPERTS.changes}
        for share in (0.1, REDRAWN)
    },
}
SUPERVISED_X0 = Teaching(**LABELLED, changes=X0_EXPERTS.changes)
INPUTS = (
    Method("input: x0_hat, no Jacobian", "x0_hat", teaching=X0_EXPERTS),
    Method("input: x0_hat, jvp", "x0_hat", "jvp", X0_EXPERTS),
    Method("input: x0_hat, backprop", "x0_hat", "backprop", X0_EXPERTS),
    Method("input: x0_hat, jvp, supervised, all weights", "x0_hat", "jvp", SUPERVISED_X0),
)


def class_methods(guider: str) -> tuple[Method, ...]:
    return SIZE_METHODS if guider in SIZES else CLASS_METHODS


def ablations() -> list[Method]:
    """One for each entry of ABLATIONS, named "group: setting", INPUTS, and of HARVESTS."""
    taught = [
        Method(f"{group}: {setting}", teaching=teaching)
        for group, settings in ABLATIONS.items()
        for setting, teaching in settings.items()
    ]
    kept = [
        Method(f"kept estimates: {setting}", "x0_hat", teaching=replace(KEPT, **changes))
        for setting, changes in HARVESTS.items()
    ]
    return [*taught, *INPUTS, *kept]
