"""How much work the tables are worth, from minutes on two cores to a night, or one large GPU."""

from dataclasses import dataclass

ALL_TABLES = ("noisy", "class", "depth", "segmentation", "ablations", "latent")


@dataclass(frozen=True)
class Budget:
    """`iterations`: of all experts of one guider together, so that more experts get fewer each.

    `batch`: pictures of an iteration. `generated`: pictures of the diffusion model that label-free
    experts learn from. `renders`: scenes with labels, for the supervised rows. `tuning`: pictures
    for each scale tried, of other seeds than the `pictures` that a row reports. `slow_pictures`:
    where a picture takes 250 steps. `conditional_steps`: of the class-conditional model's training,
    which begins with the unconditional model's weights. `first_seed`: of training; noise starts
    from other seeds with it.
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


BUDGETS = {
    "quick": Budget(
        *(700, 32, 600, 3_000, 1, 0, 60, 0, 0),
        guiders=("resnet",),
        scales=(0.2,),
        tables=("class",),
        methods=("no guidance", "off-the-shelf", "single, supervised", "PPAP-5"),
        first_seed=1000,  # of no committed table
    ),
    "evening": Budget(1500, 32, 5_000, 30_000, 3, 60, 200, 60, 1000),
    "long": Budget(  # what the trainer does by itself: is the order one of short lessons?
        *(4000, 64, 5_000, 30_000, 1, 60, 200, 0, 0),
        guiders=("resnet",),
        tables=("noisy", "class"),
        methods=(
            *("no guidance", "off-the-shelf", "single, supervised"),
            *("multi-experts-5, supervised", "PPAP-1", "PPAP-5"),
        ),
    ),
    "full": Budget(3000, 32, 5_000, 30_000, 3, 120, 400, 120, 2000),  # twice an evening
    "gpu": Budget(4000, 128, 20_000, 30_000, 3, 200, 1000, 200, 6400),  # never run yet
}
