"""The graphs of the shipped workflows; `python -m host.workflows` draws them in the front end."""

from collections.abc import Sequence

from host import workflow_parts as parts
from host.workflow_parts import COLUMN, ROW, Graph, Link, Node, join

PLAIN = {"seed": 4}
LATENT = PLAIN | {"sampler_name": "euler", "scheduler": "simple"}
LATENT_EXPERTS = "demo-shapes-flux-x0.safetensors"
UNGUIDED = (parts.sampler("plain", 1, PLAIN, guided=False), parts.show("plain", 1))
TO_TARGET: Link = (("experts", "guider"), ("target", "guider"))
TO_GUIDED = parts.guide_by("guided")


def guided_pixels(
    name: str,
    guider: str,
    *middle: Graph,
    widgets: dict = PLAIN,
    batch_size: int = 4,
    after: Sequence[Graph] = (),
    links: Sequence[Link] = TO_GUIDED,
) -> Graph:
    """The workflow `name`: the pixel model with a guider, and a guided sampler with its pictures.

    `middle` and `after`: the other parts, made before and after the sampler.
    """
    return join(
        parts.note(name),
        parts.start(batch_size),
        parts.guider(guider, 400),
        *middle,
        parts.sampler("guided", 0, widgets),
        parts.show("guided", 0, saved=True),
        *after,
        links=links,
    )


def class_guidance() -> Graph:
    return guided_pixels(
        "class_guidance",
        "demo-shapes-resnet",
        Graph({"target": parts.class_target("torus")}),
        after=UNGUIDED,
        links=[TO_TARGET, *TO_GUIDED],
    )


def depth_from_reference() -> Graph:
    depth = parts.depth_of_reference(seed=11)
    return guided_pixels("depth_from_reference", "demo-scenes-depth", depth)


def solid_mask(y: int, value: int, width: int, height: int) -> Node:
    widgets = {"value": value, "width": width, "height": height}
    return Node("SolidMask", (-600, y), (210, 110), widgets)


def placed_mask(y: int, at: tuple[int, int]) -> Node:
    """Adds a mask to another, with its corner `at` (x, y)."""
    widgets = {"x": at[0], "y": at[1], "operation": "add"}
    return Node("MaskComposite", (-310, y), (210, 150), widgets)


def mask_target(y: int, widgets: dict) -> Node:
    return Node("PPAP_TargetMasks", (0, y), (330, 150), widgets)


def segmentation_from_masks() -> Graph:
    preview = parts.shown_target(1200)
    masks = {
        "nothing": solid_mask(460, value=0, width=32, height=32),
        "floor": solid_mask(630, value=1, width=32, height=14),
        "box": solid_mask(800, value=1, width=18, height=10),
        "floor mask": placed_mask(460, at=(0, 18)),
        "box mask": placed_mask(680, at=(7, 12)),
        "floor target": mask_target(760, {"class_name": "floor", "elsewhere": "wall"}),
        "target": mask_target(980, {"class_name": "object"}),
    }
    links: list[Link] = [
        (("nothing", "MASK"), ("floor mask", "destination")),
        (("floor", "MASK"), ("floor mask", "source")),
        (("nothing", "MASK"), ("box mask", "destination")),
        (("box", "MASK"), ("box mask", "source")),
        (("floor mask", "MASK"), ("floor target", "mask")),
        (("box mask", "MASK"), ("target", "mask")),
        (("floor target", "target"), ("target", "target")),
        (("experts", "guider"), ("floor target", "guider")),
        (("experts", "guider"), ("target", "guider")),
    ]
    return guided_pixels(
        "segmentation_from_masks",
        "demo-scenes-segmentation",
        Graph(masks | preview.nodes),
        after=UNGUIDED,
        links=[*links, *preview.links, *TO_GUIDED],
    )


