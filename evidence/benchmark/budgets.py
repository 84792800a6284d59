"""How much work goes into the tables: from minutes on two cores to a night, or one large GPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The defaults are an evening on two cores.

    `iterations`: of all experts of one guider together, so that more experts get fewer each.
    `batch`: pictures per iteration. `generated`: pictures of the diffusion model, which label-free
    experts learn from. `renders`: scenes with labels, for the supervised rows. `tuning`: pictures
    for each scale that is tried, from other seeds than the `pictures` of the reported row.
    `slow_pictures`: the same with a sampler of 250 steps. `conditional_steps`: training steps of
    the class-conditional model, which starts from the unconditional one. `methods`: of the table
    "class"; none named means all. `first_seed`: of training; the seeds of the noise follow from it.
    """

    iterations: int = 1500
    batch: int = 32
    generated: int = 5_000
    renders: int = 30_000
    training_seeds: int = 3
    tuning: int = 60
    pictures: int = 200
    slow_pictures: int = 60
    conditional_steps: int = 1000
    guiders: tuple[str, ...] = ("resnet", "vit", "small resnet")
    scales: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    tables: tuple[str, ...] = ("noisy", "class", "depth", "segmentation", "ablations", "latent")
    methods: tuple[str, ...] = ()
    first_seed: int = 0


QUICK_METHODS = ("no guidance", "off-the-shelf", "single, supervised", "PPAP-5")
BUDGETS = {
    "quick": Budget(
        iterations=700,
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
        methods=QUICK_METHODS,
        first_seed=1000,  # of no committed table
    ),
    "evening": Budget(),
    "long": Budget(  # the trainer's defaults: does the order of the rows stay the same?
        iterations=4000,
        batch=64,
        training_seeds=1,
        slow_pictures=0,
        conditional_steps=0,
        guiders=("resnet",),
        tables=("noisy", "class"),
        methods=(*QUICK_METHODS, "multi-experts-5, supervised", "PPAP-1"),
    ),
    "full": Budget(  # twice an evening
        iterations=3000,
        tuning=120,
        pictures=400,
        slow_pictures=120,
        conditional_steps=2000,
    ),
    "gpu": Budget(  # has never been run
        iterations=4000,
        batch=128,
        generated=20_000,
        tuning=200,
        pictures=1000,
        slow_pictures=200,
        conditional_steps=6400,
    ),
}
