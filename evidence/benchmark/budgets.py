"""How much work goes into the tables: from minutes on two cores to a night, or one large GPU."""

from dataclasses import dataclass, replace

ALL_TABLES = ("noisy", "class", "depth", "segmentation", "ablations", "latent")


@dataclass(frozen=True)
class Budget:
    """`iterations`: of all experts of one guider together, so that more experts get fewer each.

    `batch`: pictures per iteration. `generated`: pictures of the diffusion model, which label-free
    experts learn from. `renders`: scenes with labels, for the supervised rows. `tuning`: pictures
    for each scale that is tried, from other seeds than the `pictures` of the reported row.
    `slow_pictures`: the same with a sampler of 250 steps. `conditional_steps`: training steps of
    the class-conditional model, which starts from the unconditional one. `first_seed`: of training;
    the seeds of the noise follow from it.
    """

    iterations: int
    batch: int
    generated: int
    renders: int
    training_seeds: int
    tuning: int
    pictures: int
    slow_pictures: int
    conditional_steps: int
    guiders: tuple[str, ...] = ("resnet", "vit", "small resnet")
    scales: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    tables: tuple[str, ...] = ALL_TABLES
    methods: tuple[str, ...] = ()  # of the table "class"; none named means all
    first_seed: int = 0


EVENING = Budget(
    iterations=1500,
    batch=32,
    generated=5_000,
    renders=30_000,
    training_seeds=3,
    tuning=60,
    pictures=200,
    slow_pictures=60,
    conditional_steps=1000,
)
BUDGETS = {
    "quick": Budget(
        iterations=700,
        batch=32,
        generated=600,
        renders=3_000,
        training_seeds=1,
        tuning=0,
        pictures=60,
        slow_pictures=0,
        conditional_steps=0,
        guiders=("resnet",),
        scales=(0.2,),
        tables=("class",),
        methods=("no guidance", "off-the-shelf", "single, supervised", "PPAP-5"),
        first_seed=1000,  # of no committed table
    ),
    "evening": EVENING,
    "long": Budget(  # the trainer's defaults: does the order of the rows stay the same?
        iterations=4000,
        batch=64,
        generated=5_000,
        renders=30_000,
        training_seeds=1,
        tuning=60,
        pictures=200,
        slow_pictures=0,
        conditional_steps=0,
        guiders=("resnet",),
        tables=("noisy", "class"),
        methods=(
            "no guidance",
            "off-the-shelf",
            "single, supervised",
            "multi-experts-5, supervised",
            "PPAP-1",
            "PPAP-5",
        ),
    ),
    "full": replace(  # twice an evening
        EVENING,
        iterations=3000,
        tuning=120,
        pictures=400,
        slow_pictures=120,
        conditional_steps=2000,
    ),
    "gpu": replace(  # has never been run
        EVENING,
        iterations=4000,
        batch=128,
        generated=20_000,
        tuning=200,
        pictures=1000,
        slow_pictures=200,
        conditional_steps=6400,
    ),
}