def class_and_depth() -> Graph:
    """Two guiders: Apply Guidance for the depth, the guided sampler for the class.

    The class has another shape than the reference, so its guider insists and depth is a hint.
    """
    apply = Node("PPAP_ApplyGuidance", (-520, 660), (330, 300), {"strength": 0.1})
    graph = guided_pixels(
        "class_and_depth",
        "demo-scenes-depth",
        parts.guider("demo-shapes-resnet", 460, prefix="class ", x=-COLUMN - 520),
        Graph({"class target": parts.class_target("cone", (-520, 460)), "apply": apply}),
        parts.depth_of_reference(seed=11),
        widgets=PLAIN | {"strength": 2.0},
        links=[
            *parts.guide_by("apply"),
            *parts.guide_by("guided", "class experts", "class target"),
            (("class experts", "guider"), ("class target", "guider")),
            (("model", "model"), ("apply", "model")),
        ],
    )
    unguided = (("model", "model"), ("guided", "model"))
    return parts.replace_link(graph, unguided, (("apply", "model"), ("guided", "model")))


def restyle_with_depth() -> Graph:
    """img2img of the reference picture at denoise 0.6, which keeps its depth."""
    copies = Node("RepeatLatentBatch", (COLUMN, 900 + ROW), (330, 60), {"amount": 4})
    graph = guided_pixels(
        "restyle_with_depth",
        "demo-scenes-depth",
        parts.depth_of_reference(seed=21),
        Graph({"copies": copies}),
        widgets=PLAIN | {"denoise": 0.6},
        batch_size=1,
        links=[*TO_GUIDED, (("reference", "LATENT"), ("copies", "samples"))],
    )
    empty = (("latent", "LATENT"), ("guided", "latent_image"))
    return parts.replace_link(graph, empty, (("copies", "LATENT"), ("guided", "latent_image")))


def latent_class_guidance() -> Graph:
    loaders = parts.guider("demo-shapes-resnet", 400, experts=LATENT_EXPERTS)
    fed = parts.LATENT_MODEL
    return join(
        parts.note("latent_class_guidance"),
        parts.start_latent(batch_size=4),
        Graph(loaders.nodes | {"target": parts.class_target("cone", (0, 760))}),
        parts.sampler("guided", 0, LATENT, fed=fed),
        parts.show("guided", 0, saved=True, scale=4.0),
        parts.sampler("plain", 1, LATENT, guided=False, fed=fed),
        parts.show("plain", 1, scale=4.0),
        links=[*loaders.links, TO_TARGET, (("vae", "VAE"), ("guided", "vae")), *TO_GUIDED],
    )


def strength_and_report() -> Graph:
    """With a report of what guidance did, and the same noise under several strengths."""
    x = 2 * COLUMN + 330 + 520
    sweep = parts.SAMPLING | PLAIN
    nodes = {
        "report": Node("PPAP_GuidanceReport", (x, 60), (330, 200)),
        "curves": Node("PreviewImage", (x + 360, 60), (480, 420)),
        "steps": Node("PreviewImage", (x + 360, 540), (480, 300)),
        "sweep": Node("PPAP_ScaleSweep", (COLUMN, 60 + ROW), (330, 480), sweep),
        "grid": Node("PreviewImage", (2 * COLUMN, 60 + ROW), (810, 560)),
    }
    links: list[Link] = [
        TO_TARGET,
        *TO_GUIDED,
        (("guided", "guided_model"), ("report", "model")),
        (("guided", "LATENT"), ("report", "latent")),
        (("report", "curves"), ("curves", "images")),
        (("report", "steps"), ("steps", "images")),
        (("model", "model"), ("sweep", "model")),
        (("model", "unconditional"), ("sweep", "positive")),
        (("model", "unconditional"), ("sweep", "negative")),
        (("latent", "LATENT"), ("sweep", "latent_image")),
        (("vae", "VAE"), ("sweep", "vae")),
        *parts.guide_by("sweep"),
        (("sweep", "grid"), ("grid", "images")),
    ]
    return guided_pixels(
        "strength_and_report",
        "demo-shapes-resnet",
        Graph({"target": parts.class_target("cone")}),
        after=[Graph(nodes)],
        links=links,
    )


GRAPHS = {
    graph.__name__: graph
    for graph in (
        class_guidance,
        depth_from_reference,
        segmentation_from_masks,
        class_and_depth,
        restyle_with_depth,
        latent_class_guidance,
        strength_and_report,
    )
}
