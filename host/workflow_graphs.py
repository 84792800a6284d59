"""The graphs of the shipped workflows; `python -m host.workflows` draws them in the front end."""

from host.workflow_parts import (
    COLUMN,
    LATENT_MODEL,
    RELATIVE,
    ROW,
    SAMPLING,
    Graph,
    Link,
    Node,
    class_target,
    guide_by,
    guider,
    join,
    map_target,
    note,
    reference,
    replace_link,
    sampler,
    show,
    shown_target,
    start,
    start_latent,
)

PLAIN = {"seed": 4}
GUIDED = PLAIN | {"guidance_scale": 0.1} | RELATIVE
LATENT = PLAIN | {"sampler_name": "euler", "scheduler": "simple"}
LATENT_GUIDED = {"guidance_scale": 0.2, "jacobian": "none"} | RELATIVE  # evidence.views's best
LATENT_EXPERTS = "demo-shapes-flux-x0.safetensors"


def class_guidance() -> Graph:
    return join(
        note("class_guidance"),
        start(batch_size=4),
        guider("demo-shapes-resnet", 400),
        Graph({"target": class_target("torus")}),
        sampler("guided", 0, GUIDED),
        show("guided", 0, saved=True),
        sampler("plain", 1, PLAIN, guided=False),
        show("plain", 1),
        links=[(("experts", "guider"), ("target", "guider")), *guide_by("guided")],
    )


def depth_from_reference() -> Graph:
    return join(
        note("depth_from_reference"),
        start(batch_size=4),
        guider("demo-scenes-depth", 400),
        reference(seed=11),
        map_target(760, "reference decode", {"source": "reference picture"}),
        sampler("guided", 0, GUIDED),
        show("guided", 0, saved=True),
        links=guide_by("guided"),
    )


def solid_mask(y: int, value: int, width: int, height: int) -> Node:
    widgets = {"value": value, "width": width, "height": height}
    return Node("SolidMask", (-520, y), (210, 110), widgets)


def placed_mask(y: int, at: tuple[int, int]) -> Node:
    """Adds a mask to another, with its corner `at` (x, y)."""
    widgets = {"x": at[0], "y": at[1], "operation": "add"}
    return Node("MaskComposite", (-280, y), (210, 150), widgets)


def mask_target(y: int, widgets: dict) -> Node:
    return Node("PPAP_TargetMasks", (0, y), (330, 150), widgets)


def segmentation_from_masks() -> Graph:
    preview = shown_target(1200)
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
    return join(
        note("segmentation_from_masks"),
        start(batch_size=4),
        guider("demo-scenes-segmentation", 400),
        Graph(masks | preview.nodes),
        sampler("guided", 0, GUIDED),
        show("guided", 0, saved=True),
        sampler("plain", 1, PLAIN, guided=False),
        show("plain", 1),
        links=[*links, *preview.links, *guide_by("guided")],
    )


def class_and_depth() -> Graph:
    """Two guiders: Apply Guidance for the depth, the guided sampler for the class."""
    apply = Node("PPAP_ApplyGuidance", (-520, 660), (330, 300), {"guidance_scale": 0.1} | RELATIVE)
    graph = join(
        note("class_and_depth"),
        start(batch_size=4),
        guider("demo-scenes-depth", 400),
        guider("demo-shapes-resnet", 460, prefix="class ", x=-COLUMN - 520),
        Graph({"class target": class_target("cone", (-520, 460)), "apply": apply}),
        reference(seed=11),
        map_target(760, "reference decode", {"source": "reference picture"}),
        sampler("guided", 0, GUIDED),
        show("guided", 0, saved=True),
        links=[
            *guide_by("apply"),
            *guide_by("guided", "class experts", "class target"),
            (("class experts", "guider"), ("class target", "guider")),
            (("model", "model"), ("apply", "model")),
        ],
    )
    unguided = (("model", "model"), ("guided", "model"))
    return replace_link(graph, unguided, (("apply", "model"), ("guided", "model")))


def restyle_with_depth() -> Graph:
    """img2img of the reference picture at denoise 0.6, which keeps its depth."""
    copies = Node("RepeatLatentBatch", (COLUMN, 900 + ROW), (330, 60), {"amount": 4})
    graph = join(
        note("restyle_with_depth"),
        start(batch_size=1),
        guider("demo-scenes-depth", 400),
        reference(seed=21),
        map_target(760, "reference decode", {"source": "reference picture"}),
        Graph({"copies": copies}),
        sampler("guided", 0, PLAIN | {"guidance_scale": 0.1, "denoise": 0.6} | RELATIVE),
        show("guided", 0, saved=True),
        links=[*guide_by("guided"), (("reference", "LATENT"), ("copies", "samples"))],
    )
    empty = (("latent", "LATENT"), ("guided", "latent_image"))
    return replace_link(graph, empty, (("copies", "LATENT"), ("guided", "latent_image")))


def latent_class_guidance() -> Graph:
    loaders = guider("demo-shapes-resnet", 400, experts=LATENT_EXPERTS)
    return join(
        note("latent_class_guidance"),
        start_latent(batch_size=4),
        Graph(loaders.nodes | {"target": class_target("cone", (0, 760))}),
        sampler("guided", 0, LATENT_GUIDED | LATENT, fed=LATENT_MODEL),
        show("guided", 0, saved=True, scale=4.0),
        sampler("plain", 1, LATENT, guided=False, fed=LATENT_MODEL),
        show("plain", 1, scale=4.0),
        links=[
            *loaders.links,
            (("experts", "guider"), ("target", "guider")),
            (("vae", "VAE"), ("guided", "vae")),
            *guide_by("guided"),
        ],
    )


def report_and_sweep() -> Graph:
    """What guidance did, and the same noise at several scales."""
    x = 2 * COLUMN + 330 + 520
    scales = SAMPLING | RELATIVE | PLAIN | {"scales": "0, 0.03, 0.1, 0.2, 0.4"}
    return Graph(
        {
            "report": Node("PPAP_GuidanceReport", (x, 60), (330, 200)),
            "curves": Node("PreviewImage", (x + 360, 60), (480, 420)),
            "steps": Node("PreviewImage", (x + 360, 540), (480, 300)),
            "sweep": Node("PPAP_ScaleSweep", (COLUMN, 60 + ROW), (330, 480), scales),
            "grid": Node("PreviewImage", (2 * COLUMN, 60 + ROW), (810, 560)),
        },
        [
            (("guided", "guided_model"), ("report", "model")),
            (("guided", "LATENT"), ("report", "latent")),
            (("report", "curves"), ("curves", "images")),
            (("report", "steps"), ("steps", "images")),
            (("model", "model"), ("sweep", "model")),
            (("model", "unconditional"), ("sweep", "positive")),
            (("model", "unconditional"), ("sweep", "negative")),
            (("latent", "LATENT"), ("sweep", "latent_image")),
            (("vae", "VAE"), ("sweep", "vae")),
            *guide_by("sweep"),
            (("sweep", "grid"), ("grid", "images")),
        ],
    )


def strength_and_report() -> Graph:
    shown = report_and_sweep()
    return join(
        note("strength_and_report"),
        start(batch_size=4),
        guider("demo-shapes-resnet", 400),
        Graph({"target": class_target("cone")}),
        sampler("guided", 0, GUIDED),
        show("guided", 0, saved=True),
        Graph(shown.nodes),
        links=[
            (("experts", "guider"), ("target", "guider")),
            *guide_by("guided"),
            *shown.links,
        ],
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
